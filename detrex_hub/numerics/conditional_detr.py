"""Conditional-DETR: transformers' beside detrex's (projects/conditional_detr/modeling, e244e6c).

The original's own names (Atten4Vis/ConditionalDETR, 8ea7c3f) are brought to those of transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from detrex_hub.architectures.conditional_detr import ConditionalDetr
from detrex_hub.errors import UsageError
from detrex_hub.numerics import in_transformers, single_level
from detrex_hub.numerics.common_rows import common_rows
from detrex_hub.numerics.layers import (
    conditional_cross_attention,
    conditional_self_attention,
    feed_forward,
    linear,
    mlp,
    norm,
    point_embedding,
    refined,
)

if TYPE_CHECKING:
    from detrex_hub.numerics import Outputs, Settings, State

NEEDS = ("timm", "transformers")
LAYOUTS = ("original", "transformers", "transformers_no_timm")

_NAMES = (*in_transformers.FAMILY, (r"\.cross_attn\.", ".encoder_attn."))
# the width of a point's embedding, which does not depend on the model's width
_WIDTH = 256


def image_size(made: ConditionalDetr) -> int:
    single_level.check_buildable(made)
    if made.embed_dim != _WIDTH:
        raise UsageError(
            f"--numerics has no forward pass of a {made.name} with a width of {made.embed_dim}: "
            f"the original always has {_WIDTH}"
        )
    return 96


def original(made: ConditionalDetr, layout: str, state: State, images: torch.Tensor) -> Outputs:
    from transformers import ConditionalDetrConfig, ConditionalDetrForObjectDetection

    if layout == "original":
        state = in_transformers.renamed(state, _NAMES)
    rows = state["class_labels_classifier.weight"].shape[0]
    config = ConditionalDetrConfig(**single_level.config(made, layout), num_labels=rows)
    model = in_transformers.load(ConditionalDetrForObjectDetection, config, state)
    with in_transformers.in_float64():
        found = model(pixel_values=images)
    return in_transformers.outputs(made, found)


def converted(
    made: ConditionalDetr, settings: Settings, state: State, images: torch.Tensor
) -> Outputs:
    x, place = single_level.encoder_output(made, settings, state, images)
    queries = state["query_embed.weight"]
    points = mlp(state, "transformer.decoder.ref_point_head", queries, 2).sigmoid()
    heads = settings["model.transformer.decoder.num_heads"]
    y = torch.zeros_like(queries)
    for number in range(made.decoder_layers):
        at, first = f"transformer.decoder.layers.{number}.", number == 0
        sine = point_embedding(points)
        if not first:
            sine = sine * mlp(state, "transformer.decoder.query_scale", y, 2)
        y = y + conditional_self_attention(state, f"{at}attentions.0", y, queries, heads)
        y = norm(state, f"{at}norms.0", y)
        y = y + conditional_cross_attention(
            state, f"{at}attentions.1", y, x, queries if first else None, sine, place, heads
        )
        y = norm(state, f"{at}norms.1", y)
        y = norm(state, f"{at}norms.2", y + feed_forward(state, at, y))
    y = norm(state, "transformer.decoder.post_norm_layer", y)
    _, kept = common_rows(made)
    return {
        "encoder": x,
        "decoder": y,
        "logits": linear(state, "class_embed", y)[:, kept],
        "boxes": refined(mlp(state, "bbox_embed", y), points),
    }
