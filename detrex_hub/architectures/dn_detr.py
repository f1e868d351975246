"""DN-DETR: IDEA-Research/DN-DETR to detrex's `DNDETR`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from detrex_hub import kinds
from detrex_hub.architectures.anchor_boxes import AnchorBoxDetector
from detrex_hub.architectures.base import Facts, Layout, Specs
from detrex_hub.architectures.heads import LABEL_ENCODER, Labels
from detrex_hub.architectures.parts import ConfigValue, Part
from detrex_hub.architectures.reading import shape_of


class DnDetr(AnchorBoxDetector, frozen=True, kw_only=True):
    """DN-DETR.

    Args:
        with_indicator: whether one feature of a query says that it is one of denoising.
    """

    with_indicator: bool = True

    name: ClassVar[str] = "dn_detr"
    taken_by: ClassVar[frozenset[str]] = frozenset({"DNDETR"})
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
            wrapped=True,
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
                f"{LABEL_ENCODER}.weight",
                "class_embed.weight",
            ),
        ),
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> DnDetr:
        found = cls.shared_with_boxes(specs, layout, facts)
        width = shape_of(specs, "label_enc.weight", f"{LABEL_ENCODER}.weight")[-1]
        return cls(**found, with_indicator=width == found["embed_dim"] - 1)

    def parts(self) -> tuple[Part, ...]:
        return (
            *super().parts(),
            Labels(LABEL_ENCODER, self.classes, self.embed_dim - self.with_indicator),
            ConfigValue("model.with_indicator", kinds.FLAG, self.with_indicator),
        )
