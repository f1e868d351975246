"""DETR: transformers' beside detrex's (projects/detr/modeling/detr.py, e244e6c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from detrex_hub.architectures.coco import CATEGORIES
from detrex_hub.architectures.detr import Detr
from detrex_hub.numerics import bodies, in_transformers
from detrex_hub.numerics.layers import (
    feed_forward,
    linear,
    mlp,
    multihead_attention,
    norm,
    sine_embedding,
)

if TYPE_CHECKING:
    from detrex_hub.numerics import Outputs, Settings, State

NEEDS = ("timm", "transformers")


def image_size(made: Detr) -> int:
    bodies.resnet_of(made)
    return 96


def original(made: Detr, layout: str, state: State, images: torch.Tensor) -> Outputs:
    from transformers import DetrConfig, DetrForObjectDetection

    rows = state["class_labels_classifier.weight"].shape[0]
    config = DetrConfig(
        **in_transformers.body(made, own=layout == "transformers_no_timm"),
        use_pretrained_backbone=False,
        num_labels=rows - 1,
        num_queries=made.num_queries,
        d_model=made.embed_dim,
        encoder_layers=made.encoder_layers,
        decoder_layers=made.decoder_layers,
        encoder_ffn_dim=made.feedforward_dim,
        decoder_ffn_dim=made.feedforward_dim,
        encoder_attention_heads=made.num_heads,
        decoder_attention_heads=made.num_heads,
    )
    found = in_transformers.load(DetrForObjectDetection, config, state)(pixel_values=images)
    logits = found.logits
    if made.classes_cut_from is not None:
        # the last row is "no object"
        logits = logits[..., [*CATEGORIES, rows - 1]]
    return {
        "encoder": found.encoder_last_hidden_state[0],
        "decoder": found.last_hidden_state[0],
        "logits": logits[0],
        "boxes": found.pred_boxes[0],
    }


def converted(made: Detr, settings: Settings, state: State, images: torch.Tensor) -> Outputs:
    features = bodies.features(made, settings, state, images)["res5"]
    x = functional.conv2d(features, state["input_proj.weight"], state["input_proj.bias"])
    place = sine_embedding(
        x,
        settings["model.position_embedding.temperature"],
        settings["model.position_embedding.offset"],
    )
    x = x.flatten(2)[0].T
    heads = settings["model.transformer.encoder.num_heads"]
    for number in range(made.encoder_layers):
        at = f"transformer.encoder.layers.{number}."
        x = x + multihead_attention(state, f"{at}attentions.0.attn", x + place, x + place, x, heads)
        x = norm(state, f"{at}norms.0", x)
        x = norm(state, f"{at}norms.1", x + feed_forward(state, at, x))
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
    return {
        "encoder": x,
        "decoder": y,
        "logits": linear(state, "class_embed", y),
        "boxes": mlp(state, "bbox_embed", y).sigmoid(),
    }
