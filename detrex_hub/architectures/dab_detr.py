"""DAB-DETR: IDEA-Research/DAB-DETR and transformers' `DabDetrForObjectDetection` to detrex's
`DABDETR`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures import transformers_layout
from detrex_hub.architectures.anchor_boxes import AnchorBoxDetector
from detrex_hub.architectures.base import Facts, Layout, LookAlikes, Specs
from detrex_hub.architectures.blocks import tensor
from detrex_hub.architectures.foreign_models import TransformersModel
from detrex_hub.architectures.parts import ConfigValue, Module, Part


class DabDetr(AnchorBoxDetector, frozen=True, kw_only=True):
    """DAB-DETR.

    Args:
        num_patterns: pattern embeddings of each query, 0 for none.
    """

    num_patterns: int = 0

    name: ClassVar[str] = "dab_detr"
    taken_by: ClassVar[frozenset[str]] = frozenset({"DABDETR"})
    body_prefixes: ClassVar[Mapping[str, str]] = {
        **AnchorBoxDetector.body_prefixes,
        "transformers": f"{transformers_layout.BACKBONE}_backbone.",
    }
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
            wrapped=True,
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
            look_alikes=LookAlikes(
                ("sqr_detr",), "anchor_box_embed.weight", (300,), as_released=True
            ),
        ),
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> DabDetr:
        patterns = [
            specs[key].shape[0]
            for key in ("transformer.patterns.weight", "model.patterns.weight")
            if key in specs
        ]
        return cls(
            **cls.shared_with_boxes(specs, layout, facts),
            num_patterns=patterns[0] if patterns else 0,
        )

    def in_transformers(self, layout: str, preprocessing: Mapping[str, Any]) -> TransformersModel:
        return self.as_dab_detr(layout, preprocessing, patterns=self.num_patterns)

    def parts(self) -> tuple[Part, ...]:
        patterns = Module(
            "transformer.patterns",
            {"weight": tensor(self.num_patterns, self.embed_dim)},
            transformers="model.patterns",
        )
        return (
            *super().parts(),
            *((patterns,) if self.num_patterns else ()),
            ConfigValue("model.transformer.num_patterns", kinds.COUNT, self.num_patterns),
        )
