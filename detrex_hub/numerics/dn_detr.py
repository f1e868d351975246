"""DN-DETR: transformers' DAB-DETR beside detrex's DN-DETR (projects/dn_detr/modeling, e244e6c).

Without denoising, which is for training, it is a DAB-DETR with one pattern: the embedding of the
label "unknown" and a zero, which marks a query without denoising (IDEA-Research/DN-DETR,
ff3902a).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from detrex_hub.architectures.dn_detr import DnDetr
from detrex_hub.architectures.heads import LABEL_ENCODER
from detrex_hub.errors import UsageError
from detrex_hub.numerics import dab_detr

if TYPE_CHECKING:
    from detrex_hub.numerics import Outputs, Settings, State

NEEDS = dab_detr.NEEDS
LAYOUTS = ("original",)


def image_size(made: DnDetr) -> int:
    if not made.with_indicator:
        raise UsageError(
            "--numerics has no forward pass of a dn_detr without indicator, because detrex's "
            "cannot run that way"
        )
    return dab_detr.image_size(made)


def original(made: DnDetr, layout: str, state: State, images: torch.Tensor) -> Outputs:
    state = dab_detr.renamed(state)
    unknown = len(state["class_embed.weight"])
    state["model.patterns.weight"] = _pattern(state.pop("label_enc.weight"), unknown)
    return dab_detr.run_original(made, state, images, own=False, patterns=1)


def converted(made: DnDetr, settings: Settings, state: State, images: torch.Tensor) -> Outputs:
    pattern = _pattern(state[f"{LABEL_ENCODER}.weight"], settings["model.num_classes"])
    return dab_detr.run_converted(made, settings, state, images, pattern)


def _pattern(labels: torch.Tensor, label: int) -> torch.Tensor:
    """``(labels, embed_dim - 1) -> (1, embed_dim)``"""
    return functional.pad(labels[label : label + 1], (0, 1))
