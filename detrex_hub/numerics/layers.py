"""Layers whose parameters stand under a name in a state dict."""

from __future__ import annotations

import math
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


def batch_norm(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    """BatchNorm2d with the statistics that it was trained to, as FrozenBatchNorm2d has it."""
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return functional.batch_norm(x, mean, var, weight, bias, eps=1e-5)


def mlp(state: State, name: str, x: torch.Tensor, depth: int = 3) -> torch.Tensor:
    """detrex's `MLP`: linear layers with ReLU between them, ``(..., in) -> (..., out)``."""
    for number in range(depth):
        x = linear(state, f"{name}.layers.{number}", x if number == 0 else x.relu())
    return x


def feed_forward(state: State, at: str, x: torch.Tensor) -> torch.Tensor:
    """What detrex's `FFN` adds to its input, the first one of the layer at a prefix."""
    return linear(state, f"{at}ffns.0.layers.1", linear(state, f"{at}ffns.0.layers.0.0", x).relu())


def multihead_attention(
    state: State, name: str, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int
) -> torch.Tensor:
    """``torch.nn.MultiheadAttention`` of one image: ``(n, c), (m, c), (m, c) -> (n, c)``."""
    weights = state[f"{name}.in_proj_weight"].chunk(3)
    biases = state[f"{name}.in_proj_bias"].chunk(3)
    q, k, v = (
        functional.linear(x, weight, bias)
        for x, weight, bias in zip((q, k, v), weights, biases, strict=True)
    )
    return linear(state, f"{name}.out_proj", attention(q, k, v, heads))


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    """Attention itself, its inputs projected: ``(n, d), (m, d), (m, c) -> (n, c)``."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(0, 1) for x in (q, k, v))
    scores = (q @ k.transpose(1, 2)) * q.shape[-1] ** -0.5
    return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)


def sine_embedding(x: torch.Tensor, temperature: float, offset: float) -> torch.Tensor:
    """detrex's `PositionEmbeddingSine`, normalised, of a feature map without padding.

    detrex/layers/position_embedding.py, e244e6c: ``(1, c, h, w) -> (h * w, c)``.
    """
    _, channels, height, width = x.shape
    half = channels // 2
    steps = temperature ** (2 * (torch.arange(half).double() // 2) / half)

    def along(length: int) -> torch.Tensor:
        places = (torch.arange(1, length + 1).double() + offset) / (length + 1e-6) * 2 * math.pi
        angles = places[:, None] / steps
        return torch.stack((angles[:, 0::2].sin(), angles[:, 1::2].cos()), 2).flatten(1)

    rows = along(height)[:, None].expand(-1, width, -1)
    columns = along(width)[None].expand(height, -1, -1)
    return torch.cat((rows, columns), 2).flatten(0, 1)
