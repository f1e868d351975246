"""Element types other than float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.situations import Situation
from tests.situations._models import backbone, saved

TITLE = "Data types"


def _in(file: str, dtype: torch.dtype) -> Callable[[Path], Any]:
    return saved(file, lambda: {key: tensor.to(dtype) for key, tensor in backbone().items()})


SITUATIONS = (
    Situation(
        "Weights in float16, bfloat16 or an 8-bit type",
        "They keep their type, and the record and the card say so.",
        "detrex-hub convert half.pth",
        _in("half.pth", torch.float16),
        ("floating point numbers are F16, as in the file. --dtype float32 changes that",),
    ),
    Situation(
        "Weights in float16, bfloat16 or an 8-bit type",
        "They are rounded to the requested type.",
        "detrex-hub convert half.pth --dtype float32",
        _in("half.pth", torch.float16),
        ("floating point numbers were rounded from F16 to F32",),
    ),
    Situation(
        "Weights in bfloat16 for a `.pkl`, whose numpy arrays have no such type",
        "Refused.",
        "detrex-hub convert brain.pth -o brain.pkl",
        _in("brain.pth", torch.bfloat16),
        ("numpy has no BF16",),
        refused=True,
    ),
    Situation(
        "Numbers beyond the range of the requested type",
        "Refused: they would become infinite.",
        "detrex-hub convert large.pth --dtype float16",
        saved("large.pth", lambda: {key: tensor * 1e6 for key, tensor in backbone().items()}),
        ("is beyond the range of F16",),
        refused=True,
    ),
    Situation(
        "A type that does not exist",
        "Refused, with a list of the supported types.",
        "detrex-hub convert half.pth --dtype fp32",
        _in("half.pth", torch.float16),
        ("numbers cannot be rounded to 'fp32'",),
        refused=True,
    ),
)
