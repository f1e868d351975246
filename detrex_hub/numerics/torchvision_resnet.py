"""ResNets: timm's beside those of detrex's `TorchvisionResNet`, both in torchvision's names.

detrex/modeling/backbone/torchvision_resnet.py, e244e6c, which has torchvision build the ResNet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from detrex_hub.architectures.resnet import BLOCKS
from detrex_hub.architectures.torchvision_resnet import TorchvisionResNet
from detrex_hub.numerics.layers import batch_norm
from detrex_hub.numerics.resnet import timm_features

if TYPE_CHECKING:
    from detrex_hub.numerics import Outputs, Settings, State

NEEDS = ("timm",)
LAYOUTS = ("torchvision",)


def image_size(made: TorchvisionResNet) -> int:
    return 64


def original(made: TorchvisionResNet, layout: str, state: State, images: torch.Tensor) -> Outputs:
    return timm_features(made.depth, state, images, dilation=bool(made.dilation))


def converted(
    made: TorchvisionResNet, settings: Settings, state: State, images: torch.Tensor
) -> Outputs:
    return features(made.depth, settings, state, images)


def features(
    depth: int, settings: Settings, state: State, images: torch.Tensor, prefix: str = ""
) -> Outputs:
    """The outputs of stem and stages, whose names have a prefix in the state dict.

    `TorchvisionResNet` returns only the last stage.
    """
    dilated = settings.get("model.backbone.dilation", False)
    x = functional.relu(_conv(state, f"{prefix}body.", "conv1", "bn1", images, 2))
    x = functional.max_pool2d(x, kernel_size=3, stride=2, padding=1)
    found = {"stem": x}
    for stage, blocks in enumerate(BLOCKS[depth], 1):
        for index in range(blocks):
            stride, dilation = 2 if index == 0 and stage > 1 else 1, 1
            if stage == 4 and dilated:
                # the first block has the dilation of the stage before
                stride, dilation = 1, 1 if index == 0 else 2
            x = _block(state, f"{prefix}body.layer{stage}.{index}.", x, stride, dilation)
        found[f"res{stage + 1}"] = x
    return found


def _block(state: State, at: str, x: torch.Tensor, stride: int, dilation: int) -> torch.Tensor:
    """Strided in its first 3x3 convolution."""
    if f"{at}conv3.weight" in state:
        y = functional.relu(_conv(state, at, "conv1", "bn1", x, 1))
        y = functional.relu(_conv(state, at, "conv2", "bn2", y, stride, dilation))
        y = _conv(state, at, "conv3", "bn3", y, 1)
    else:
        y = functional.relu(_conv(state, at, "conv1", "bn1", x, stride))
        y = _conv(state, at, "conv2", "bn2", y, 1)
    if f"{at}downsample.0.weight" in state:
        x = _conv(state, at, "downsample.0", "downsample.1", x, stride)
    return functional.relu(y + x)


def _conv(
    state: State, at: str, name: str, norm: str, x: torch.Tensor, stride: int, dilation: int = 1
) -> torch.Tensor:
    weight = state[f"{at}{name}.weight"]
    padding = weight.shape[-1] // 2 * dilation
    x = functional.conv2d(x, weight, stride=stride, padding=padding, dilation=dilation)
    return batch_norm(state, f"{at}{norm}", x)
