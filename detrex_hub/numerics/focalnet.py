"""FocalNets: timm's beside detrex's (modeling/backbone/focalnet.py, e244e6c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from detrex_hub.architectures.focalnet import FocalNet
from detrex_hub.errors import UsageError
from detrex_hub.numerics.layers import linear, norm
from detrex_hub.numerics.strict import load_strictly

if TYPE_CHECKING:
    from detrex_hub.numerics import Outputs, Settings, State

NEEDS = ("timm",)
LAYOUTS = ("original",)


def image_size(made: FocalNet) -> int:
    if made.patch_size != 4 or not made.patch_norm:
        lacking = "without a norm of its patches" if made.patch_size == 4 else "of other patches"
        raise UsageError(f"--numerics runs FocalNets in timm, which has none {lacking}")
    return 64


def original(made: FocalNet, layout: str, state: State, images: torch.Tensor) -> Outputs:
    from timm.models.focalnet import FocalNet as Model
    from timm.models.focalnet import checkpoint_filter_fn

    model = Model(
        embed_dim=made.embed_dim,
        depths=made.depths,
        mlp_ratio=made.mlp_ratio,
        focal_levels=made.focal_levels,
        focal_windows=made.focal_windows,
        use_overlap_down=made.use_conv_embed,
        use_post_norm=made.use_postln,
        use_post_norm_in_modulation=made.use_postln_in_modulation,
        normalize_modulator=made.normalize_modulator,
        layerscale_value=1e-4 if made.use_layerscale else None,
        num_classes=state["head.weight"].shape[0] if "head.weight" in state else 0,
    )
    # timm's own reading of the original's names
    load_strictly(model, checkpoint_filter_fn(dict(state), model))
    x = model.stem(images)
    found = {"patches": x}
    for number, stage in enumerate(model.layers):
        # timm's stages begin with the downsampling that ends the one before in detrex
        x = stage(x)
        found[f"stage {number}"] = x
    return found


def converted(made: FocalNet, settings: Settings, state: State, images: torch.Tensor) -> Outputs:
    overlapping = settings.get("model.backbone.use_conv_embed", False)
    x = _embedded(state, "patch_embed.", images, made.patch_size, 2 if overlapping else 0)
    found = {"patches": _channels_first(x)}
    for stage, depth in enumerate(made.depths):
        for index in range(depth):
            x = _block(state, f"layers.{stage}.blocks.{index}.", x, settings)
        found[f"stage {stage}"] = _channels_first(x)
        if stage + 1 < len(made.depths):
            at = f"layers.{stage}.downsample."
            x = _embedded(state, at, _channels_first(x), 2, 1 if overlapping else 0)
    return found


def _embedded(state: State, at: str, x: torch.Tensor, stride: int, padding: int) -> torch.Tensor:
    """``(1, c, h, w) -> (1, h, w, c)``"""
    weight, bias = state[f"{at}proj.weight"], state[f"{at}proj.bias"]
    x = functional.conv2d(x, weight, bias, stride=stride, padding=padding)
    return norm(state, f"{at}norm", _channels_last(x))


def _block(state: State, at: str, x: torch.Tensor, settings: Settings) -> torch.Tensor:
    after = settings.get("model.backbone.use_postln", False)
    divided = settings.get("model.backbone.normalize_modulator", False)
    y = x if after else norm(state, f"{at}norm1", x)
    y = _modulated(state, f"{at}modulation.", y, divided=divided)
    y = norm(state, f"{at}norm1", y) if after else y
    x = x + state.get(f"{at}gamma_1", 1.0) * y
    y = x if after else norm(state, f"{at}norm2", x)
    y = linear(state, f"{at}mlp.fc2", functional.gelu(linear(state, f"{at}mlp.fc1", y)))
    y = norm(state, f"{at}norm2", y) if after else y
    return x + state.get(f"{at}gamma_2", 1.0) * y


def _modulated(state: State, at: str, x: torch.Tensor, *, divided: bool) -> torch.Tensor:
    """``(1, h, w, c) -> (1, h, w, c)``"""
    channels = x.shape[-1]
    x = linear(state, f"{at}f", x)
    levels = x.shape[-1] - 2 * channels - 1
    query, context, gates = _channels_first(x).split((channels, channels, levels + 1), 1)
    modulator = torch.zeros_like(query)
    for level in range(levels):
        weight = state[f"{at}focal_layers.{level}.0.weight"]
        context = functional.conv2d(context, weight, padding=weight.shape[-1] // 2, groups=channels)
        context = functional.gelu(context)
        modulator = modulator + context * gates[:, level : level + 1]
    whole = functional.gelu(context.mean((2, 3), keepdim=True))
    modulator = modulator + whole * gates[:, levels:]
    if divided:
        modulator = modulator / (levels + 1)
    modulator = functional.conv2d(modulator, state[f"{at}h.weight"], state[f"{at}h.bias"])
    y = _channels_last(query * modulator)
    if f"{at}ln.weight" in state:
        y = norm(state, f"{at}ln", y)
    return linear(state, f"{at}proj", y)


def _channels_first(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 3, 1, 2)


def _channels_last(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 2, 3, 1)
