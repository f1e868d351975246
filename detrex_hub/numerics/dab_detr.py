"""DAB-DETR: transformers' beside detrex's (projects/dab_detr/modeling, e244e6c).

transformers' model follows the original (IDEA-Research/DAB-DETR, 723ddb8) except for one number.
Its `inverse_sigmoid` keeps 1e-5 away from 0 and 1. The original's and detrex's keep 1e-3. All
weights were trained with 1e-3, so the model is run with it here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch

from detrex_hub.architectures.anchor_boxes import AnchorBoxDetector
from detrex_hub.architectures.dab_detr import DabDetr
from detrex_hub.errors import UsageError
from detrex_hub.numerics import detector_resnets, in_transformers, single_level
from detrex_hub.numerics.common_rows import common_rows
from detrex_hub.numerics.layers import (
    conditional_cross_attention,
    conditional_self_attention,
    encoder_layer,
    feed_forward,
    inverse_sigmoid,
    linear,
    mlp,
    norm,
    point_embedding,
)

if TYPE_CHECKING:
    from detrex_hub.numerics import Outputs, Settings, State

NEEDS = ("timm", "transformers")
LAYOUTS = ("original", "transformers", "transformers_no_timm")

_INVERSE_SIGMOID_EPS = 1e-3
# the default of detrex's `get_sine_pos_embed`
_WIDTH = 256

# the original's modules and transformers', in a layer
_ENCODER_LAYER = {
    "norm1": "self_attn_layer_norm",
    "linear1": "fc1",
    "activation": "activation_fn",
    "linear2": "fc2",
    "norm2": "final_layer_norm",
}
_DECODER_LAYER = {
    "sa_qcontent_proj": "self_attn.self_attn_query_content_proj",
    "sa_qpos_proj": "self_attn.self_attn_query_pos_proj",
    "sa_kcontent_proj": "self_attn.self_attn_key_content_proj",
    "sa_kpos_proj": "self_attn.self_attn_key_pos_proj",
    "sa_v_proj": "self_attn.self_attn_value_proj",
    "self_attn.out_proj": "self_attn.self_attn.output_proj",
    "norm1": "self_attn.self_attn_layer_norm",
    "ca_qcontent_proj": "cross_attn.cross_attn_query_content_proj",
    "ca_qpos_proj": "cross_attn.cross_attn_query_pos_proj",
    "ca_kcontent_proj": "cross_attn.cross_attn_key_content_proj",
    "ca_kpos_proj": "cross_attn.cross_attn_key_pos_proj",
    "ca_v_proj": "cross_attn.cross_attn_value_proj",
    "ca_qpos_sine_proj": "cross_attn.cross_attn_query_pos_sine_proj",
    "cross_attn.out_proj": "cross_attn.cross_attn.output_proj",
    "norm2": "cross_attn.cross_attn_layer_norm",
    "linear1": "mlp.fc1",
    "activation": "mlp.activation_fn",
    "linear2": "mlp.fc2",
    "norm3": "mlp.final_layer_norm",
}
# patterns and replacements for `in_transformers.renamed`
_NAMES = (
    (r"^backbone\.0\.body\.", "model.backbone.conv_encoder.model._backbone."),
    (r"^input_proj\.", "model.input_projection."),
    (r"^refpoint_embed\.", "model.query_refpoint_embeddings."),
    (r"^bbox_embed\.", "bbox_predictor."),
    (r"^transformer\.", "model."),
    (r"^model\.decoder\.norm\.", "model.decoder.layernorm."),
    *(
        (rf"^(model\.{side}\.layers\.\d+)\.{re.escape(theirs)}\.", rf"\1.{ours}.")
        for side, names in (("encoder", _ENCODER_LAYER), ("decoder", _DECODER_LAYER))
        for theirs, ours in names.items()
    ),
)


def image_size(made: AnchorBoxDetector) -> int:
    detector_resnets.resnet_of(made)
    lacking = {
        "a learned position embedding": made.position_grid is not None,
        "cross-attention that width and height do not modulate": not made.modulate_hw_attn,
        f"a width of {made.embed_dim}, which detrex's cannot run": made.embed_dim != _WIDTH,
    }
    for what, is_so in lacking.items():
        if is_so:
            raise UsageError(f"--numerics has no forward pass of a {made.name} with {what}")
    return 96


def original(made: DabDetr, layout: str, state: State, images: torch.Tensor) -> Outputs:
    if layout == "original":
        state = renamed(state)
    own = layout == "transformers_no_timm"
    return run_original(made, state, images, own=own, patterns=made.num_patterns)


def converted(made: DabDetr, settings: Settings, state: State, images: torch.Tensor) -> Outputs:
    if settings["model.transformer.num_patterns"]:
        contents = state["transformer.patterns.weight"]
    else:
        contents = torch.zeros(1, made.embed_dim).double()
    return run_converted(made, settings, state, images, contents)


def renamed(state: State) -> dict[str, torch.Tensor]:
    """The original's state dict as transformers names it."""
    return in_transformers.renamed(state, _NAMES)


