"""DAB-Deformable-DETR: IDEA-Research/DAB-DETR to detrex's `DabDeformableDETR`.

detrex's two-stage model has no counterpart in the original, whose two stages differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures.base import Fact, Facts, Layout, Specs
from detrex_hub.architectures.blocks import StateDict, tensor
from detrex_hub.architectures.detection import shape_of
from detrex_hub.architectures.multi_level import AnchoredMultiLevelDetector
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Rename, Rule


@dataclass(frozen=True, kw_only=True)
class DabDeformableDetr(AnchoredMultiLevelDetector):
    """DAB-Deformable-DETR.

    Args:
        as_two_stage: whether the encoder proposes the queries, through a further head; then there
            are no learned queries, and no shape shows ``num_queries``.
    """

    as_two_stage: bool = False

    name: ClassVar[str] = "dab_deformable_detr"
    taken_by: ClassVar[frozenset[str]] = frozenset({"DabDeformableDETR"})
    facts: ClassVar[Mapping[str, Fact]] = {
        **AnchoredMultiLevelDetector.facts,
        "num_queries": Fact(
            kinds.SIZE,
            "proposals of a two-stage model, 300 in detrex's config",
            config=("model.num_queries",),
        ),
    }
    lazy_paths: ClassVar[Mapping[str, Kind]] = {
        **AnchoredMultiLevelDetector.lazy_paths,
        "model.as_two_stage": kinds.FLAG,
    }
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
            present=(
                "transformer.level_embed",
                "transformer.decoder.query_scale.layers.0.weight",
                "refpoint_embed.weight",
                "tgt_embed.weight",
            ),
            absent=("label_enc.weight", "transformer.enc_output.weight"),
        ),
        "detrex": Layout(
            present=(
                "transformer.level_embeds",
                "transformer.decoder.query_scale.layers.0.weight",
                "neck.convs.0.conv.weight",
            ),
            absent=("denoising_generator.label_encoder.weight",),
        ),
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> DabDeformableDetr:
        two_stage = "transformer.enc_output.weight" in specs
        found = cls.common(specs, layout, facts, "class_embed.0.weight")
        queries = facts.get("num_queries")
        if not two_stage:
            queries = shape_of(specs, "refpoint_embed.weight")[0]
        return cls(num_queries=queries, as_two_stage=two_stage, **found)

    @property
    def proposes(self) -> bool:
        return self.as_two_stage

    def transformer_rules(self, layout: str) -> tuple[Rule, ...]:
        return (
            *super().transformer_rules(layout),
            Rename("refpoint_embed.weight", "refpoint_embed.weight"),
            Rename("tgt_embed.weight", "tgt_embed.weight"),
        )

    def detector_target(self) -> StateDict:
        target = super().detector_target()
        if not self.as_two_stage:
            target["refpoint_embed.weight"] = tensor(self.learned_queries, 4)
            target["tgt_embed.weight"] = tensor(self.learned_queries, self.embed_dim)
        return target

    def detector_overrides(self) -> dict[str, Any]:
        return super().detector_overrides() | {"model.as_two_stage": self.as_two_stage}
