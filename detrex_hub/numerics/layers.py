"""Layers with parameters under a name in a state dict."""

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
    """BatchNorm2d with its running statistics, like FrozenBatchNorm2d."""
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return functional.batch_norm(x, mean, var, weight, bias, eps=1e-5)


def mlp(state: State, name: str, x: torch.Tensor, depth: int = 3) -> torch.Tensor:
    """detrex's `MLP`: linear layers with ReLU between them, ``(..., in) -> (..., out)``."""
    for number in range(depth):
        x = linear(state, f"{name}.layers.{number}", x if number == 0 else x.relu())
    return x


def feed_forward(state: State, at: str, x: torch.Tensor) -> torch.Tensor:
    """The residual that detrex's `FFN` adds to its input, for the first `FFN` of the layer."""
    x = linear(state, f"{at}ffns.0.layers.0.0", x)
    slope = state.get(f"{at}ffns.0.layers.0.1.weight")
    x = x.relu() if slope is None else functional.prelu(x, slope)
    return linear(state, f"{at}ffns.0.layers.1", x)


def encoder_layer(
    state: State, at: str, x: torch.Tensor, place: torch.Tensor, heads: int
) -> torch.Tensor:
    """detrex's `BaseTransformerLayer` of an encoder, with attention over all of one image.

    detrex/layers/transformer.py, e244e6c: ``(n, c), (n, c) -> (n, c)``.
    """
    x = x + multihead_attention(state, f"{at}attentions.0.attn", x + place, x + place, x, heads)
    x = norm(state, f"{at}norms.0", x)
    return norm(state, f"{at}norms.1", x + feed_forward(state, at, x))


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
    """Attention with projected inputs: ``(n, d), (m, d), (m, c) -> (n, c)``."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(0, 1) for x in (q, k, v))
    scores = (q @ k.transpose(1, 2)) * q.shape[-1] ** -0.5
    return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)


def conditional_self_attention(
    state: State, name: str, x: torch.Tensor, place: torch.Tensor, heads: int
) -> torch.Tensor:
    """The residual of detrex's `ConditionalSelfAttention`: ``(n, c), (n, c) -> (n, c)``.

    detrex/layers/attention.py, e244e6c.
    """
    q = linear(state, f"{name}.query_content_proj", x) + linear(
        state, f"{name}.query_pos_proj", place
    )
    k = linear(state, f"{name}.key_content_proj", x) + linear(state, f"{name}.key_pos_proj", place)
    v = linear(state, f"{name}.value_proj", x)
    return linear(state, f"{name}.out_proj", attention(q, k, v, heads))


def conditional_cross_attention(
    state: State,
    name: str,
    x: torch.Tensor,
    memory: torch.Tensor,
    place: torch.Tensor | None,
    sine: torch.Tensor,
    memory_place: torch.Tensor,
    heads: int,
) -> torch.Tensor:
    """The residual that detrex's `ConditionalCrossAttention` adds to its input.

    detrex/layers/attention.py, e244e6c.

    Args:
        x: ``(n, c)``.
        memory: of the encoder, ``(m, c)``.
        place: of the queries in the first layer, ``(n, c)``; None in the others.
        sine: embedding of the queries' places, ``(n, c)``.
        memory_place: ``(m, c)``.
    """
    q = linear(state, f"{name}.query_content_proj", x)
    k = linear(state, f"{name}.key_content_proj", memory)
    v = linear(state, f"{name}.value_proj", memory)
    k_place = linear(state, f"{name}.key_pos_proj", memory_place)
    if place is not None:
        q = q + linear(state, f"{name}.query_pos_proj", place)
        k = k + k_place
    q_place = linear(state, f"{name}.query_pos_sine_proj", sine)
    # each head has a part of the content and the same part of the place
    q, k = (
        torch.cat([y.unflatten(-1, (heads, -1)) for y in pair], -1).flatten(1)
        for pair in ((q, q_place), (k, k_place))
    )
    return linear(state, f"{name}.out_proj", attention(q, k, v, heads))


def inverse_sigmoid(x: torch.Tensor, eps: float = 1e-3) -> torch.Tensor:
    """detrex's, detrex/utils/misc.py, e244e6c."""
    return (x.clamp(min=eps) / (1 - x).clamp(min=eps)).log()


def refined(change: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
    """The box that a box head makes of a point ``(n, 2)`` or a box ``(n, 4)``, all in 0..1.

    detrex limits the inverse sigmoid at 1e-3 and the originals at 1e-5, which is used here:
    different boxes near the border are not an error of the weights.
    """
    inside = inverse_sigmoid(references, 1e-5)
    return (change + functional.pad(inside, (0, 4 - references.shape[1]))).sigmoid()


def point_embedding(points: torch.Tensor, width: int = 128) -> torch.Tensor:
    """detrex's `get_sine_pos_embed` of ``(n, 2 or more)`` coordinates between 0 and 1, x and y
    exchanged, ``-> (n, width * coordinates)``.

    detrex/layers/position_embedding.py, e244e6c. Its callers use the default ``width`` of 128.
    """
    steps = 10000 ** (2 * (torch.arange(width).double() // 2) / width)
    order = [1, 0, *range(2, points.shape[1])]
    angles = points[:, order, None] * 2 * math.pi / steps
    return torch.stack((angles[..., 0::2].sin(), angles[..., 1::2].cos()), -1).flatten(1)


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