def run_original(
    made: AnchorBoxDetector, state: State, images: torch.Tensor, *, own: bool, patterns: int
) -> Outputs:
    """
    Args:
        state: as transformers names it.
        own: whether the backbone is transformers' own.
        patterns: the initial contents of the queries, 0 for none.
    """
    from transformers import DabDetrConfig, DabDetrForObjectDetection

    config = DabDetrConfig(
        **in_transformers.body(made, own=own),
        use_pretrained_backbone=False,
        num_labels=state["class_embed.weight"].shape[0],
        num_queries=made.num_queries,
        num_patterns=patterns,
        hidden_size=made.embed_dim,
        **in_transformers.layers(made),
    )
    model = in_transformers.load(DabDetrForObjectDetection, config, state)
    # a config takes only whole numbers
    place = model.model.backbone.position_embedding
    place.temperature_height = place.temperature_width = made.position_temperature
    with _inverse_sigmoid_of_detrex(), in_transformers.in_float64():
        found = model(pixel_values=images, output_hidden_states=True)
    return in_transformers.outputs(made, found)


@contextmanager
def _inverse_sigmoid_of_detrex() -> Iterator[None]:
    """A context in which transformers' DAB-DETR limits its inverse sigmoid as detrex does. The
    model calls a function of its module with the default limit and has no option for it."""
    from transformers.models.dab_detr import modeling_dab_detr

    original = modeling_dab_detr.inverse_sigmoid
    modeling_dab_detr.inverse_sigmoid = partial(original, eps=_INVERSE_SIGMOID_EPS)
    try:
        yield
    finally:
        modeling_dab_detr.inverse_sigmoid = original


def run_converted(
    made: AnchorBoxDetector,
    settings: Settings,
    state: State,
    images: torch.Tensor,
    contents: torch.Tensor,
) -> Outputs:
    """
    Args:
        contents: the initial contents of the queries in turn, ``(patterns, embed_dim)``.
    """
    x, place = single_level.projected(made, settings, state, images)
    heads = settings["model.transformer.encoder.num_heads"]
    for number in range(made.encoder_layers):
        scaled = place * mlp(state, "transformer.encoder.query_scale", x, 2)
        x = encoder_layer(state, f"transformer.encoder.layers.{number}.", x, scaled, heads)

    boxes = state["anchor_box_embed.weight"].sigmoid()
    y = contents.repeat_interleave(len(boxes), 0)
    boxes = boxes.repeat(len(contents), 1)
    heads = settings["model.transformer.decoder.num_heads"]
    for number in range(made.decoder_layers):
        at = f"transformer.decoder.layers.{number}."
        if number > 0:
            offsets = mlp(state, "transformer.decoder.bbox_embed", y)
            boxes = (offsets + inverse_sigmoid(boxes)).sigmoid()
        sine = point_embedding(boxes)
        query_place = mlp(state, "transformer.decoder.ref_point_head", sine, 2)
        sine = sine[:, : made.embed_dim]
        if number > 0:
            sine = sine * mlp(state, "transformer.decoder.query_scale", y, 2)
        if settings["model.transformer.decoder.modulate_hw_attn"]:
            sizes = mlp(state, "transformer.decoder.ref_anchor_head", y, 2).sigmoid()
            # the embedding of y, which the height modulates, comes before that of x
            scales = (sizes / boxes[:, 2:]).flip(1)
            sine = sine * scales.repeat_interleave(made.embed_dim // 2, 1)
        y = y + conditional_self_attention(state, f"{at}attentions.0", y, query_place, heads)
        y = norm(state, f"{at}norms.0", y)
        y = y + conditional_cross_attention(
            state,
            f"{at}attentions.1",
            y,
            x,
            query_place if number == 0 else None,
            sine,
            place,
            heads,
        )
        y = norm(state, f"{at}norms.1", y)
        y = norm(state, f"{at}norms.2", y + feed_forward(state, at, y))
    y = norm(state, "transformer.decoder.post_norm_layer", y)
    _, rows = common_rows(made)
    return {
        "encoder": x,
        "decoder": y,
        "logits": linear(state, "class_embed", y)[:, rows],
        "boxes": (mlp(state, "bbox_embed", y) + inverse_sigmoid(boxes)).sigmoid(),
    }
