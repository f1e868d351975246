"""Repositories of transformers and timm, as folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from detrex_hub.architectures import architecture
from tests import tiny
from tests.checkpoint_files import tensors
from tests.situations import Situation
from tests.situations._models import State

TITLE = "Whole repositories"

_PROCESSOR = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}
_TIMM = {"architecture": "convnext", "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
_INDEX = "model.safetensors.index.json"


def _state(layout: str) -> State:
    made = architecture("convnext").from_hyper_parameters(tiny.HYPER_PARAMETERS)
    return tensors(made.original(layout)[0])


def _described(folder: Path, **documents: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(document))
    return folder


def _transformers(folder: Path, write: Any = save_file, file: str = "model.safetensors") -> None:
    """A repository of transformers with one file of weights."""
    config = {"model_type": "convnext"}
    place = _described(folder / "repository", config=config, preprocessor_config=_PROCESSOR)
    write(_state("transformers"), place / file)


def _timm(folder: Path) -> None:
    save_file(_state("timm"), _described(folder / "timm", config=_TIMM) / "model.safetensors")


def _sharded(folder: Path) -> None:
    """The same in two shards, with their index."""
    _transformers(folder)
    place = folder / "repository"
    (place / "model.safetensors").unlink()
    placed = {key: f"model-{i % 2}.safetensors" for i, key in enumerate(_state("transformers"))}
    for name in set(placed.values()):
        part = {k: t for k, t in _state("transformers").items() if placed[k] == name}
        save_file(part, place / name)
    (place / _INDEX).write_text(json.dumps({"weight_map": placed}))


def _bin(folder: Path) -> None:
    _transformers(folder, torch.save, "pytorch_model.bin")


def _checkpoints(folder: Path) -> None:
    _transformers(folder / "trained" / "x")
    (folder / "trained" / "x" / "repository").rename(folder / "trained" / "checkpoint-500")
    (folder / "trained" / "x").rmdir()


_CONVNEXT = ("convnext (transformers)",)


def _situation(
    file: str,
    happens: str,
    command: str,
    build: Callable[[Path], object],
    says: tuple[str, ...] = _CONVNEXT,
    *,
    refused: bool = False,
) -> Situation:
    return Situation(file, happens, command, build, says, refused)


SITUATIONS = (
    _situation(
        "A repository of transformers: `model.safetensors` with `config.json`",
        "It is converted. The values in both JSON files become facts of the weights.",
        "detrex-hub convert ./repository -o out",
        _transformers,
    ),
    _situation(
        "An older repository of transformers, with `pytorch_model.bin`",
        "It is converted like one with `model.safetensors`.",
        "detrex-hub convert ./repository -o out",
        _bin,
    ),
    _situation(
        f"Shards with `{_INDEX}`",
        "They are read as one. The record has the digest of each file.",
        "detrex-hub convert ./repository -o out",
        _sharded,
    ),
    _situation(
        "The index alone",
        "The whole folder is read.",
        f"detrex-hub convert repository/{_INDEX} -o out",
        _sharded,
    ),
    _situation(
        "A repository of timm",
        "Mean and std come from `pretrained_cfg`.",
        "detrex-hub inspect ./timm",
        _timm,
        ("convnext (timm)", "model.pixel_mean = [127.5, 127.5, 127.5]"),
    ),
    _situation(
        "A folder with one subfolder per checkpoint, as transformers' trainer writes it",
        "Refused. The message names the newest subfolder.",
        "detrex-hub convert ./trained -o out",
        _checkpoints,
        ("holds no checkpoint",),
        refused=True,
    ),
)
