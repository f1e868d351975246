"""Swin Transformers: timm's beside detectron2's (modeling/backbone/swin.py, 02b5c4e2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from detrex_hub.architectures.swin import Swin
from detrex_hub.numerics.layers import linear, norm
from detrex_hub.numerics.strict import load_strictly

if TYPE_CHECKING:
    from detrex_hub.numerics import Outputs, Settings, State

NEEDS = ("timm",)
LAYOUTS = ("original", "timm")

# tensors that models compute themselves
_COMPUTED = ("relative_position_index", "attn_mask")


def image_size(made: Swin) -> int:
    # two windows per side in the last of four stages: with a single window the original does not
    # shift it, and detectron2 does
    return int(made.patch_size * made.window_size * 2 ** len(made.depths))


def original(made: Swin, layout: str, state: State, images: torch.Tensor) -> Outputs:
    from timm.models.swin_transformer import SwinTransformer, checkpoint_filter_fn

    heads = ("head.weight", "head.fc.weight")
    model = SwinTransformer(
        img_size=image_size(made),
        patch_size=made.patch_size,
        embed_dim=made.embed_dim,
        depths=made.depths,
        num_heads=made.num_heads,
        window_size=made.window_size,
        mlp_ratio=made.mlp_ratio,
        qkv_bias=made.qkv_bias,
        num_classes=next((state[key].shape[0] for key in heads if key in state), 0),
    )
    kept = {key: value for key, value in state.items() if not key.endswith(_COMPUTED)}
    # timm's own reading of the original's names
    kept = checkpoint_filter_fn(kept, model) if layout == "original" else kept
    load_strictly(model, kept, absent=_COMPUTED)
    x = model.patch_embed(images)
    found = {"patches": x}
    for number, stage in enumerate(model.layers):
        # timm's stages begin with the downsampling that ends the one before in detectron2
        x = stage(x)
        found[f"stage {number}"] = x
    return found


def converted(made: Swin, settings: Settings, state: State, images: torch.Tensor) -> Outputs:
    x = functional.conv2d(
        images,
        state["patch_embed.proj.weight"],
        state["patch_embed.proj.bias"],
        stride=made.patch_size,
    ).permute(0, 2, 3, 1)
    if made.patch_norm:
        x = norm(state, "patch_embed.norm", x)
    found = {"patches": x}
    for stage, (depth, heads) in enumerate(zip(made.depths, made.num_heads, strict=True)):
        for index in range(depth):
            shift = made.window_size // 2 if index % 2 else 0
            at = f"layers.{stage}.blocks.{index}."
            x = _block(state, at, x, heads, made.window_size, shift)
        found[f"stage {stage}"] = x
        if stage + 1 < len(made.depths):
            x = _merged(state, f"layers.{stage}.downsample.", x)
    return found


def _block(
    state: State, at: str, x: torch.Tensor, heads: int, window: int, shift: int
) -> torch.Tensor:
    y = torch.roll(norm(state, f"{at}norm1", x), (-shift, -shift), (1, 2))
    y = _attention(state, f"{at}attn.", y, heads, window, shift)
    x = x + torch.roll(y, (shift, shift), (1, 2))
    y = functional.gelu(linear(state, f"{at}mlp.fc1", norm(state, f"{at}norm2", x)))
    return x + linear(state, f"{at}mlp.fc2", y)


def _attention(
    state: State, at: str, x: torch.Tensor, heads: int, window: int, shift: int
) -> torch.Tensor:
    """Within windows, ``(1, h, w, c) -> (1, h, w, c)``."""
    _, height, width, channels = x.shape
    tokens = _windows(x, window)
    qkv = functional.linear(tokens, state[f"{at}qkv.weight"], state.get(f"{at}qkv.bias"))
    q, k, v = qkv.unflatten(-1, (3, heads, channels // heads)).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(-1, -2) * (channels // heads) ** -0.5
    table = state[f"{at}relative_position_bias_table"]
    scores = scores + table[_relative_positions(window)].permute(2, 0, 1)
    if shift:
        regions = _windows(_regions(height, width, window, shift), window)
        apart = regions != regions.transpose(1, 2)
        scores = scores - 100.0 * apart[:, None]
    y = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
    y = linear(state, f"{at}proj", y)
    y = y.unflatten(0, (height // window, width // window)).unflatten(2, (window, window))
    return y.permute(0, 2, 1, 3, 4).reshape(1, height, width, channels)


def _windows(x: torch.Tensor, window: int) -> torch.Tensor:
    """``(1, h, w, c) -> (windows, window * window, c)``"""
    _, height, width, channels = x.shape
    x = x.reshape(height // window, window, width // window, window, channels)
    return x.permute(0, 2, 1, 3, 4).reshape(-1, window * window, channels)


def _regions(height: int, width: int, window: int, shift: int) -> torch.Tensor:
    """``(1, h, w, 1)``: a number for each region of pixels that were neighbours before the
    shift."""

    def bands(length: int) -> torch.Tensor:
        places = torch.arange(length)
        return (places >= length - window).long() + (places >= length - shift).long()

    return (bands(height)[:, None] * 3 + bands(width)[None, :])[None, :, :, None]


def _relative_positions(window: int) -> torch.Tensor:
    """``(window**2, window**2)``: rows of the bias table."""
    places = torch.cartesian_prod(torch.arange(window), torch.arange(window))
    apart = places[:, None] - places[None, :] + window - 1
    return apart[..., 0] * (2 * window - 1) + apart[..., 1]


def _merged(state: State, at: str, x: torch.Tensor) -> torch.Tensor:
    parts = (x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2])
    x = norm(state, f"{at}norm", torch.cat(parts, -1))
    return functional.linear(x, state[f"{at}reduction.weight"])
