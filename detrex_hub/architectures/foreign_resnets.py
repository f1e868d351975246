"""The ResNets of transformers and timm with the same outputs as a ResNet of detrex."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detrex_hub.architectures.base import Architecture
from detrex_hub.architectures.resnet import BLOCKS, ResNet
from detrex_hub.architectures.torchvision_resnet import TorchvisionResNet
from detrex_hub.errors import ArchitectureError

# timm's names of ResNets by depth, groups, and channels of a group in the first stage
_TIMM_RESNETS: Mapping[tuple[int, int, int], str] = {
    **{(depth, 1, 64): f"resnet{depth}" for depth in BLOCKS},
    (50, 32, 4): "resnext50_32x4d",
    (101, 32, 8): "resnext101_32x8d",
    (101, 64, 4): "resnext101_64x4d",
    (50, 1, 128): "wide_resnet50_2",
    (101, 1, 128): "wide_resnet101_2",
}


def timm_resnet(body: Architecture) -> str:
    """timm's name of a ResNet, wide ResNet or ResNeXt.

    Raises:
        ArchitectureError: timm has none with these widths.
    """
    match body:
        case TorchvisionResNet():
            return _TIMM_RESNETS[body.depth, 1, 64]
        case ResNet():
            name = _TIMM_RESNETS.get((body.depth, body.num_groups, body.width_per_group))
            if name is not None:
                return name
    raise ArchitectureError(f"timm has no ResNet with {body.describe()}")


def own_resnet(body: Architecture, *, stride_in_1x1: bool) -> dict[str, Any]:
    """The fields of transformers' own ResNet.

    Raises:
        ArchitectureError: it has groups or wider blocks, or its last stage is dilated.
    """
    plain = isinstance(body, TorchvisionResNet) or (
        isinstance(body, ResNet) and body.default_stages
    )
    if not plain or (isinstance(body, TorchvisionResNet) and body.dilation):
        raise ArchitectureError(
            "transformers' own ResNet has neither groups, nor wider blocks, nor dilation",
            hint="Export for timm's ResNet, which has them: --to transformers",
        )
    assert isinstance(body, ResNet | TorchvisionResNet)
    deep = body.depth >= 50
    return {
        "model_type": "resnet",
        "embedding_size": 64,
        "hidden_sizes": [256, 512, 1024, 2048] if deep else [64, 128, 256, 512],
        "depths": list(BLOCKS[body.depth]),
        "layer_type": "bottleneck" if deep else "basic",
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": stride_in_1x1,
    }


def detector_backbone(
    body: Architecture, *, own: bool, read: int, stride_in_1x1: bool
) -> dict[str, Any]:
    """The fields of a detector's config for its ResNet.

    Args:
        body: the backbone of the detrex model.
        own: whether transformers' own ResNet reads the weights, instead of timm's.
        read: its last stages, which the detector reads.
        stride_in_1x1: whether the first 1x1 convolution has the stride.

    Raises:
        ArchitectureError: transformers has no such backbone in a detector.
    """
    if not isinstance(body, ResNet | TorchvisionResNet):
        raise ArchitectureError(
            f"the backbone is a {body.name}, but only detectors with a ResNet can be exported to "
            "transformers",
            hint="Use the detector in detrex, with from_hub",
        )
    if own:
        resnet = own_resnet(body, stride_in_1x1=stride_in_1x1)
        stages = [f"stage{number}" for number in range(5 - read, 5)]
        return {
            "use_timm_backbone": False,
            "use_pretrained_backbone": False,
            "backbone": None,
            "backbone_config": {**resnet, "out_features": stages},
            "dilation": False,
        }
    if stride_in_1x1:
        raise ArchitectureError(
            "the stride is in the 1x1 convolutions, but in timm's ResNet it is in the 3x3 "
            "convolutions",
            hint=(
                "Export for transformers' own ResNet, which supports both: --to "
                "transformers_no_timm"
            ),
        )
    if read not in (1, 3):
        raise ArchitectureError(
            f"the detector reads {read} stages, but transformers reads 1 or 3 stages of timm's "
            "ResNet",
            hint="Export for transformers' own ResNet: --to transformers_no_timm",
        )
    return {
        "use_timm_backbone": True,
        "use_pretrained_backbone": False,
        "backbone": timm_resnet(body),
        "backbone_config": None,
        "dilation": isinstance(body, TorchvisionResNet) and bool(body.dilation),
    }
