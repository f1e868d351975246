"""Plain ViTs, such as MAE's: timm's beside detectron2's (modeling/backbone/vit.py, 02b5c4e2).

Relative positions are not compared: the original has none, and those of detectron2 are initially 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from detrex_hub.architectures.vit_mae import ViTMAE
from detrex_hub.numerics.layers import attention, linear, norm
from detrex_hub.numerics.plain_vit import (
    compared,
    outputs_in_timm,
    patches,
    run_by_detectors,
    sizes,
)
from detrex_hub.numerics.strict import load_strictly

if TYPE_CHECKING:
    from detrex_hub.numerics import Outputs, Settings, State

NEEDS = ("timm",)
LAYOUTS = ("original",)

# set by detrex's configs, because the class has another default
_EPS = 1e-6


def image_size(made: ViTMAE) -> int:
    return made.pretrain_img_size


def original(made: ViTMAE, layout: str, state: State, images: torch.Tensor) -> Outputs:
    from timm.models.vision_transformer import VisionTransformer

    model = VisionTransformer(**sizes(made), final_norm=False, global_pool="avg")
    load_strictly(model, run_by_detectors(made, state))
    return outputs_in_timm(model, images)


def converted(made: ViTMAE, settings: Settings, state: State, images: torch.Tensor) -> Outputs:
    x = patches(settings, state, images)
    found = {"patches": x}
    names, heads = compared(made.depth), settings["model.backbone.net.num_heads"]
    for number in range(made.depth):
        at = f"blocks.{number}."
        y = norm(state, f"{at}norm1", x, eps=_EPS)
        weight, bias = state[f"{at}attn.qkv.weight"], state.get(f"{at}attn.qkv.bias")
        q, k, v = functional.linear(y, weight, bias).chunk(3, -1)
        x = x + linear(state, f"{at}attn.proj", attention(q, k, v, heads))
        y = norm(state, f"{at}norm2", x, eps=_EPS)
        x = x + linear(state, f"{at}mlp.fc2", functional.gelu(linear(state, f"{at}mlp.fc1", y)))
        if number in names:
            found[names[number]] = x
    return found
