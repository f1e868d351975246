"""The transformers of the DETR family: rules from the originals' layers, and detrex's layers.

Rules of a layer are relative to it; `transformer_layers` puts them in their place.
"""

from __future__ import annotations

from detrex_hub.architectures.blocks import StateDict, linear, norm, tensor, under
from detrex_hub.mapping import Rename, Rule

# sampling points of a head in a level: an argument of the originals, and fixed in detrex
POINTS = 4

FEED_FORWARD: tuple[Rule, ...] = (
    Rename("linear1.*", "ffns.0.layers.0.0.*"),
    Rename("linear2.*", "ffns.0.layers.1.*"),
)
# detrex holds the same parameter a second time, as ffns.0.activation.weight: a tie
PRELU: tuple[Rule, ...] = (Rename("activation.weight", "ffns.0.layers.0.1.weight"),)

ENCODER_NORMS: tuple[Rule, ...] = (
    Rename("norm1.*", "norms.0.*"),
    Rename("norm2.*", "norms.1.*"),
)
ENCODER_LAYER: tuple[Rule, ...] = (
    Rename("self_attn.**", "attentions.0.attn.**"),
    *ENCODER_NORMS,
    *FEED_FORWARD,
)
DEFORMABLE_ENCODER_LAYER: tuple[Rule, ...] = (
    Rename("self_attn.**", "attentions.0.**"),
    *ENCODER_NORMS,
    *FEED_FORWARD,
)

DECODER_NORMS: tuple[Rule, ...] = (
    Rename("norm1.*", "norms.0.*"),
    Rename("norm2.*", "norms.1.*"),
    Rename("norm3.*", "norms.2.*"),
)
DECODER_LAYER: tuple[Rule, ...] = (
    Rename("self_attn.**", "attentions.0.attn.**"),
    Rename("multihead_attn.**", "attentions.1.attn.**"),
    *DECODER_NORMS,
    *FEED_FORWARD,
)
DEFORMABLE_DECODER_LAYER: tuple[Rule, ...] = (
    Rename("self_attn.**", "attentions.0.attn.**"),
    Rename("cross_attn.**", "attentions.1.**"),
    # the original numbers norms by definition, cross-attention first; detrex numbers them by use
    Rename("norm1.*", "norms.1.*"),
    Rename("norm2.*", "norms.0.*"),
    Rename("norm3.*", "norms.2.*"),
    *FEED_FORWARD,
)
CONDITIONAL_PROJECTIONS: tuple[Rule, ...] = (
    Rename("sa_qcontent_proj.*", "attentions.0.query_content_proj.*"),
    Rename("sa_qpos_proj.*", "attentions.0.query_pos_proj.*"),
    Rename("sa_kcontent_proj.*", "attentions.0.key_content_proj.*"),
    Rename("sa_kpos_proj.*", "attentions.0.key_pos_proj.*"),
    Rename("sa_v_proj.*", "attentions.0.value_proj.*"),
    Rename("self_attn.out_proj.*", "attentions.0.out_proj.*"),
    Rename("ca_qcontent_proj.*", "attentions.1.query_content_proj.*"),
    # only the first layer has it
    Rename("ca_qpos_proj.*", "attentions.1.query_pos_proj.*"),
    Rename("ca_kcontent_proj.*", "attentions.1.key_content_proj.*"),
    Rename("ca_kpos_proj.*", "attentions.1.key_pos_proj.*"),
    Rename("ca_v_proj.*", "attentions.1.value_proj.*"),
    Rename("ca_qpos_sine_proj.*", "attentions.1.query_pos_sine_proj.*"),
)
CONDITIONAL_DECODER_LAYER: tuple[Rule, ...] = (
    *CONDITIONAL_PROJECTIONS,
    Rename("cross_attn.out_proj.*", "attentions.1.out_proj.*"),
    *DECODER_NORMS,
    *FEED_FORWARD,
)


def mlp(in_features: int, hidden: int, out_features: int, layers: int) -> StateDict:
    """detrex's MLP."""
    widths = [in_features, *[hidden] * (layers - 1), out_features]
    module: StateDict = {}
    for index in range(layers):
        module |= under(f"layers.{index}", linear(widths[index + 1], widths[index]))
    return module


def feed_forward(width: int, hidden: int, *, prelu: bool = False) -> StateDict:
    """detrex's FFN."""
    module = under("layers.0.0", linear(hidden, width)) | under("layers.1", linear(width, hidden))
    if prelu:
        module |= {"activation.weight": tensor(1), "layers.0.1.weight": tensor(1)}
    return module


def attention(width: int) -> StateDict:
    """detrex's MultiheadAttention, which wraps torch's."""
    return {
        "attn.in_proj_weight": tensor(3 * width, width),
        "attn.in_proj_bias": tensor(3 * width),
    } | under("attn.out_proj", linear(width, width))


def deformable_attention(width: int, heads: int, levels: int) -> StateDict:
    """detrex's MultiScaleDeformableAttention."""
    samples = heads * levels * POINTS
    return (
        under("sampling_offsets", linear(2 * samples, width))
        | under("attention_weights", linear(samples, width))
        | under("value_proj", linear(width, width))
        | under("output_proj", linear(width, width))
    )


def conditional_attention(width: int, *projections: str) -> StateDict:
    """detrex's ConditionalSelfAttention and ConditionalCrossAttention.

    ``projections`` are those other than content, key position, value and output.
    """
    module: StateDict = {}
    names = ("query_content_proj", "key_content_proj", "key_pos_proj", "value_proj", "out_proj")
    for name in (*names, *projections):
        module |= under(name, linear(width, width))
    return module


def layer(
    *attentions: StateDict, width: int, ffn: StateDict, norms: int | None = None
) -> StateDict:
    """detrex's BaseTransformerLayer: attentions and one feed-forward, by default with a norm after
    each."""
    module = under("ffns.0", ffn)
    for index, one in enumerate(attentions):
        module |= under(f"attentions.{index}", one)
    for index in range(len(attentions) + 1 if norms is None else norms):
        module |= under(f"norms.{index}", norm(width))
    return module
