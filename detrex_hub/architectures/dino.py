"""DINO: IDEA-Research/DINO to detrex's `DINO`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from detrex_hub import kinds
from detrex_hub.architectures.base import Facts, Layout, LookAlikes, Specs
from detrex_hub.architectures.blocks import linear, norm, tensor
from detrex_hub.architectures.declared import Fact
from detrex_hub.architectures.detector import FACTS, Detector
from detrex_hub.architectures.heads import HeadLists, LabelEmbedding
from detrex_hub.architectures.neck import Neck, read_levels
from detrex_hub.architectures.parts import ConfigValue, Module, Part
from detrex_hub.architectures.position import SinePositions, position_facts
from detrex_hub.architectures.shapes import shape_of
from detrex_hub.architectures.transformer import mlp
from detrex_hub.architectures.transformer_layers import LayerShape, deformable


class Dino(Detector, frozen=True, kw_only=True):
    """DINO.

    Args:
        neck_inputs: feature maps of the backbone that the neck reads, the last ones.
        feature_levels: feature maps in all.
        label_rows: rows of the original's embedding of labels, which has at least one more than
            there are classes; None where it has as many as detrex's.
    """

    neck_inputs: int
    feature_levels: int
    label_rows: int | None = None
    # detrex's 12-epoch configs have 10000 and -0.5, which changes the originals' boxes
    position_temperature: float | None = 20
    position_offset: float | None = 0.0

    name: ClassVar[str] = "dino"
    not_in_transformers: ClassVar[str | None] = (
        "the queries of its decoder are proposals with learned contents (mixed selection), "
        "which no detector of transformers has"
    )
    taken_by: ClassVar[frozenset[str]] = frozenset({"projects.dino.DINO", "projects.dino_eva.DINO"})
    facts: ClassVar[Mapping[str, Fact]] = {**FACTS, **position_facts(20, 0.0)}
    takes_temperature: ClassVar[bool] = True
    # its authors have a body only for ResNets
    other_body_prefixes: ClassVar[Mapping[str, str]] = {
        "original": "backbone.0.",
        "detrex": "backbone.",
    }
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
            wrapped=True,
            present=(
                "transformer.level_embed",
                "transformer.tgt_embed.weight",
                "transformer.enc_out_class_embed.weight",
                "label_enc.weight",
                "class_embed.0.weight",
            ),
        ),
        "detrex": Layout(
            present=(
                "transformer.level_embeds",
                "transformer.tgt_embed.weight",
                "transformer.enc_output.weight",
                "label_enc.weight",
                "neck.convs.0.conv.weight",
            ),
            # Focus-DETR
            absent=("transformer.enc_mask_predictor.**",),
            look_alikes=LookAlikes(
                ("align_detr",), "transformer.tgt_embed.weight", (900,), as_released=True
            ),
        ),
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> Dino:
        found = cls.shared(specs, layout, facts, "class_embed.0.weight")
        found |= read_levels(specs, layout, facts)
        rows = shape_of(specs, "label_enc.weight")[0]
        return cls(
            **found,
            num_queries=shape_of(specs, "transformer.tgt_embed.weight")[0],
            label_rows=None if rows == found["num_classes"] else rows,
            position_temperature=facts.get("position_temperature"),
            position_offset=facts.get("position_offset"),
        )

    @property
    def ranks_proposals(self) -> bool:
        return True

    def parts(self) -> tuple[Part, ...]:
        width = self.embed_dim
        shape = LayerShape(width, self.feedforward_dim, self.num_heads)
        labels = self.label_rows
        return (
            Neck(self.body, self.neck_inputs, self.feature_levels, width),
            SinePositions(width, self.position_temperature, self.position_offset),
            *deformable(shape, self.encoder_layers, self.decoder_layers, self.feature_levels),
            Module("transformer.enc_output", linear(width, width)),
            Module("transformer.enc_output_norm", norm(width)),
            Module("transformer.tgt_embed", {"weight": tensor(self.learned_queries, width)}),
            Module("transformer.decoder.norm", norm(width)),
            Module("transformer.decoder.ref_point_head", mlp(2 * width, width, width, 2)),
            # in detrex the encoder's heads are in the lists of the decoder
            HeadLists(
                self.classes,
                self.decoder_layers,
                proposes=True,
                of_encoder="transformer.enc_out_",
            ),
            LabelEmbedding("label_enc", self.classes, width, unknown=False, source_rows=labels),
            *self.sizes,
            ConfigValue("model.num_queries", kinds.SIZE, self.num_queries),
        )
