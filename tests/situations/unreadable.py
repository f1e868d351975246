"""Formats that cannot be read."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.situations import Situation
from tests.situations._models import saved

TITLE = "Formats that cannot be read"


def _script(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)), folder / "scripted.pt")


def _bytes(file: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / file).write_bytes(content + bytes(100))


def _keras(folder: Path) -> None:
    with zipfile.ZipFile(folder / "model.keras", "w") as archive:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            archive.writestr(name, "{}")


def _refused(file: str, path: str, build: Any, says: str) -> Situation:
    return Situation(
        file,
        "Refused, with a command that writes a state dict.",
        f"detrex-hub convert {path}",
        build,
        (says,),
        refused=True,
        elsewhere=True,
    )


SITUATIONS = (
    _refused("TorchScript", "scripted.pt", _script, "TorchScript"),
    _refused(
        "A whole module, as `torch.save(model)` writes it",
        "module.pt",
        saved("module.pt", lambda: torch.nn.Linear(2, 2)),
        "a whole pickled module",
    ),
    _refused(
        "A quantised model of bitsandbytes, GPTQ or AWQ",
        "quantised.pt",
        saved("quantised.pt", {"layer.weight": torch.ones(2), "layer.SCB": torch.ones(2)}),
        "quantised modules",
    ),
    _refused("ONNX", "model.onnx", _bytes("model.onnx", b"\x08\x07\x12\x07pytorch"), "ONNX"),
    _refused("TensorFlow Lite", "m.tflite", _bytes("m.tflite", b"\x1c\0\0\0TFL3"), "Lite"),
    _refused("GGUF", "model.gguf", _bytes("model.gguf", b"GGUF\x03"), "GGUF"),
    _refused("HDF5", "weights.h5", _bytes("weights.h5", b"\x89HDF\r\n\x1a\n"), "HDF5"),
    _refused("Keras", "model.keras", _keras, "Keras"),
    _refused(
        "A caffemodel",
        "r101.caffemodel",
        _bytes("r101.caffemodel", b"\x0a\x04R101\xa2\x06"),
        "a caffemodel",
    ),
)
