"""Checkpoint files as the originals' authors write them, in which all tensors differ."""

from __future__ import annotations

import argparse
import json
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from detrex_hub.specs import TORCH_DTYPES, TensorSpec

# the tests run in several processes already
torch.set_num_threads(1)

# older versions of torch lack some
_TORCH = {
    ours: getattr(torch, theirs) for theirs, ours in TORCH_DTYPES.items() if hasattr(torch, theirs)
}


def tensors(
    specs: Mapping[str, TensorSpec], ties: Iterable[Iterable[str]] = ()
) -> dict[str, torch.Tensor]:
    """A state dict whose tensors all differ, except tied ones, which are one tensor."""
    state: dict[str, torch.Tensor] = {}
    for number, (key, spec) in enumerate(specs.items()):
        # numbers from a different start for each tensor, so that all tensors and rows differ
        values = torch.arange(spec.numel, dtype=torch.float32).mul_(1e-3).add_(number)
        state[key] = values.to(_TORCH[spec.dtype]).reshape(spec.shape)
    for group in ties:
        first, *others = [key for key in group if key in state]
        state.update((key, state[first]) for key in others)
    return state


def save(path: Path, state: Mapping[str, torch.Tensor], container: str | None = None) -> Path:
    """Save with ``torch.save``, in a container together with other output of training scripts."""
    whole: Any = dict(state)
    if container is not None:
        arguments = argparse.Namespace(lr=1e-4, dataset_file="coco")
        whole = {container: whole, "epoch": 49, "args": arguments, "optimizer": {"state": {}}}
    torch.save(whole, path)
    return path


def hollow(path: Path, specs: Mapping[str, TensorSpec]) -> Path:
    """A sparse safetensors file of zeros, for tests that read only its index."""
    header, end = {}, 0
    for key, spec in specs.items():
        place = [end, end + spec.nbytes]
        header[key] = {"dtype": spec.dtype, "shape": spec.shape, "data_offsets": place}
        end += spec.nbytes
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return path


def content_of(table: Any) -> Any:
    """Values for the entries of a recorded table: a tensor for ``[type, shape]``, and an object for
    the name of a class. Python's own types have a value, and all others become an unknown class.
    """
    match table:
        case dict():
            return {key: content_of(value) for key, value in table.items()}
        case [str(dtype), list(shape)]:
            return torch.rand(shape).to(getattr(torch, dtype))
        case "NoneType":
            return None
        case "str" | "int" | "float" | "bool" | "list" | "dict":
            return {"str": "x", "int": 1, "float": 0.5, "bool": True, "list": [], "dict": {}}[table]
        case _:
            return argparse.Namespace(kind=table)


def save_pickle(path: Path, state: Mapping[str, torch.Tensor], author: str) -> Path:
    """Save numpy arrays in a pickle, as detectron2 does."""
    arrays = {key: tensor.numpy() for key, tensor in state.items()}
    with path.open("wb") as file:
        pickle.dump({"model": arrays, "__author__": author}, file)
    return path
