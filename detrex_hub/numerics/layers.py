"""Layers whose parameters stand under a name in a state dict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from detrex_hub.numerics import State


def linear(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    """``(..., in) -> (..., out)``"""
    return functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def norm(state: State, name: str, x: torch.Tensor, *, eps: float = 1e-5) -> torch.Tensor:
    """LayerNorm over the last dimension."""
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return functional.layer_norm(x, weight.shape, weight, bias, eps)
