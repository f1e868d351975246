"""DETR: facebookresearch/detr and transformers' `DetrForObjectDetection` to detrex's `DETR`.

Checkpoints of panoptic DETR hold the detector below ``detr.``, beside a mask head that detrex does
not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from detrex_hub.architectures import transformer, transformers_layout
from detrex_hub.architectures.base import Facts, Layout, Specs
from detrex_hub.architectures.blocks import StateDict, linear, norm, tensor, under
from detrex_hub.architectures.detection import SingleLevelDetector, shape_of
from detrex_hub.mapping import Drop, Rename, Rule, prefixed

_ORIGINAL: tuple[Rule, ...] = (
    *transformer.encoder(*transformer.ENCODER_LAYER),
    *transformer.decoder(*transformer.DECODER_LAYER),
    Rename("transformer.decoder.norm.*", "transformer.decoder.post_norm_layer.*"),
    Rename("query_embed.weight", "query_embed.weight"),
)

_TRANSFORMERS: tuple[Rule, ...] = (
    *transformers_layout.encoder(*transformers_layout.ENCODER_LAYER),
    *transformers_layout.decoder(*transformers_layout.DECODER_LAYER),
    Rename("model.decoder.layernorm.*", "transformer.decoder.post_norm_layer.*"),
    Rename("model.query_position_embeddings.weight", "query_embed.weight"),
)

_MASK_HEAD = "panoptic mask head, which detrex does not have"
_MASKS: tuple[Rule, ...] = (
    Drop("mask_head.**", _MASK_HEAD),
    Drop("bbox_attention.**", _MASK_HEAD),
)

_TRANSFORMERS_KEYS = (
    "model.encoder.layers.{i}.self_attn.q_proj.weight",
    "model.decoder.layers.{i}.encoder_attn.q_proj.weight",
    "model.query_position_embeddings.weight",
    "class_labels_classifier.weight",
)


@dataclass(frozen=True, kw_only=True)
class Detr(SingleLevelDetector):
    """DETR, whose class head has a row for "no object"."""

    name: ClassVar[str] = "detr"
    original_rows: ClassVar[int] = 92
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
            present=(
                "transformer.encoder.layers.{i}.self_attn.in_proj_weight",
                "transformer.decoder.layers.{i}.multihead_attn.in_proj_weight",
                "query_embed.weight",
                "class_embed.weight",
                "input_proj.weight",
            ),
        ),
        "panoptic": Layout(
            present=(
                "detr.transformer.decoder.layers.{i}.multihead_attn.in_proj_weight",
                "detr.query_embed.weight",
                "detr.class_embed.weight",
                "mask_head.lay1.weight",
            ),
        ),
        "transformers": Layout(
            present=(*_TRANSFORMERS_KEYS, f"{transformers_layout.BACKBONE}conv1.weight"),
            # Table Transformer
            absent=("model.encoder.layernorm.weight",),
        ),
        "transformers_no_timm": Layout(
            present=(
                *_TRANSFORMERS_KEYS,
                f"{transformers_layout.BACKBONE}embedder.embedder.convolution.weight",
            ),
            absent=("model.encoder.layernorm.weight",),
        ),
        "detrex": Layout(
            present=(
                "transformer.encoder.layers.{i}.attentions.0.attn.in_proj_weight",
                "transformer.decoder.layers.{i}.attentions.1.attn.in_proj_weight",
                "query_embed.weight",
                "class_embed.weight",
                "input_proj.weight",
            ),
        ),
    }

    @classmethod
    def read(cls, specs: Specs, layout: str, facts: Facts) -> Detr:
        if layout == "panoptic":
            specs = {key.removeprefix("detr."): spec for key, spec in specs.items()}
            layout = "original"
        queries = shape_of(specs, "query_embed.weight", "model.query_position_embeddings.weight")
        heads = ("class_embed.weight", "class_labels_classifier.weight")
        return cls(num_queries=queries[0], **cls.common(specs, layout, facts, *heads))

    def rules(self, layout: str) -> tuple[Rule, ...]:
        if layout == "panoptic":
            return (*prefixed(self.rules("original"), "detr.", ""), *_MASKS)
        return super().rules(layout)

    def transformer_rules(self, layout: str) -> tuple[Rule, ...]:
        table = _ORIGINAL if layout == "original" else _TRANSFORMERS
        return (*super().transformer_rules(layout), *table)

    def head_rules(self, layout: str) -> tuple[Rule, ...]:
        classes, boxes = (
            ("class_embed", "bbox_embed")
            if layout == "original"
            else ("class_labels_classifier", "bbox_predictor")
        )
        return (
            self.class_head(f"{classes}.*", "class_embed.*"),
            Rename(f"{boxes}.**", "bbox_embed.**"),
        )

    def detector_target(self) -> StateDict:
        width = self.embed_dim
        ffn = transformer.feed_forward(width, self.feedforward_dim)
        attention = transformer.attention(width)
        target = super().detector_target()
        for i in range(self.encoder_layers):
            target |= under(
                f"transformer.encoder.layers.{i}",
                transformer.layer(attention, width=width, ffn=ffn),
            )
        for i in range(self.decoder_layers):
            target |= under(
                f"transformer.decoder.layers.{i}",
                transformer.layer(attention, attention, width=width, ffn=ffn),
            )
        return (
            target
            | under("transformer.decoder.post_norm_layer", norm(width))
            | under("class_embed", linear(self.num_classes + 1, width))
            | under("bbox_embed", self.box_head())
            | {
                "query_embed.weight": tensor(self.num_queries, width),
                # weights of the classes in the loss, a constant
                "criterion.empty_weight": tensor(self.num_classes + 1),
            }
        )

    def set_by_model(self) -> frozenset[str]:
        return super().set_by_model() | {"criterion.empty_weight"}
