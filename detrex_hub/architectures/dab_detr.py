"""DAB-DETR: IDEA-Research/DAB-DETR and transformers' `DabDetrForObjectDetection` to detrex's
`DABDETR`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures import transformers_layout
from detrex_hub.architectures.anchor_boxes import AnchorBoxDetector
from detrex_hub.architectures.base import Facts, Layout, LookAlikes, Specs
from detrex_hub.architectures.blocks import StateDict, tensor
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Rename, Rule


@dataclass(frozen=True, kw_only=True)
class DabDetr(AnchorBoxDetector):
    """DAB-DETR.

    Args:
        num_patterns: pattern embeddings of each query, 0 for none.
    """

    num_patterns: int = 0

    name: ClassVar[str] = "dab_detr"
    taken_by: ClassVar[frozenset[str]] = frozenset({"DABDETR"})
    lazy_paths: ClassVar[Mapping[str, Kind]] = {
        **AnchorBoxDetector.lazy_paths,
        "model.transformer.num_patterns": kinds.COUNT,
    }
    body_prefixes: ClassVar[Mapping[str, str]] = {
        **AnchorBoxDetector.body_prefixes,
        "transformers": f"{transformers_layout.BACKBONE}_backbone.",
    }
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
            present=(
                "transformer.decoder.layers.{i}.sa_qcontent_proj.weight",
                "transformer.decoder.layers.{i}.activation.weight",
                "refpoint_embed.weight",
                "class_embed.weight",
            ),
            absent=("label_enc.weight",),
        ),
        "transformers": Layout(
            present=(
                "model.query_refpoint_embeddings.weight",
                "model.decoder.layers.{i}.self_attn.self_attn_query_content_proj.weight",
                f"{transformers_layout.BACKBONE}_backbone.conv1.weight",
            ),
        ),
        "transformers_no_timm": Layout(
            present=(
                "model.query_refpoint_embeddings.weight",
                "model.decoder.layers.{i}.self_attn.self_attn_query_content_proj.weight",
                transformers_layout.OWN_BACKBONE,
            ),
        ),
        "detrex": Layout(
            present=(
                "transformer.decoder.layers.{i}.attentions.0.query_content_proj.weight",
                "anchor_box_embed.weight",
                "class_embed.weight",
            ),
            absent=("denoising_generator.label_encoder.weight",),
            look_alikes=LookAlikes(("sqr_detr",), "anchor_box_embed.weight", (300,)),
        ),
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> DabDetr:
        patterns = [
            specs[key].shape[0]
            for key in ("transformer.patterns.weight", "model.patterns.weight")
            if key in specs
        ]
        found = cls.common(specs, layout, facts, "class_embed.weight")
        return cls(num_patterns=patterns[0] if patterns else 0, **found)

    def transformer_rules(self, layout: str) -> tuple[Rule, ...]:
        rules = super().transformer_rules(layout)
        if not self.num_patterns:
            return rules
        root = "transformer" if layout == "original" else "model"
        return (*rules, Rename(f"{root}.patterns.weight", "transformer.patterns.weight"))

    def detector_target(self) -> StateDict:
        target = super().detector_target()
        if self.num_patterns:
            target["transformer.patterns.weight"] = tensor(self.num_patterns, self.embed_dim)
        return target

    def detector_overrides(self) -> dict[str, Any]:
        return super().detector_overrides() | {"model.transformer.num_patterns": self.num_patterns}
