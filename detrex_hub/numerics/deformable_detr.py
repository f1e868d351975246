"""Deformable-DETR: transformers' beside detrex's (projects/deformable_detr/modeling, e244e6c).

The original's own names (fundamentalvision/Deformable-DETR, 11169a6) are brought to transformers'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from detrex_hub.architectures.deformable_detr import DeformableDetr
from detrex_hub.architectures.torchvision_resnet import TorchvisionResNet
from detrex_hub.errors import UsageError
from detrex_hub.numerics import detector_resnets, in_transformers, multi_level
from detrex_hub.numerics.common_rows import common_rows
from detrex_hub.numerics.layers import (
    feed_forward,
    linear,
    mlp,
    multihead_attention,
    norm,
    refined,
)

if TYPE_CHECKING:
    from detrex_hub.numerics import Outputs, Settings, State

NEEDS = ("timm", "transformers")
LAYOUTS = ("original", "transformers", "transformers_no_timm")

# of a two-stage model, whose embedding of proposals has a fixed width
_WIDTH = 256

_NAMES = (
    (r"^backbone\.0\.body\.", "model.backbone.conv_encoder.model."),
    (r"^transformer\.", "model."),
    (r"^input_proj\.", "model.input_proj."),
    (r"^query_embed\.", "model.query_position_embeddings."),
    (r"\.linear([12])\.", r".fc\1."),
    (r"\.cross_attn\.", ".encoder_attn."),
    (r"\.encoder\.layers\.(\d+)\.norm1\.", r".encoder.layers.\1.self_attn_layer_norm."),
    (r"\.encoder\.layers\.(\d+)\.norm2\.", r".encoder.layers.\1.final_layer_norm."),
    # the original numbers the norms of its decoder from cross-attention
    (r"\.decoder\.layers\.(\d+)\.norm1\.", r".decoder.layers.\1.encoder_attn_layer_norm."),
    (r"\.decoder\.layers\.(\d+)\.norm2\.", r".decoder.layers.\1.self_attn_layer_norm."),
    (r"\.decoder\.layers\.(\d+)\.norm3\.", r".decoder.layers.\1.final_layer_norm."),
)


def image_size(made: DeformableDetr) -> int:
    """The size of an image with more positions than chosen proposals, so that another ranking
    chooses other proposals, and with a smallest feature map that has a norm.

    With 50 positions per side, proposals would be too close to the border, where all have one
    score.
    """
    detector_resnets.resnet_of(made)
    if made.as_two_stage and made.embed_dim != _WIDTH:
        raise UsageError(
            f"--numerics has no forward pass of a {made.name} in two stages with a width of "
            f"{made.embed_dim}: detrex and the original always have {_WIDTH}"
        )
    chosen = made.learned_queries if made.as_two_stage else 0
    for size in range(96, 1600, 32):
        sides = _sides(made, size)
        if sides[0] < 50 and sides[-1] > 1 and sum(side**2 for side in sides) >= 1.5 * chosen:
            return size
    raise UsageError(
        f"--numerics has no forward pass of a {made.name} with {made.feature_levels} feature maps "
        f"and {chosen} proposals"
    )


def _sides(made: DeformableDetr, size: int) -> list[int]:
    """The sides of all feature maps of an image with ``size`` pixels per side, a multiple of 32."""
    dilated = isinstance(made.body, TorchvisionResNet) and made.body.dilation
    strides = [32 >> i for i in reversed(range(made.neck_inputs))]
    sides = [size // stride for stride in strides[:-1]] + [size // (16 if dilated else 32)]
    for _ in range(made.feature_levels - made.neck_inputs):
        sides.append(-(-sides[-1] // 2))
    return sides


def original(made: DeformableDetr, layout: str, state: State, images: torch.Tensor) -> Outputs:
    from transformers import DeformableDetrConfig, DeformableDetrForObjectDetection

    if layout == "original":
        state = in_transformers.renamed(state, _NAMES)
    # a file holds tied heads once
    heads = ("class_embed.0.weight", "model.decoder.class_embed.0.weight")
    config = DeformableDetrConfig(
        **in_transformers.body(made, own=layout == "transformers_no_timm", stages=made.neck_inputs),
        num_labels=next(state[key].shape[0] for key in heads if key in state),
        num_queries=made.num_queries,
        two_stage_num_proposals=made.num_queries,
        num_feature_levels=made.feature_levels,
        with_box_refine=made.with_box_refine,
        two_stage=made.as_two_stage,
        d_model=made.embed_dim,
        **in_transformers.layers(made),
    )
    model = in_transformers.load(DeformableDetrForObjectDetection, config, state)
    # it returns only the outputs of its last layer, and keeps the others for its loss
    model.loss_function = lambda *given: (None, None, given[-2:])
    # it embeds proposals in float32
    with in_transformers.in_float64():
        found = model(pixel_values=images, labels=[])
    logits, boxes = found.auxiliary_outputs
    scores = {"scores": found.enc_outputs_class[0, :, 0]} if made.as_two_stage else {}
    return {
        "encoder": found.encoder_last_hidden_state[0],
        **scores,
        "references": found.init_reference_points[0],
        "decoder": found.intermediate_hidden_states[0],
        "logits": logits[:, 0, :, common_rows(made)[0]],
        "boxes": boxes[:, 0],
    }


def converted(
    made: DeformableDetr, settings: Settings, state: State, images: torch.Tensor
) -> Outputs:
    features = detector_resnets.features(made, settings, state, images)
    levels = multi_level.neck(
        state,
        [features[name] for name in settings["model.neck.in_features"]],
        settings["model.neck.num_outs"],
    )
    sizes = [level.shape[-2:] for level in levels]
    x, place = multi_level.flattened(
        state,
        levels,
        settings["model.position_embedding.temperature"],
        settings["model.position_embedding.offset"],
    )
    x = multi_level.encoder(state, settings, x, place, sizes)
    found = {"encoder": x}
    if settings["model.as_two_stage"]:
        last = settings["model.transformer.decoder.num_layers"]
        memory, anchors = multi_level.proposals(state, x, sizes)
        # the first row alone ranks them, whatever its class
        scores = linear(state, f"transformer.decoder.class_embed.{last}", memory)[:, 0]
        change = mlp(state, f"transformer.decoder.bbox_embed.{last}", memory)
        chosen = scores.topk(settings["model.num_queries"]).indices
        references = (change + anchors)[chosen].sigmoid()
        found["scores"] = scores
        queries = multi_level.box_embedding(references)
        queries = linear(state, "transformer.pos_trans", queries)
        queries = norm(state, "transformer.pos_trans_norm", queries)
    else:
        queries = state["query_embedding.weight"]
        references = linear(state, "transformer.reference_points", queries.chunk(2, 1)[0]).sigmoid()
    found["references"] = references
    place, y = queries.chunk(2, 1)
    heads = settings["model.transformer.decoder.num_heads"]
    states, logits, boxes = [], [], []
    for number in range(settings["model.transformer.decoder.num_layers"]):
        at = f"transformer.decoder.layers.{number}."
        z = y + place
        y = y + multihead_attention(state, f"{at}attentions.0.attn", z, z, y, heads)
        y = norm(state, f"{at}norms.0", y)
        y = y + multi_level.deformable_attention(
            state, f"{at}attentions.1", y + place, x, references, sizes, heads
        )
        y = norm(state, f"{at}norms.1", y)
        y = norm(state, f"{at}norms.2", y + feed_forward(state, at, y))
        states.append(y)
        logits.append(linear(state, f"class_embed.{number}", y))
        boxes.append(refined(mlp(state, f"bbox_embed.{number}", y), references))
        if settings["model.with_box_refine"]:
            change = mlp(state, f"transformer.decoder.bbox_embed.{number}", y)
            references = refined(change, references)
    return found | {
        "decoder": torch.stack(states),
        "logits": torch.stack(logits)[..., common_rows(made)[1]],
        "boxes": torch.stack(boxes),
    }
