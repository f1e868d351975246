"""DAB-Deformable-DETR: IDEA-Research/DAB-DETR to detrex's `DabDeformableDETR`.

detrex's two-stage model has no counterpart in the original, whose two stages differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from detrex_hub import kinds
from detrex_hub.architectures.base import Facts, Layout, Specs
from detrex_hub.architectures.blocks import linear, norm, tensor
from detrex_hub.architectures.declared import Fact
from detrex_hub.architectures.detector import FACTS, Detector
from detrex_hub.architectures.heads import HeadLists
from detrex_hub.architectures.neck import Neck, read_levels
from detrex_hub.architectures.parts import ConfigValue, Module, Part
from detrex_hub.architectures.position import SinePositions, position_facts
from detrex_hub.architectures.shapes import shape_of
from detrex_hub.architectures.transformer import mlp
from detrex_hub.architectures.transformer_layers import LayerShape, deformable


class DabDeformableDetr(Detector, frozen=True, kw_only=True):
    """DAB-Deformable-DETR.

    Args:
        neck_inputs: feature maps of the backbone that the neck reads, the last ones.
        feature_levels: feature maps in all.
        as_two_stage: whether the encoder proposes the queries, through a further head; then there
            are no learned queries, and no shape shows ``num_queries``.
        position_temperature, position_offset: of the sine position embedding; None where they are
            not known.
    """

    neck_inputs: int
    feature_levels: int
    as_two_stage: bool = False
    position_temperature: float | None = 10000
    position_offset: float | None = -0.5

    name: ClassVar[str] = "dab_deformable_detr"
    not_in_transformers: ClassVar[str | None] = (
        "its queries are anchor boxes with deformable attention, and transformers' DAB-DETR "
        "attends to a single feature map"
    )
    taken_by: ClassVar[frozenset[str]] = frozenset({"DabDeformableDETR"})
    facts: ClassVar[Mapping[str, Fact]] = {
        **FACTS,
        **position_facts(10000, -0.5),
        "num_queries": Fact(
            kinds.SIZE,
            "proposals of a two-stage model, 300 in detrex's config",
            config=("model.num_queries",),
        ),
    }
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
            wrapped=True,
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
        found = cls.shared(specs, layout, facts, "class_embed.0.weight")
        found |= read_levels(specs, layout, facts)
        queries = facts.get("num_queries")
        if not two_stage:
            queries = shape_of(specs, "refpoint_embed.weight")[0]
        return cls(
            **found,
            num_queries=queries,
            as_two_stage=two_stage,
            position_temperature=facts.get("position_temperature"),
            position_offset=facts.get("position_offset"),
        )

    @property
    def ranks_proposals(self) -> bool:
        return self.as_two_stage

    def parts(self) -> tuple[Part, ...]:
        width = self.embed_dim
        shape = LayerShape(width, self.feedforward_dim, self.num_heads)
        return (
            Neck(self.body, self.neck_inputs, self.feature_levels, width),
            SinePositions(width, self.position_temperature, self.position_offset),
            *deformable(shape, self.encoder_layers, self.decoder_layers, self.feature_levels),
            Module("transformer.decoder.query_scale", mlp(width, width, width, 2)),
            Module("transformer.decoder.ref_point_head", mlp(2 * width, width, width, 2)),
            *(self._proposals() if self.as_two_stage else self._queries()),
            HeadLists(self.classes, self.decoder_layers, proposes=self.as_two_stage),
            *self.sizes,
            ConfigValue("model.num_queries", kinds.SIZE, self.num_queries),
            ConfigValue("model.as_two_stage", kinds.FLAG, self.as_two_stage),
        )

    def _proposals(self) -> tuple[Part, ...]:
        width = self.embed_dim
        return (
            Module("transformer.enc_output", linear(width, width)),
            Module("transformer.enc_output_norm", norm(width)),
        )

    def _queries(self) -> tuple[Part, ...]:
        number = self.learned_queries
        return (
            Module("refpoint_embed", {"weight": tensor(number, 4)}),
            Module("tgt_embed", {"weight": tensor(number, self.embed_dim)}),
        )
