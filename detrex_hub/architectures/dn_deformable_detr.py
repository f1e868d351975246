"""DN-Deformable-DETR: IDEA-Research/DN-DETR to detrex's `DNDeformableDETR`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures.base import Facts, Layout, Specs
from detrex_hub.architectures.blocks import StateDict, tensor
from detrex_hub.architectures.detection import LABEL_ENCODER, shape_of
from detrex_hub.architectures.multi_level import AnchoredMultiLevelDetector
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Rename, Rule


@dataclass(frozen=True, kw_only=True)
class DnDeformableDetr(AnchoredMultiLevelDetector):
    """DN-Deformable-DETR.

    Args:
        with_indicator: whether one feature of a query says that it is one of denoising.
    """

    with_indicator: bool = True

    name: ClassVar[str] = "dn_deformable_detr"
    taken_by: ClassVar[frozenset[str]] = frozenset({"DNDeformableDETR"})
    lazy_paths: ClassVar[Mapping[str, Kind]] = {
        **AnchoredMultiLevelDetector.lazy_paths,
        "model.with_indicator": kinds.FLAG,
    }
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
            present=(
                "transformer.level_embed",
                "transformer.decoder.query_scale.layers.0.weight",
                "refpoint_embed.weight",
                "tgt_embed.weight",
                "label_enc.weight",
            ),
            # two stages do not run in detrex
            absent=("transformer.enc_output.weight",),
        ),
        "detrex": Layout(
            present=(
                "transformer.level_embeds",
                "transformer.decoder.query_scale.layers.0.weight",
                "refpoint_embed.weight",
                "tgt_embed.weight",
                LABEL_ENCODER,
            ),
        ),
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> DnDeformableDetr:
        found = cls.common(specs, layout, facts, "class_embed.0.weight")
        queries, width = shape_of(specs, "tgt_embed.weight")
        return cls(num_queries=queries, with_indicator=width == found["embed_dim"] - 1, **found)

    def transformer_rules(self, layout: str) -> tuple[Rule, ...]:
        return (
            *super().transformer_rules(layout),
            Rename("refpoint_embed.weight", "refpoint_embed.weight"),
            Rename("tgt_embed.weight", "tgt_embed.weight"),
        )

    def head_rules(self, layout: str) -> tuple[Rule, ...]:
        return (*super().head_rules(layout), self.label_rule("label_enc.weight", LABEL_ENCODER))

    def detector_target(self) -> StateDict:
        width = self.embed_dim - self.with_indicator
        return super().detector_target() | {
            "refpoint_embed.weight": tensor(self.learned_queries, 4),
            "tgt_embed.weight": tensor(self.learned_queries, width),
            LABEL_ENCODER: tensor(self.num_classes + 1, width),
        }

    def detector_overrides(self) -> dict[str, Any]:
        return super().detector_overrides() | {"model.with_indicator": self.with_indicator}
