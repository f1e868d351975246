"""DN-Deformable-DETR: IDEA-Research/DN-DETR to detrex's `DNDeformableDETR`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from detrex_hub import kinds
from detrex_hub.architectures.base import Facts, Layout, Specs
from detrex_hub.architectures.blocks import tensor
from detrex_hub.architectures.declared import Fact
from detrex_hub.architectures.detector import FACTS, Detector
from detrex_hub.architectures.heads import LABEL_ENCODER, HeadLists, LabelEmbedding
from detrex_hub.architectures.neck import Neck, read_levels
from detrex_hub.architectures.parts import ConfigValue, Module, Part
from detrex_hub.architectures.position import SinePositions, position_facts
from detrex_hub.architectures.shapes import shape_of
from detrex_hub.architectures.transformer import mlp
from detrex_hub.architectures.transformer_layers import LayerShape, deformable


class DnDeformableDetr(Detector, frozen=True, kw_only=True):
    """DN-Deformable-DETR.

    Args:
        neck_inputs: feature maps of the backbone that the neck reads, the last ones.
        feature_levels: feature maps in all.
        with_indicator: whether one feature of a query marks denoising queries.
        position_temperature, position_offset: of the sine position embedding; None where they are
            not known.
    """

    neck_inputs: int
    feature_levels: int
    with_indicator: bool = True
    position_temperature: float | None = 10000
    position_offset: float | None = -0.5

    name: ClassVar[str] = "dn_deformable_detr"
    not_in_transformers: ClassVar[str | None] = (
        "its queries are anchor boxes with deformable attention, and transformers' DAB-DETR "
        "attends to a single feature map"
    )
    taken_by: ClassVar[frozenset[str]] = frozenset({"DNDeformableDETR"})
    facts: ClassVar[Mapping[str, Fact]] = {**FACTS, **position_facts(10000, -0.5)}
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
            wrapped=True,
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
                f"{LABEL_ENCODER}.weight",
            ),
        ),
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> DnDeformableDetr:
        found = cls.shared(specs, layout, facts, "class_embed.0.weight")
        found |= read_levels(specs, layout, facts)
        queries, width = shape_of(specs, "tgt_embed.weight")
        return cls(
            **found,
            num_queries=queries,
            with_indicator=width == found["embed_dim"] - 1,
            position_temperature=facts.get("position_temperature"),
            position_offset=facts.get("position_offset"),
        )

    def parts(self) -> tuple[Part, ...]:
        width = self.embed_dim
        shape = LayerShape(width, self.feedforward_dim, self.num_heads)
        query_width = width - self.with_indicator
        return (
            Neck(self.body, self.neck_inputs, self.feature_levels, width),
            SinePositions(width, self.position_temperature, self.position_offset),
            *deformable(shape, self.encoder_layers, self.decoder_layers, self.feature_levels),
            Module("transformer.decoder.query_scale", mlp(width, width, width, 2)),
            Module("transformer.decoder.ref_point_head", mlp(2 * width, width, width, 2)),
            Module("refpoint_embed", {"weight": tensor(self.learned_queries, 4)}),
            Module("tgt_embed", {"weight": tensor(self.learned_queries, query_width)}),
            HeadLists(self.classes, self.decoder_layers),
            LabelEmbedding(LABEL_ENCODER, self.classes, query_width),
            *self.sizes,
            ConfigValue("model.num_queries", kinds.SIZE, self.num_queries),
            ConfigValue("model.with_indicator", kinds.FLAG, self.with_indicator),
        )
