"""DETR: transformers' beside detrex's (projects/detr/modeling/detr.py, e244e6c).

The original's own names (facebookresearch/detr, 29901c5) are brought to those of transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from detrex_hub.architectures.detr import Detr
from detrex_hub.numerics import in_transformers, single_level
from detrex_hub.numerics.common_rows import common_rows
from detrex_hub.numerics.layers import feed_forward, linear, mlp, multihead_attention, norm

if TYPE_CHECKING:
    from detrex_hub.numerics import Outputs, Settings, State

NEEDS = ("timm", "transformers")
LAYOUTS = ("original", "panoptic", "transformers", "transformers_no_timm")

_NAMES = (*in_transformers.FAMILY, (r"\.multihead_attn\.", ".encoder_attn."))
# other parts of panoptic DETR checkpoints, which the detector does not need
_MASKS = ("mask_head.", "bbox_attention.")


def image_size(made: Detr) -> int:
    single_level.check_buildable(made)
    return 96


def original(made: Detr, layout: str, state: State, images: torch.Tensor) -> Outputs:
    from transformers import DetrConfig, DetrForObjectDetection

    if layout == "panoptic":
        detector = (key for key in state if not key.startswith(_MASKS))
        state = {key.removeprefix("detr."): state[key] for key in detector}
    if layout in ("original", "panoptic"):
        state = in_transformers.renamed(state, _NAMES)
    rows = state["class_labels_classifier.weight"].shape[0]
    config = DetrConfig(**single_level.config(made, layout), num_labels=rows - 1)
    found = in_transformers.load(DetrForObjectDetection, config, state)(pixel_values=images)
    return in_transformers.outputs(made, found)


def converted(made: Detr, settings: Settings, state: State, images: torch.Tensor) -> Outputs:
    x, place = single_level.encoder_output(made, settings, state, images)
    queries = state["query_embed.weight"]
    heads = settings["model.transformer.decoder.num_heads"]
    y = torch.zeros_like(queries)
    for number in range(made.decoder_layers):
        at = f"transformer.decoder.layers.{number}."
        z = y + queries
        y = y + multihead_attention(state, f"{at}attentions.0.attn", z, z, y, heads)
        y = norm(state, f"{at}norms.0", y)
        z = y + queries
        y = y + multihead_attention(state, f"{at}attentions.1.attn", z, x + place, x, heads)
        y = norm(state, f"{at}norms.1", y)
        y = norm(state, f"{at}norms.2", y + feed_forward(state, at, y))
    y = norm(state, "transformer.decoder.post_norm_layer", y)
    _, kept = common_rows(made)
    return {
        "encoder": x,
        "decoder": y,
        "logits": linear(state, "class_embed", y)[:, kept],
        "boxes": mlp(state, "bbox_embed", y).sigmoid(),
    }
