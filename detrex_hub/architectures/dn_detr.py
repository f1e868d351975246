"""DN-DETR: IDEA-Research/DN-DETR to detrex's `DNDETR`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures.anchor_boxes import AnchorBoxDetector
from detrex_hub.architectures.base import Facts, Layout, Specs
from detrex_hub.architectures.bodies import Body
from detrex_hub.architectures.dab_detr import DabDetr
from detrex_hub.architectures.foreign_models import TransformersModel
from detrex_hub.architectures.heads import LABEL_ENCODER, LabelEmbedding
from detrex_hub.architectures.parts import ConfigValue, Part
from detrex_hub.architectures.shapes import shape_of
from detrex_hub.architectures.transformers_layout import LAYOUTS as TRANSFORMERS
from detrex_hub.mapping import Compute, Rule, inverse
from detrex_hub.mapping.operations import Cut


class DnDetr(AnchorBoxDetector, frozen=True, kw_only=True):
    """DN-DETR.

    Args:
        with_indicator: whether one feature of a query marks denoising queries.
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

    also_written: ClassVar[tuple[str, ...]] = TRANSFORMERS
    body_prefixes: ClassVar[Mapping[str, str]] = DabDetr.body_prefixes

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> DnDetr:
        found = cls.shared_with_boxes(specs, layout, facts)
        width = shape_of(specs, "label_enc.weight", f"{LABEL_ENCODER}.weight")[-1]
        return cls(**found, with_indicator=width == found["embed_dim"] - 1)

    def in_transformers(self, layout: str, preprocessing: Mapping[str, Any]) -> TransformersModel:
        return self.as_dab_detr(layout, preprocessing, patterns=1)

    def rules_back(self, layout: str) -> tuple[Rule, ...]:
        if layout not in TRANSFORMERS:
            return super().rules_back(layout)
        # Without denoising it is a DAB-DETR with one pattern: the embedding of the label "unknown",
        # and a zero, which marks a query without denoising (IDEA-Research/DN-DETR ff3902a).
        width, labels = self.embed_dim - self.with_indicator, self.num_classes + 1
        pattern = Cut((self.num_classes, 0), (1, self.embed_dim), (labels, width))
        others = [rule for part in self._all_but_labels() for rule in part.rules(layout)]
        return (
            *inverse(tuple(others)),
            Compute(pattern, f"{LABEL_ENCODER}.weight", "model.patterns.weight"),
        )

    def _all_but_labels(self) -> tuple[Part, ...]:
        body = Body(self.body, self.body_prefixes, self.other_body_prefixes)
        return (body, *super().parts())

    def parts(self) -> tuple[Part, ...]:
        return (
            *super().parts(),
            LabelEmbedding(LABEL_ENCODER, self.classes, self.embed_dim - self.with_indicator),
            ConfigValue("model.with_indicator", kinds.FLAG, self.with_indicator),
        )
