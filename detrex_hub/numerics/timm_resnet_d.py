"""ResNet-D: timm's, beside the one that detrex's `TimmBackbone` holds below ``timm_model.``.

timm 1.0.20, `models/resnet.py`. detrex's wrapper lets timm build the same model, so the second
forward pass here uses timm's layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from detrex_hub.architectures.timm_resnet_d import BLOCKS, TimmResNetD
from detrex_hub.numerics.layers import batch_norm
from detrex_hub.numerics.strict import load_strictly

if TYPE_CHECKING:
    from detrex_hub.numerics import Outputs, Settings, State

NEEDS = ("timm",)
LAYOUTS = ("timm",)
# convolutions of the stem, and the norms behind the first two
_STEM = (("conv1.0", "conv1.1", 2), ("conv1.3", "conv1.4", 1), ("conv1.6", "bn1", 1))


def image_size(made: TimmResNetD) -> int:
    return 64


def original(made: TimmResNetD, layout: str, state: State, images: torch.Tensor) -> Outputs:
    import timm

    classes = state["fc.weight"].shape[0] if "fc.weight" in state else 0
    model = timm.create_model(f"resnet{made.depth}d", num_classes=classes)
    load_strictly(model, state, absent="num_batches_tracked")
    x = model.maxpool(model.act1(model.bn1(model.conv1(images))))
    found = {"stem": x}
    for stage in range(1, 5):
        x = getattr(model, f"layer{stage}")(x)
        found[f"p{stage}"] = x
    return found


def converted(made: TimmResNetD, settings: Settings, state: State, images: torch.Tensor) -> Outputs:
    at, x = "timm_model.", images
    for conv, norm, stride in _STEM:
        x = functional.relu(_conv(state, f"{at}{conv}", f"{at}{norm}", x, stride))
    x = functional.max_pool2d(x, kernel_size=3, stride=2, padding=1)
    found = {"stem": x}
    for stage, blocks in enumerate(BLOCKS[made.depth], 1):
        for index in range(blocks):
            stride = 2 if index == 0 and stage > 1 else 1
            x = _block(state, f"{at}layer{stage}.{index}.", x, stride)
        found[f"p{stage}"] = x
    return found


def _block(state: State, at: str, x: torch.Tensor, stride: int) -> torch.Tensor:
    """Strided in its first 3x3 convolution."""
    # the stride of each convolution
    strides = (1, stride, 1) if f"{at}conv3.weight" in state else (stride, 1)
    y = x
    for number, step in enumerate(strides, 1):
        y = _conv(state, f"{at}conv{number}", f"{at}bn{number}", y, step)
        y = functional.relu(y) if number < len(strides) else y
    if f"{at}downsample.1.weight" in state:
        if stride > 1:
            x = functional.avg_pool2d(x, 2, stride, ceil_mode=True, count_include_pad=False)
        x = _conv(state, f"{at}downsample.1", f"{at}downsample.2", x, 1)
    return functional.relu(y + x)


def _conv(state: State, conv: str, norm: str, x: torch.Tensor, stride: int) -> torch.Tensor:
    weight = state[f"{conv}.weight"]
    x = functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
    return batch_norm(state, norm, x)
