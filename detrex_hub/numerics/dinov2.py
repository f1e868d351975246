"""DINOv2: timm's beside detectron2's (modeling/backbone/vit.py, 02b5c4e2).

The original scales its layers' outputs, the converted weights hold the products. Class and register
tokens, which detectors do not have, are left out of both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from detrex_hub.architectures.dinov2 import DINOv2
from detrex_hub.numerics import vit_mae
from detrex_hub.numerics.plain_vit import outputs_in_timm, run_by_detectors, sizes
from detrex_hub.numerics.strict import load_strictly

if TYPE_CHECKING:
    import torch

    from detrex_hub.numerics import Outputs, State

NEEDS = ("timm",)
LAYOUTS = ("original", "timm")

image_size = vit_mae.image_size
converted = vit_mae.converted


def original(made: DINOv2, layout: str, state: State, images: torch.Tensor) -> Outputs:
    from timm.models.vision_transformer import VisionTransformer

    # any number gives it layer scales
    model = VisionTransformer(**sizes(made), init_values=1.0, final_norm=False, global_pool="avg")
    load_strictly(model, run_by_detectors(made, state))
    return outputs_in_timm(model, images)
