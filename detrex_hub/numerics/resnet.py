"""ResNets: timm's, whose names are torchvision's, beside detectron2's.

detectron2/modeling/backbone/resnet.py and layers/batch_norm.py, 02b5c4e2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from detrex_hub.architectures.resnet import BLOCKS, ResNet
from detrex_hub.numerics.layers import batch_norm, linear
from detrex_hub.numerics.strict import load_strictly

if TYPE_CHECKING:
    from detrex_hub.numerics import Outputs, Settings, State

NEEDS = ("timm",)
LAYOUTS = ("torchvision",)


def image_size(made: ResNet) -> int:
    return 64


def original(made: ResNet, layout: str, state: State, images: torch.Tensor) -> Outputs:
    return timm_features(
        made.depth,
        state,
        images,
        groups=made.num_groups,
        width=made.width_per_group,
        classifier=made.num_classes is not None,
    )


def timm_features(
    depth: int,
    state: State,
    images: torch.Tensor,
    *,
    groups: int = 1,
    width: int = 64,
    dilation: bool = False,
    classifier: bool = False,
) -> Outputs:
    """The outputs of timm's ResNet. With ``dilation`` its last stage is dilated instead of strided.
    With ``classifier`` the class scores are included."""
    import timm

    classes = state["fc.weight"].shape[0] if "fc.weight" in state else 0
    model = timm.create_model(
        f"resnet{depth}",
        num_classes=classes,
        output_stride=16 if dilation else 32,
        cardinality=groups,
        base_width=width,
    )
    # files that were saved by early versions of torch have no counters
    load_strictly(model, state, absent="num_batches_tracked")
    x = model.maxpool(model.act1(model.bn1(model.conv1(images))))
    found = {"stem": x}
    for stage in range(1, 5):
        x = getattr(model, f"layer{stage}")(x)
        found[f"res{stage + 1}"] = x
    return found | {"logits": model.forward_head(x)} if classifier else found


def converted(made: ResNet, settings: Settings, state: State, images: torch.Tensor) -> Outputs:
    found = features(made.depth, settings, state, images)
    if made.num_classes is not None:
        found["logits"] = linear(state, "linear", found["res5"].mean((2, 3)))
    return found


def features(
    depth: int, settings: Settings, state: State, images: torch.Tensor, prefix: str = ""
) -> dict[str, torch.Tensor]:
    """The outputs of stem and stages, whose names have a prefix in the state dict."""
    x = _conv(state, f"{prefix}stem.conv1", images, 2)
    x = functional.max_pool2d(functional.relu(x), kernel_size=3, stride=2, padding=1)
    found = {"stem": x}
    # detectron2's default
    in_1x1 = settings.get(
        "model.backbone.stages.stride_in_1x1",
        settings.get("model.backbone.stages.0.stride_in_1x1", True),
    )
    for number, blocks in enumerate(BLOCKS[depth], 2):
        for index in range(blocks):
            at, stride = f"{prefix}res{number}.{index}.", 2 if index == 0 and number > 2 else 1
            if depth >= 50:
                x = _bottleneck(state, at, x, stride, in_1x1=in_1x1)
            else:
                x = _basic(state, at, x, stride)
        found[f"res{number}"] = x
    return found


def _bottleneck(
    state: State, at: str, x: torch.Tensor, stride: int, *, in_1x1: bool
) -> torch.Tensor:
    first, second = (stride, 1) if in_1x1 else (1, stride)
    y = functional.relu(_conv(state, f"{at}conv1", x, first))
    y = functional.relu(_conv(state, f"{at}conv2", y, second))
    return functional.relu(_conv(state, f"{at}conv3", y, 1) + _shortcut(state, at, x, stride))


def _basic(state: State, at: str, x: torch.Tensor, stride: int) -> torch.Tensor:
    y = functional.relu(_conv(state, f"{at}conv1", x, stride))
    return functional.relu(_conv(state, f"{at}conv2", y, 1) + _shortcut(state, at, x, stride))


def _shortcut(state: State, at: str, x: torch.Tensor, stride: int) -> torch.Tensor:
    there = f"{at}shortcut.weight" in state
    return _conv(state, f"{at}shortcut", x, stride) if there else x


def _conv(state: State, name: str, x: torch.Tensor, stride: int) -> torch.Tensor:
    weight = state[f"{name}.weight"]
    groups = x.shape[1] // weight.shape[1]
    x = functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
    return batch_norm(state, f"{name}.norm", x)
