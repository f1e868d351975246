"""Conditional-DETR: Atten4Vis/ConditionalDETR and transformers'
`ConditionalDetrForObjectDetection` to detrex's `ConditionalDETR`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from detrex_hub.architectures import transformer, transformers_layout
from detrex_hub.architectures.base import Facts, Layout, LookAlikes, Specs
from detrex_hub.architectures.blocks import StateDict, linear, tensor, under
from detrex_hub.architectures.detection import shape_of
from detrex_hub.architectures.single_level import SingleLevelDetector
from detrex_hub.mapping import Rename, Rule

_TRANSFORMERS_KEYS = (
    "model.decoder.layers.{i}.sa_qcontent_proj.weight",
    "model.decoder.layers.{i}.encoder_attn.out_proj.weight",
    "model.query_position_embeddings.weight",
    "class_labels_classifier.weight",
)


@dataclass(frozen=True, kw_only=True)
class ConditionalDetr(SingleLevelDetector):
    """Conditional-DETR."""

    name: ClassVar[str] = "conditional_detr"
    taken_by: ClassVar[frozenset[str]] = frozenset({"ConditionalDETR"})
    decoder_tables: ClassVar[Mapping[str, tuple[Rule, ...]]] = {
        "original": transformer.decoder(*transformer.CONDITIONAL_DECODER_LAYER),
        "transformers": transformers_layout.decoder(*transformers_layout.CONDITIONAL_DECODER_LAYER),
    }
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
            present=(
                "transformer.decoder.layers.{i}.sa_qcontent_proj.weight",
                "transformer.decoder.ref_point_head.layers.0.weight",
                "query_embed.weight",
                "class_embed.weight",
            ),
            absent=("refpoint_embed.weight",),
        ),
        "transformers": Layout(present=(*_TRANSFORMERS_KEYS, transformers_layout.TIMM_BACKBONE)),
        "transformers_no_timm": Layout(
            present=(*_TRANSFORMERS_KEYS, transformers_layout.OWN_BACKBONE)
        ),
        "detrex": Layout(
            present=(
                "transformer.decoder.layers.{i}.attentions.0.query_content_proj.weight",
                "transformer.decoder.ref_point_head.layers.0.weight",
                "query_embed.weight",
                "class_embed.weight",
            ),
            absent=("anchor_box_embed.weight",),
            # Group-DETR has a group of queries for each of its 11 branches: 3300 rows
            look_alikes=LookAlikes(("group_detr",), "query_embed.weight", (300,)),
        ),
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> ConditionalDetr:
        queries = shape_of(specs, "query_embed.weight", "model.query_position_embeddings.weight")
        heads = ("class_embed.weight", "class_labels_classifier.weight")
        return cls(num_queries=queries[0], **cls.common(specs, layout, facts, *heads))

    def transformer_rules(self, layout: str) -> tuple[Rule, ...]:
        original = layout == "original"
        queries = "query_embed" if original else "model.query_position_embeddings"
        root = "transformer" if original else "model"
        return (
            *super().transformer_rules(layout),
            Rename(f"{queries}.weight", "query_embed.weight"),
            *(
                Rename(f"{root}.decoder.{name}.**", f"transformer.decoder.{name}.**")
                for name in ("query_scale", "ref_point_head")
            ),
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

    def detector_target(self) -> StateDict:
        width = self.embed_dim
        return (
            super().detector_target()
            | under("class_embed", linear(self.num_classes, width))
            | under("transformer.decoder.query_scale", transformer.mlp(width, width, width, 2))
            | under("transformer.decoder.ref_point_head", transformer.mlp(width, width, 2, 2))
            | {"query_embed.weight": tensor(self.learned_queries, width)}
        )
