"""The shared parts of detectors with deformable attention on several feature maps, for one image.

Positions of all feature maps are in one dimension, map after map and row after row. Nothing is
padded, so the whole image is valid.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch.nn import functional

from detrex_hub.architectures.transformer import POINTS
from detrex_hub.numerics.layers import (
    feed_forward,
    linear,
    norm,
    sine_embedding,
)

if TYPE_CHECKING:
    from detrex_hub.numerics import Settings, State

# height and width of each feature map
Sizes: TypeAlias = Sequence[tuple[int, int]]

# as all of detrex's configs with deformable attention have it
_GROUPS = 32


def neck(state: State, features: Iterable[torch.Tensor], outputs: int) -> list[torch.Tensor]:
    """detrex's `ChannelMapper` (detrex/modeling/neck/channel_mapper.py, e244e6c).

    Args:
        state: with its tensors below ``neck.``.
        features: of the backbone, each ``(1, channels, h, w)``.
        outputs: feature maps in all; convolutions with stride 2 make the further ones.
    """
    features = list(features)
    found = [_mapped(state, f"neck.convs.{i}", x, 1) for i, x in enumerate(features)]
    for i in range(outputs - len(features)):
        found.append(_mapped(state, f"neck.extra_convs.{i}", found[-1] if i else features[-1], 2))
    return found


def _mapped(state: State, name: str, x: torch.Tensor, stride: int) -> torch.Tensor:
    weight, bias = state[f"{name}.conv.weight"], state[f"{name}.conv.bias"]
    x = functional.conv2d(x, weight, bias, stride=stride, padding=weight.shape[-1] // 2)
    return functional.group_norm(
        x, _GROUPS, state[f"{name}.norm.weight"], state[f"{name}.norm.bias"]
    )


def flattened(
    state: State, levels: Iterable[torch.Tensor], temperature: float, offset: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Feature maps and the embeddings of their positions, both ``(positions, c)``.

    Args:
        state: with ``transformer.level_embeds``.
        levels: the feature maps, each ``(1, c, h, w)``.
        temperature, offset: of the sine position embedding.
    """
    levels = list(levels)
    places = [
        sine_embedding(level, temperature, offset) + embedding
        for level, embedding in zip(levels, state["transformer.level_embeds"], strict=True)
    ]
    return torch.cat([level.flatten(2)[0].T for level in levels]), torch.cat(places)


def encoder(
    state: State, settings: Settings, x: torch.Tensor, place: torch.Tensor, sizes: Sizes
) -> torch.Tensor:
    """detrex's encoder with deformable attention: ``(positions, c) -> (positions, c)``."""
    heads, references = settings["model.transformer.encoder.num_heads"], centres(sizes)
    for number in range(settings["model.transformer.encoder.num_layers"]):
        at = f"transformer.encoder.layers.{number}."
        x = x + deformable_attention(
            state, f"{at}attentions.0", x + place, x, references, sizes, heads
        )
        x = norm(state, f"{at}norms.0", x)
        x = norm(state, f"{at}norms.1", x + feed_forward(state, at, x))
    return x


def centres(sizes: Sizes) -> torch.Tensor:
    """The centres of all positions, ``(positions, 2)``: x and y in 0..1 of the image."""
    found = []
    for height, width in sizes:
        y = (torch.arange(height).double() + 0.5) / height
        x = (torch.arange(width).double() + 0.5) / width
        found.append(torch.stack((x.repeat(height), y.repeat_interleave(width)), 1))
    return torch.cat(found)


def deformable_attention(
    state: State,
    name: str,
    queries: torch.Tensor,
    values: torch.Tensor,
    references: torch.Tensor,
    sizes: Sizes,
    heads: int,
) -> torch.Tensor:
    """The residual that detrex's `MultiScaleDeformableAttention` adds to its input.

    detrex/layers/multi_scale_deform_attn.py, e244e6c.

    Args:
        state: with its tensors below ``name``.
        queries: with their positions added, ``(n, c)``.
        values: of all feature maps, ``(positions, c)``.
        references: points ``(n, 2)`` or boxes ``(n, 4)``: x, y, width and height in 0..1.
        sizes: of the feature maps.
        heads: of attention.

    Returns:
        ``(n, c)``
    """
    offsets = linear(state, f"{name}.sampling_offsets", queries)
    offsets = offsets.unflatten(1, (heads, len(sizes), POINTS, 2))
    weights = linear(state, f"{name}.attention_weights", queries).unflatten(1, (heads, -1))
    weights = weights.softmax(-1).unflatten(2, (len(sizes), POINTS))
    where = references[:, None, None, None]
    if references.shape[1] == 2:
        # an offset of 1 is one position
        steps = torch.tensor([(width, height) for height, width in sizes]).double()
        places = where + offsets / steps[:, None]
    else:
        # an offset equal to the number of points is half the box
        places = where[..., :2] + offsets / POINTS * where[..., 2:] * 0.5
    maps = linear(state, f"{name}.value_proj", values).split([h * w for h, w in sizes])
    found = torch.zeros(1, dtype=queries.dtype)
    for level, (one, (height, width)) in enumerate(zip(maps, sizes, strict=True)):
        # (heads, channels, h, w) at (heads, n, points, 2), where -1 and 1 are the borders
        one = one.T.unflatten(0, (heads, -1)).unflatten(2, (height, width))
        grid = 2 * places[:, :, level].transpose(0, 1) - 1
        sampled = functional.grid_sample(one, grid, align_corners=False)
        found = found + (sampled * weights[:, None, :, level].permute(2, 1, 0, 3)).sum(-1)
    return linear(state, f"{name}.output_proj", found.flatten(0, 1).T)


def proposals(
    state: State, memory: torch.Tensor, sizes: Sizes
) -> tuple[torch.Tensor, torch.Tensor]:
    """The proposals of the encoder, one at each position.

    `gen_encoder_output_proposals` of projects/deformable_detr/modeling/deformable_transformer.py,
    e244e6c.

    Args:
        state: with ``transformer.enc_output`` and its norm.
        memory: of the encoder, ``(positions, c)``.
        sizes: of the feature maps.

    Returns:
        what the heads read, ``(positions, c)``, and the boxes to which the box head adds, before
        their sigmoid, ``(positions, 4)``. Those too close to the border are infinite, and what the
        heads read there is the same everywhere.
    """
    sides = [
        torch.full((height * width, 2), 0.05 * 2.0**level, dtype=torch.float64)
        for level, (height, width) in enumerate(sizes)
    ]
    boxes = torch.cat((centres(sizes), torch.cat(sides)), 1)
    valid = ((boxes > 0.01) & (boxes < 0.99)).all(1, keepdim=True)
    boxes = torch.where(valid, boxes.logit(), math.inf)
    memory = linear(state, "transformer.enc_output", torch.where(valid, memory, 0.0))
    return norm(state, "transformer.enc_output_norm", memory), boxes


def box_embedding(boxes: torch.Tensor, width: int = 128) -> torch.Tensor:
    """detrex's `get_proposal_pos_embed`, whose callers leave its ``width`` at 128: ``(n, 4)`` in
    0..1 -> ``(n, 4 * width)``."""
    steps = 10000 ** (2 * (torch.arange(width).double() // 2) / width)
    angles = boxes[:, :, None] * 2 * math.pi / steps
    return torch.stack((angles[..., 0::2].sin(), angles[..., 1::2].cos()), 3).flatten(1)
