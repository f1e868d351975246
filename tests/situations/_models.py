"""The small models in the files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from detrex_hub.architectures import architecture
from tests import tiny
from tests.checkpoint_files import tensors

State = dict[str, torch.Tensor]


def backbone() -> State:
    """A ConvNeXt in its authors' names."""
    made = architecture("convnext").from_hyper_parameters(tiny.HYPER_PARAMETERS)
    return tensors(made.original()[0])


def detector() -> State:
    """A two-stage Deformable-DETR in its authors' names."""
    made = architecture("deformable_detr").from_hyper_parameters(tiny.DETECTOR)
    specs, same_as = made.original()
    groups: dict[str, list[str]] = {}
    for alias, stored in same_as.items():
        groups.setdefault(stored, [stored]).append(alias)
    return tensors(specs, groups.values())


def below(prefix: str, state: Mapping[str, torch.Tensor]) -> State:
    """The same state dict with a prefix before each key."""
    return {f"{prefix}{key}": tensor for key, tensor in state.items()}


def layers(*names: str) -> State:
    """Layers of no known architecture."""
    return {f"{name}.weight": torch.ones(4, 4) for name in names}


def saved(file: str, content: Any) -> Any:
    """A function that writes a file with `torch.save`."""

    def build(folder: Path) -> None:
        (folder / file).parent.mkdir(exist_ok=True)
        torch.save(content() if callable(content) else content, folder / file)

    return build


def text(file: str, *lines: str, ending: str = "\n", encoding: str = "utf-8") -> Any:
    """A function that writes a text file."""

    def build(folder: Path) -> None:
        (folder / file).write_bytes("".join(line + ending for line in lines).encode(encoding))

    return build


def several(builds: Iterable[Any]) -> Any:
    """A function that writes several files."""
    every = tuple(builds)

    def build(folder: Path) -> None:
        for one in every:
            one(folder)

    return build
