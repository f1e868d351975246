"""The ResNets inside detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from detrex_hub.architectures.detector import Detector
from detrex_hub.architectures.resnet import ResNet
from detrex_hub.architectures.torchvision_resnet import TorchvisionResNet
from detrex_hub.errors import UsageError
from detrex_hub.numerics import resnet, torchvision_resnet

if TYPE_CHECKING:
    from detrex_hub.numerics import Outputs, Settings, State


def resnet_of(made: Detector) -> ResNet | TorchvisionResNet:
    """
    Raises:
        UsageError: the detector has another backbone.
    """
    if not isinstance(made.body, ResNet | TorchvisionResNet):
        raise UsageError(f"--numerics has no forward pass of a {made.name} with {made.body.name}")
    return made.body


def features(made: Detector, settings: Settings, state: State, images: torch.Tensor) -> Outputs:
    """The outputs of stem and stages in detrex, which has one of two ResNets."""
    body = resnet_of(made)
    if isinstance(body, TorchvisionResNet):
        return torchvision_resnet.features(body.depth, settings, state, images, "backbone.")
    return resnet.features(body.depth, settings, state, images, "backbone.")
