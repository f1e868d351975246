"""ConvNeXt: timm's beside detrex's (detrex/modeling/backbone/convnext.py, e244e6c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from detrex_hub.architectures.convnext import ConvNeXt
from detrex_hub.numerics.layers import linear, norm
from detrex_hub.numerics.strict import load_strictly

if TYPE_CHECKING:
    from detrex_hub.numerics import Outputs, Settings, State

NEEDS = ("timm",)
LAYOUTS = ("original", "timm")

_EPS = 1e-6


def image_size(made: ConvNeXt) -> int:
    return 64


def original(made: ConvNeXt, layout: str, state: State, images: torch.Tensor) -> Outputs:
    from timm.models.convnext import ConvNeXt as Model
    from timm.models.convnext import checkpoint_filter_fn

    heads = ("head.weight", "head.fc.weight")
    classes = next((state[key].shape[0] for key in heads if key in state), 0)
    model = Model(
        depths=made.depths,
        dims=made.dims,
        num_classes=classes,
        ls_init_value=1e-6 if made.layer_scale else None,
    )
    # timm's own reading of the original's names
    load_strictly(
        model, checkpoint_filter_fn(dict(state), model) if layout == "original" else state
    )
    x = model.stem(images)
    found = {"stem": x}
    for number, stage in enumerate(model.stages):
        x = stage(x)
        found[f"stage {number}"] = x
    return found


def converted(made: ConvNeXt, settings: Settings, state: State, images: torch.Tensor) -> Outputs:
    x = _convolution(state, "downsample_layers.0.0", images)
    x = _norm(state, "downsample_layers.0.1", x)
    found = {"stem": x}
    for number, depth in enumerate(made.depths):
        if number:
            x = _norm(state, f"downsample_layers.{number}.0", x)
            x = _convolution(state, f"downsample_layers.{number}.1", x)
        for index in range(depth):
            x = _block(state, f"stages.{number}.{index}.", x)
        found[f"stage {number}"] = x
    return found


def _convolution(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    weight = state[f"{name}.weight"]
    return functional.conv2d(x, weight, state[f"{name}.bias"], stride=weight.shape[-1])


def _norm(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    """Over the channels of ``(n, c, h, w)``."""
    return norm(state, name, x.permute(0, 2, 3, 1), eps=_EPS).permute(0, 3, 1, 2)


def _block(state: State, at: str, x: torch.Tensor) -> torch.Tensor:
    weight, bias = state[f"{at}dwconv.weight"], state[f"{at}dwconv.bias"]
    y = functional.conv2d(x, weight, bias, padding=3, groups=weight.shape[0])
    y = norm(state, f"{at}norm", y.permute(0, 2, 3, 1), eps=_EPS)
    y = functional.gelu(linear(state, f"{at}pwconv1", y))
    y = linear(state, f"{at}pwconv2", y)
    if f"{at}gamma" in state:
        y = y * state[f"{at}gamma"]
    return x + y.permute(0, 3, 1, 2)
