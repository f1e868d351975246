"""Outputs of training."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests import training_outputs
from tests.checkpoint_files import content_of
from tests.reference.trainers import TABLE
from tests.situations import Situation
from tests.situations._models import State, backbone, saved

TITLE = "Output of a training run"


def _of(library: str) -> Any:
    """The output of a training library, from the recorded table."""
    return content_of(json.loads(TABLE.read_text())[library]["content"])


def _lightning(folder: Path) -> None:
    torch.save(_of("lightning"), folder / "last.ckpt")


def _mmengine(folder: Path) -> None:
    (folder / "work_dir").mkdir()
    torch.save(_of("mmengine"), folder / "work_dir" / "epoch_1.pth")
    (folder / "work_dir" / "last_checkpoint").write_text("/on/another/machine/epoch_1.pth")


def _accelerate(folder: Path) -> None:
    found = _of("accelerate")
    (folder / "saved").mkdir()
    index = json.loads(TABLE.read_text())["accelerate"]["content"].pop("index")
    for name, state in found.items():
        if name != "index":
            save_file(state, folder / "saved" / name)
    placed = {key: name for name, state in found.items() if name != "index" for key in state}
    assert placed.keys() == index["weight_map"].keys()
    text = json.dumps({"weight_map": placed})
    (folder / "saved" / "model.safetensors.index.json").write_text(text)


def _of_detrex(folder: Path) -> None:
    training_outputs.output(folder / "run")


def _output(folder: Path, *, pointer: bool = True) -> None:
    (folder / "output").mkdir()
    for name in ("model_0004999.pth", "model_final.pth"):
        content = {"model": backbone(), "optimizer": {"state": {}}, "iteration": 9999}
        torch.save(content, folder / "output" / name)
    if pointer:
        (folder / "output" / "last_checkpoint").write_text("model_final.pth")


def _two(folder: Path) -> None:
    _output(folder, pointer=False)


def _deepspeed(folder: Path, module: State | None = None, file: str = "mp_rank_00") -> None:
    place = folder / "deepspeed" / "global_step10"
    place.mkdir(parents=True)
    content = {"ds_version": "0.16", "mp_world_size": 1, "module": module or backbone()}
    torch.save(content, place / f"{file}_model_states.pt")
    (folder / "deepspeed" / "latest").write_text("global_step10")


def _zero_3(folder: Path) -> None:
    empty = {key: torch.zeros(0) for key in backbone()}
    _deepspeed(folder, empty, "zero_pp_rank_0_mp_rank_00")


def _distributed(folder: Path) -> None:
    from torch.distributed import checkpoint

    optimizer = {"state": {"exp_avg": torch.ones(8)}, "param_groups": []}
    content = {"model": backbone(), "optimizer": optimizer, "step": 9}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint.save(content, checkpoint_id=folder / "step_9", no_dist=True)


def _zip(folder: Path) -> None:
    saved("inner.pth", {"model": backbone()})(folder)
    with zipfile.ZipFile(folder / "model.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "inner.pth", "model/checkpoint.pth")


_TIMM = ("convnext (timm)",)
_ORIGINAL = ("convnext (original)",)

SITUATIONS = (
    Situation(
        "Lightning's `.ckpt`, with loops, callbacks and hyper-parameters",
        "The weights below `state_dict` are taken, without the name of the module.",
        "detrex-hub convert last.ckpt",
        _lightning,
        (*_TIMM, "'model.'"),
    ),
    Situation(
        "mmengine's folder: `last_checkpoint` with the path on another machine",
        "The file of that name in the folder is read.",
        "detrex-hub convert ./work_dir -o out",
        _mmengine,
        (*_TIMM, "'backbone.'"),
    ),
    Situation(
        "The output folder of detectron2 or detrex, with `last_checkpoint`",
        "The checkpoint that it names is converted.",
        "detrex-hub convert ./output -o out",
        _output,
        _ORIGINAL,
    ),
    Situation(
        "The output folder of detrex, with `config.yaml` and `metrics.json`",
        "The newest checkpoint is published, with the config values and metrics from both files.",
        "detrex-hub push ./run ours/my_detr --to hub",
        _of_detrex,
        ("hub/ours/my_detr",),
    ),
    Situation(
        "The output folder of detectron2 or detrex without `last_checkpoint`",
        "Refused, with a list of the checkpoints.",
        "detrex-hub convert ./output -o out",
        _two,
        ("contains several checkpoints",),
        refused=True,
    ),
    Situation(
        "accelerate's shards",
        "They are read as one.",
        "detrex-hub convert ./saved -o out",
        _accelerate,
        _TIMM,
    ),
    Situation(
        "FSDP's full state dict, and torchtune's file of a model: the weights at the top",
        "They are converted.",
        "detrex-hub convert torchtune_model_0.pt",
        saved("torchtune_model_0.pt", backbone),
        _ORIGINAL,
    ),
    Situation(
        "DeepSpeed's folder: `latest` and `mp_rank_00_model_states.pt`",
        "`latest` is followed, and the weights below `module` are taken.",
        "detrex-hub convert ./deepspeed -o out",
        _deepspeed,
        _ORIGINAL,
    ),
    Situation(
        "DeepSpeed's ZeRO stage 3, which saves no whole tensors",
        "Refused, with DeepSpeed's own command that joins them.",
        "detrex-hub convert ./deepspeed -o out",
        _zero_3,
        ("ZeRO stage 3", "zero_to_fp32"),
        refused=True,
        elsewhere=True,
    ),
    Situation(
        "torch's distributed checkpoint: a folder with `.metadata` and `*.distcp`",
        "Its tensors are read one by one. The optimizer is not read.",
        "detrex-hub convert ./step_9 -o out",
        _distributed,
        _ORIGINAL,
    ),
    Situation(
        "One of its files alone",
        "Refused, with its folder.",
        "detrex-hub convert step_9/__0_0.distcp",
        _distributed,
        ("is a part of a distributed checkpoint",),
        refused=True,
    ),
    Situation(
        "A `.zip` around a checkpoint",
        "The checkpoint in it is read.",
        "detrex-hub convert model.zip",
        _zip,
        _ORIGINAL,
    ),
)
