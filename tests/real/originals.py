"""Files as they are published, with synthetic tensors: each holds one number of its own."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from detrex_hub import catalogue
from detrex_hub.architectures import architecture
from detrex_hub.architectures.resnet import ResNet

# files that were converted by somebody: name -> depth
CONVERTED_RESNETS = {"R-50": 50, "R-101": 101, "r50_v1": 50, "r101_v1": 101, "r101": 101}


def entry_of(file: str) -> str | None:
    """The catalogue's name of the weights that a config's checkpoint file holds."""
    stem = Path(file).stem
    by_file = {
        "resnet50-0676ba61": "r50_v1",
        "resnet101-63fe2227": "r101_v1",
        "R-50": "r50_v1",
        "R-101": "r101_v1",
        "r101": "r101_v1",
    }
    name = by_file.get(stem, stem)
    return name if name in catalogue.load() else None


def original(file: str, folder: Path, model: Mapping[str, tuple[int, ...]]) -> Path:
    """Write what a config's checkpoint file holds.

    Args:
        file: what the config says.
        folder: where to write it, under its own name.
        model: the model's state dict, name -> shape, for the one file that is published nowhere:
            ``eva_o365.pth``, a whole detector whose backbone is this.
    """
    path = folder / Path(file).name
    if path.stem in CONVERTED_RESNETS:
        target = ResNet(depth=CONVERTED_RESNETS[path.stem]).target()
        shapes = {key: spec.shape for key, spec in target.items()}
        arrays = {
            k: one.numpy()
            for k, one in numbered({**shapes, "stem.fc.weight": (1000, 2048)}).items()
        }
        document = {"model": arrays, "__author__": "torchvision", "matching_heuristics": True}
        path.write_bytes(pickle.dumps(document))
        return path
    if path.stem == "eva_o365":
        shapes = {key: shape for key, shape in model.items() if key.startswith("backbone.")}
    else:
        entry = catalogue.load()[entry_of(file)]
        made = architecture(entry.architecture).from_hyper_parameters(entry.hyper_parameters)
        shapes = {key: spec.shape for key, spec in made.original()[0].items()}
    tensors = numbered(shapes)
    torch.save(tensors if path.stem.startswith("resnet") else {"model": tensors}, path)
    return path


def numbered(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Tensors of which each is full of a number that no other has: 2 and more in the steps of
    float16, since 0 and 1 are what fresh layers hold."""
    values = (np.uint16(0x4000) + np.arange(len(shapes), dtype=np.uint16)).view(np.float16)
    assert np.isfinite(values).all()
    return {
        key: torch.full(shape, float(value), dtype=torch.float16)
        for (key, shape), value in zip(shapes.items(), values, strict=True)
    }
