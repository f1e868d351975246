"""The layout of transformers (4.57 and 5.23) in files on the Hub.

Queries, keys and values are separate, norms are named by the layer before them (so
Deformable-DETR's need no swap), and tied heads are absent from the files. Rules of a layer are
relative to it.
"""

from __future__ import annotations

from detrex_hub.architectures.transformer import CONDITIONAL_PROJECTIONS
from detrex_hub.mapping import Concat, Rename, Rule

LAYOUTS = ("transformers", "transformers_no_timm")

BACKBONE = "model.backbone.conv_encoder.model."
TIMM_BACKBONE = f"{BACKBONE}conv1.weight"
OWN_BACKBONE = f"{BACKBONE}embedder.embedder.convolution.weight"

_STEM = "embedder.embedder"
_BLOCK = "encoder.stages.{stage-1}.layers.{block}"

# torchvision's name (which timm keeps): transformers' own, in repositories' revision `no_timm`
OWN_RESNET_NAMES: dict[str, str] = {
    "conv1.*": _STEM + ".convolution.*",
    "bn1.": _STEM + ".normalization.",
    "layer{stage}.{block}.conv{i}.*": _BLOCK + ".layer.{i-1}.convolution.*",
    "layer{stage}.{block}.bn{i}.": _BLOCK + ".layer.{i-1}.normalization.",
    "layer{stage}.{block}.downsample.0.*": _BLOCK + ".shortcut.convolution.*",
    "layer{stage}.{block}.downsample.1.": _BLOCK + ".shortcut.normalization.",
}


def projections(source: str, target: str) -> tuple[Rule, ...]:
    """Queries, keys and values into one: ``3 x (d, d) -> (3 * d, d)``, and the output."""
    return (
        Concat(tuple(f"{source}.{name}_proj.weight" for name in "qkv"), f"{target}.in_proj_weight"),
        Concat(tuple(f"{source}.{name}_proj.bias" for name in "qkv"), f"{target}.in_proj_bias"),
        Rename(f"{source}.out_proj.*", f"{target}.out_proj.*"),
    )


FEED_FORWARD: tuple[Rule, ...] = (
    Rename("fc1.*", "ffns.0.layers.0.0.*"),
    Rename("fc2.*", "ffns.0.layers.1.*"),
)

ENCODER_NORMS: tuple[Rule, ...] = (
    Rename("self_attn_layer_norm.*", "norms.0.*"),
    Rename("final_layer_norm.*", "norms.1.*"),
)
ENCODER_LAYER: tuple[Rule, ...] = (
    *projections("self_attn", "attentions.0.attn"),
    *ENCODER_NORMS,
    *FEED_FORWARD,
)
DEFORMABLE_ENCODER_LAYER: tuple[Rule, ...] = (
    Rename("self_attn.**", "attentions.0.**"),
    *ENCODER_NORMS,
    *FEED_FORWARD,
)

DECODER_NORMS: tuple[Rule, ...] = (
    Rename("self_attn_layer_norm.*", "norms.0.*"),
    Rename("encoder_attn_layer_norm.*", "norms.1.*"),
    Rename("final_layer_norm.*", "norms.2.*"),
)
DECODER_LAYER: tuple[Rule, ...] = (
    *projections("self_attn", "attentions.0.attn"),
    *projections("encoder_attn", "attentions.1.attn"),
    *DECODER_NORMS,
    *FEED_FORWARD,
)
DEFORMABLE_DECODER_LAYER: tuple[Rule, ...] = (
    *projections("self_attn", "attentions.0.attn"),
    Rename("encoder_attn.**", "attentions.1.**"),
    *DECODER_NORMS,
    *FEED_FORWARD,
)

CONDITIONAL_DECODER_LAYER: tuple[Rule, ...] = (
    *CONDITIONAL_PROJECTIONS,
    Rename("encoder_attn.out_proj.*", "attentions.1.out_proj.*"),
    *DECODER_NORMS,
    *FEED_FORWARD,
)
# DAB-DETR's: detrex holds the PReLU a second time, as ffns.0.activation.weight: a tie
PRELU: tuple[Rule, ...] = (Rename("activation_fn.weight", "ffns.0.layers.0.1.weight"),)
DAB_DECODER_LAYER: tuple[Rule, ...] = (
    Rename("self_attn.self_attn_query_content_proj.*", "attentions.0.query_content_proj.*"),
    Rename("self_attn.self_attn_query_pos_proj.*", "attentions.0.query_pos_proj.*"),
    Rename("self_attn.self_attn_key_content_proj.*", "attentions.0.key_content_proj.*"),
    Rename("self_attn.self_attn_key_pos_proj.*", "attentions.0.key_pos_proj.*"),
    Rename("self_attn.self_attn_value_proj.*", "attentions.0.value_proj.*"),
    Rename("self_attn.self_attn.output_proj.*", "attentions.0.out_proj.*"),
    Rename("self_attn.self_attn_layer_norm.*", "norms.0.*"),
    Rename("cross_attn.cross_attn_query_content_proj.*", "attentions.1.query_content_proj.*"),
    # only the first layer has it
    Rename("cross_attn.cross_attn_query_pos_proj.*", "attentions.1.query_pos_proj.*"),
    Rename("cross_attn.cross_attn_key_content_proj.*", "attentions.1.key_content_proj.*"),
    Rename("cross_attn.cross_attn_key_pos_proj.*", "attentions.1.key_pos_proj.*"),
    Rename("cross_attn.cross_attn_value_proj.*", "attentions.1.value_proj.*"),
    Rename("cross_attn.cross_attn_query_pos_sine_proj.*", "attentions.1.query_pos_sine_proj.*"),
    Rename("cross_attn.cross_attn.output_proj.*", "attentions.1.out_proj.*"),
    Rename("cross_attn.cross_attn_layer_norm.*", "norms.1.*"),
    Rename("mlp.fc1.*", "ffns.0.layers.0.0.*"),
    Rename("mlp.fc2.*", "ffns.0.layers.1.*"),
    Rename("mlp.activation_fn.weight", "ffns.0.layers.0.1.weight"),
    Rename("mlp.final_layer_norm.*", "norms.2.*"),
)
