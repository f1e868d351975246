"""Files as they are published, with synthetic tensors: each holds one number of its own."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from detrex_hub.configs.matching import Shape
from tests.detrex_configs import shapes_of


def original(file: str, folder: Path) -> Path:
    """Write what a config's checkpoint file holds, in the container that it comes in.

    Args:
        file: what the config says.
        folder: where to write it, under its own name.
    """
    path = folder / Path(file).name
    tensors = numbered(shapes_of(file))
    if path.suffix == ".pkl":
        arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
        document = {"model": arrays, "__author__": "torchvision", "matching_heuristics": True}
        path.write_bytes(pickle.dumps(document))
    else:
        torch.save(tensors if path.stem.startswith("resnet") else {"model": tensors}, path)
    return path


def numbered(shapes: Mapping[str, Shape]) -> dict[str, torch.Tensor]:
    """Tensors of which each is full of a number that no other has: 2 and more in the steps of
    float16, since 0 and 1 are what fresh layers hold."""
    values = (np.uint16(0x4000) + np.arange(len(shapes), dtype=np.uint16)).view(np.float16)
    assert np.isfinite(values).all()
    return {
        key: torch.full(shape, float(value), dtype=torch.float16)
        for (key, shape), value in zip(shapes.items(), values, strict=True)
    }
