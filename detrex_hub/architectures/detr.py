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
from detrex_hub.architectures.blocks import StateDict, linear, tensor, under
from detrex_hub.architectures.detection import shape_of
from detrex_hub.architectures.single_level import SingleLevelDetector
from detrex_hub.mapping import Drop, Rename, Rule, prefixed

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
_TABLE_TRANSFORMER = ("model.encoder.layernorm.weight",)


@dataclass(frozen=True, kw_only=True)
class Detr(SingleLevelDetector):
    """DETR, whose class head has a row for "no object"."""

    name: ClassVar[str] = "detr"
    taken_by: ClassVar[frozenset[str]] = frozenset({"projects.detr.DETR"})
    original_rows: ClassVar[int] = 92
    decoder_tables: ClassVar[Mapping[str, tuple[Rule, ...]]] = {
        "original": transformer.decoder(*transformer.DECODER_LAYER),
        "transformers": transformers_layout.decoder(*transformers_layout.DECODER_LAYER),
    }
    body_prefixes: ClassVar[Mapping[str, str]] = {
        **SingleLevelDetector.body_prefixes,
        "panoptic": "detr.backbone.0.body.",
    }
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
            present=(*_TRANSFORMERS_KEYS, transformers_layout.TIMM_BACKBONE),
            absent=_TABLE_TRANSFORMER,
        ),
        "transformers_no_timm": Layout(
            present=(*_TRANSFORMERS_KEYS, transformers_layout.OWN_BACKBONE),
            absent=_TABLE_TRANSFORMER,
        ),
        "detrex": Layout(
            present=(
                "transformer.encoder.layers.{i}.attentions.0.attn.in_proj_weight",
                "transformer.decoder.layers.{i}.attentions.1.attn.in_proj_weight",
                "query_embed.weight",
                "class_embed.weight",
                "input_proj.weight",
            ),
            # PnP-DETR
            absent=("transformer.sampler.**",),
        ),
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> Detr:
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
        queries = "query_embed" if layout == "original" else "model.query_position_embeddings"
        return (
            *super().transformer_rules(layout),
            Rename(f"{queries}.weight", "query_embed.weight"),
        )

    def head_rules(self, layout: str) -> tuple[Rule, ...]:
        if layout == "original":
            classes, boxes = "class_embed", "bbox_embed"
        else:
            classes, boxes = "class_labels_classifier", "bbox_predictor"
        return (
            *self.class_head(classes, "class_embed"),
            Rename(f"{boxes}.**", "bbox_embed.**"),
        )

    def decoder_attentions(self, layer: int) -> tuple[StateDict, StateDict]:
        attention = transformer.attention(self.embed_dim)
        return attention, attention

    def detector_target(self) -> StateDict:
        rows = self.num_classes + self.no_object_rows
        return (
            super().detector_target()
            | under("class_embed", linear(rows, self.embed_dim))
            | {
                "query_embed.weight": tensor(self.learned_queries, self.embed_dim),
                "criterion.empty_weight": tensor(rows),
            }
        )

    def set_by_model(self) -> frozenset[str]:
        # the weights of the classes in the loss are a constant
        return super().set_by_model() | {"criterion.empty_weight"}
