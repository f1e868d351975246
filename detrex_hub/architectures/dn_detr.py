"""DN-DETR: IDEA-Research/DN-DETR to detrex's `DNDETR`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures.anchor_boxes import AnchorBoxDetector
from detrex_hub.architectures.base import Facts, Layout, Specs
from detrex_hub.architectures.blocks import StateDict, tensor
from detrex_hub.architectures.detection import LABEL_ENCODER, shape_of
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Rule


@dataclass(frozen=True, kw_only=True)
class DnDetr(AnchorBoxDetector):
    """DN-DETR.

    Args:
        with_indicator: whether one feature of a query says that it is one of denoising.
    """

    with_indicator: bool = True

    name: ClassVar[str] = "dn_detr"
    taken_by: ClassVar[frozenset[str]] = frozenset({"DNDETR"})
    lazy_paths: ClassVar[Mapping[str, Kind]] = {
        **AnchorBoxDetector.lazy_paths,
        "model.with_indicator": kinds.FLAG,
    }
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
            present=(
                "transformer.decoder.layers.{i}.sa_qcontent_proj.weight",
                "transformer.decoder.layers.{i}.activation.weight",
                "refpoint_embed.weight",
                "label_enc.weight",
                "class_embed.weight",
            ),
        ),
        "detrex": Layout(
            present=(
                "transformer.decoder.layers.{i}.attentions.0.query_content_proj.weight",
                "anchor_box_embed.weight",
                LABEL_ENCODER,
                "class_embed.weight",
            ),
        ),
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> DnDetr:
        found = cls.common(specs, layout, facts, "class_embed.weight")
        width = shape_of(specs, "label_enc.weight", LABEL_ENCODER)[-1]
        return cls(with_indicator=width == found["embed_dim"] - 1, **found)

    def head_rules(self, layout: str) -> tuple[Rule, ...]:
        return (*super().head_rules(layout), self.label_rule("label_enc.weight", LABEL_ENCODER))

    def detector_target(self) -> StateDict:
        width = self.embed_dim - self.with_indicator
        return super().detector_target() | {LABEL_ENCODER: tensor(self.num_classes + 1, width)}

    def detector_overrides(self) -> dict[str, Any]:
        return super().detector_overrides() | {"model.with_indicator": self.with_indicator}
