"""Class heads, and files with the names of classes."""

from __future__ import annotations

import torch

from tests.situations import Situation
from tests.situations._models import detector, saved

TITLE = "Class heads"


def _without_heads() -> dict[str, torch.Tensor]:
    return {key: tensor for key, tensor in detector().items() if "class_embed" not in key}


SITUATIONS = (
    Situation(
        "A detector whose class heads were deleted",
        "The heads get fresh rows for N classes.",
        "detrex-hub convert headless.pth --num-classes 5",
        saved("headless.pth", lambda: {"model": _without_heads()}),
        (
            "deformable_detr (original)",
            "the file has no class heads: all their rows are fresh",
            "class heads made for 5 classes: 0 keep their rows, 5 get fresh ones (seed 0)",
        ),
    ),
)
