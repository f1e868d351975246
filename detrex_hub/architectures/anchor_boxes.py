"""DAB-DETR and what follows from it: queries that are anchor boxes, on one feature map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures import transformer, transformers_layout
from detrex_hub.architectures.base import Fact, Facts, Specs
from detrex_hub.architectures.blocks import StateDict, linear, tensor, under
from detrex_hub.architectures.detection import FACTS, position_facts, shape_of
from detrex_hub.architectures.single_level import SingleLevelDetector
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Rename, Rule

_HEADS = ("query_scale", "ref_point_head")


@dataclass(frozen=True, kw_only=True)
class AnchorBoxDetector(SingleLevelDetector):
    """DAB-DETR, and DN-DETR, which adds denoising.

    Args:
        modulate_hw_attn: whether cross-attention is modulated by width and height.
    """

    modulate_hw_attn: bool = True
    position_temperature: float | None = 20

    facts: ClassVar[Mapping[str, Fact]] = {**FACTS, **position_facts(20, 0.0)}
    lazy_paths: ClassVar[Mapping[str, Kind]] = {
        **SingleLevelDetector.lazy_paths,
        "model.transformer.decoder.modulate_hw_attn": kinds.FLAG,
    }
    takes_temperature: ClassVar[bool] = True
    prelu: ClassVar[bool] = True
    encoder_tables: ClassVar[Mapping[str, tuple[Rule, ...]]] = {
        "original": transformer.encoder(*transformer.ENCODER_LAYER, *transformer.PRELU),
        "transformers": transformers_layout.encoder(
            *transformers_layout.ENCODER_LAYER, *transformers_layout.PRELU
        ),
    }
    decoder_tables: ClassVar[Mapping[str, tuple[Rule, ...]]] = {
        "original": transformer.decoder(*transformer.CONDITIONAL_DECODER_LAYER, *transformer.PRELU),
        "transformers": transformers_layout.decoder(*transformers_layout.DAB_DECODER_LAYER),
    }

    @classmethod
    def common(cls, specs: Specs, layout: str, facts: Facts, *heads: str) -> dict[str, Any]:
        found = super().common(specs, layout, facts, *heads)
        queries = ("refpoint_embed", "model.query_refpoint_embeddings", "anchor_box_embed")
        found["num_queries"] = shape_of(specs, *(f"{name}.weight" for name in queries))[0]
        root = "model" if layout in transformers_layout.LAYOUTS else "transformer"
        found["modulate_hw_attn"] = f"{root}.decoder.ref_anchor_head.layers.0.weight" in specs
        return found

    def transformer_rules(self, layout: str) -> tuple[Rule, ...]:
        original = layout == "original"
        queries = "refpoint_embed" if original else "model.query_refpoint_embeddings"
        root = "transformer" if original else "model"
        heads = (*_HEADS, "ref_anchor_head") if self.modulate_hw_attn else _HEADS
        return (
            *super().transformer_rules(layout),
            Rename(f"{queries}.weight", "anchor_box_embed.weight"),
            Rename(f"{root}.encoder.query_scale.**", "transformer.encoder.query_scale.**"),
            *(
                Rename(f"{root}.decoder.{name}.**", f"transformer.decoder.{name}.**")
                for name in heads
            ),
        )

    def head_rules(self, layout: str) -> tuple[Rule, ...]:
        boxes, root = (
            ("bbox_embed", "transformer") if layout == "original" else ("bbox_predictor", "model")
        )
        return (
            *self.class_head("class_embed", "class_embed"),
            Rename(f"{boxes}.**", "bbox_embed.**"),
            Rename(f"{root}.decoder.bbox_embed.**", "transformer.decoder.bbox_embed.**"),
        )

    def detector_target(self) -> StateDict:
        width = self.embed_dim
        scale = transformer.mlp(width, width, width, 2)
        target = (
            super().detector_target()
            | under("class_embed", linear(self.num_classes, width))
            | under("transformer.decoder.bbox_embed", self.box_head())
            | under("transformer.encoder.query_scale", scale)
            | under("transformer.decoder.query_scale", scale)
            | under(
                "transformer.decoder.ref_point_head", transformer.mlp(2 * width, width, width, 2)
            )
            | {"anchor_box_embed.weight": tensor(self.learned_queries, 4)}
        )
        if self.modulate_hw_attn:
            target |= under(
                "transformer.decoder.ref_anchor_head", transformer.mlp(width, width, 2, 2)
            )
        return target

    def ties(self) -> tuple[tuple[str, ...], ...]:
        boxes = [f"bbox_embed.{key}" for key in self.box_head()]
        return super().ties() + tuple((key, f"transformer.decoder.{key}") for key in boxes)

    def detector_overrides(self) -> dict[str, Any]:
        return super().detector_overrides() | {
            "model.transformer.decoder.modulate_hw_attn": self.modulate_hw_attn
        }
