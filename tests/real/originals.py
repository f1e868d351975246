"""Files in the published form with synthetic tensors, each filled with a different number."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from detrex_hub.configs.matching import Shape
from tests.detrex_configs import shapes_of


def original(file: str, folder: Path) -> Path:
    """Write a config's checkpoint file in its published container.

    Args:
        file: the file in the config.
        folder: the folder for the file, which keeps its name.
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
    """Tensors that are each filled with a different number: from 2 in the steps of float16, because
    fresh layers hold 0 and 1."""
    values = (np.uint16(0x4000) + np.arange(len(shapes), dtype=np.uint16)).view(np.float16)
    assert np.isfinite(values).all()
    return {
        key: torch.full(shape, float(value), dtype=torch.float16)
        for (key, shape), value in zip(shapes.items(), values, strict=True)
    }
