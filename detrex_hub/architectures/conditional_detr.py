"""Conditional-DETR: Atten4Vis/ConditionalDETR and transformers'
`ConditionalDetrForObjectDetection` to detrex's `ConditionalDETR`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures import transformer, transformers_layout
from detrex_hub.architectures.base import Facts, Layout, LookAlikes, Specs
from detrex_hub.architectures.blocks import conv, norm, tensor
from detrex_hub.architectures.declared import Fact
from detrex_hub.architectures.detector import FACTS, Detector
from detrex_hub.architectures.feature_maps import LastMap
from detrex_hub.architectures.foreign_models import (
    TransformersModel,
    check_positions,
    needs,
)
from detrex_hub.architectures.heads import ClassHead, box_head
from detrex_hub.architectures.parts import ConfigValue, Module, Part
from detrex_hub.architectures.position import position_embedding, position_facts, read_position
from detrex_hub.architectures.shapes import shape_of
from detrex_hub.architectures.transformer import mlp
from detrex_hub.architectures.transformer_layers import (
    Layers,
    LayerShape,
    conditional_attentions,
    encoder,
)

_TRANSFORMERS_KEYS = (
    "model.decoder.layers.{i}.sa_qcontent_proj.weight",
    "model.decoder.layers.{i}.encoder_attn.out_proj.weight",
    "model.query_position_embeddings.weight",
    "class_labels_classifier.weight",
)


class ConditionalDetr(Detector, frozen=True, kw_only=True):
    """Conditional-DETR.

    Args:
        position_grid: rows and columns of learned position embeddings; None for sine ones.
        position_temperature, position_offset: of sine ones; None where they are not known.
    """

    position_grid: tuple[int, int] | None = None
    position_temperature: float | None = 10000
    position_offset: float | None = 0.0

    name: ClassVar[str] = "conditional_detr"
    cuts_inverse_sigmoid: ClassVar[bool] = True
    taken_by: ClassVar[frozenset[str]] = frozenset({"ConditionalDETR"})
    facts: ClassVar[Mapping[str, Fact]] = {**FACTS, **position_facts(10000, 0.0)}
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
            wrapped=True,
            present=(
                "transformer.decoder.layers.{i}.sa_qcontent_proj.weight",
                "transformer.decoder.ref_point_head.layers.0.weight",
                "query_embed.weight",
                "class_embed.weight",
            ),
            absent=("refpoint_embed.weight",),
        ),
        "transformers": Layout(present=(*_TRANSFORMERS_KEYS, transformers_layout.TIMM_BACKBONE)),
        "transformers_no_timm": Layout(
            present=(*_TRANSFORMERS_KEYS, transformers_layout.OWN_BACKBONE)
        ),
        "detrex": Layout(
            present=(
                "transformer.decoder.layers.{i}.attentions.0.query_content_proj.weight",
                "transformer.decoder.ref_point_head.layers.0.weight",
                "query_embed.weight",
                "class_embed.weight",
            ),
            absent=("anchor_box_embed.weight",),
            # Group-DETR has a group of queries for each of its 11 branches: 3300 rows
            look_alikes=LookAlikes(("group_detr",), "query_embed.weight", (300,)),
        ),
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> ConditionalDetr:
        return cls(**cls.hyper_parameters_in(specs, layout, facts))

    @classmethod
    def hyper_parameters_in(cls, specs: Specs, layout: str, facts: Facts) -> dict[str, Any]:
        """The fields that Group-DETR has too."""
        queries = shape_of(specs, "query_embed.weight", "model.query_position_embeddings.weight")
        heads = ("class_embed.weight", "class_labels_classifier.weight")
        return {
            **cls.shared(specs, layout, facts, *heads),
            "num_queries": queries[0],
            **read_position(specs, facts),
        }

    def in_transformers(self, layout: str, preprocessing: Mapping[str, Any]) -> TransformersModel:
        fields = self.transformers_config("conditional_detr", layout, preprocessing)
        check_positions(
            self.name,
            self.position_grid,
            temperature=self.position_temperature,
            offset=self.position_offset,
            fixed_temperature=10000,
            fixed_offset=0.0,
        )
        return TransformersModel(
            config={
                **fields,
                "architectures": ["ConditionalDetrForObjectDetection"],
                "d_model": self.embed_dim,
                "activation_function": "relu",
                "position_embedding_type": "sine",
            },
            image_processor="ConditionalDetrImageProcessor",
            needs=needs(layout),
        )

    def parts(self) -> tuple[Part, ...]:
        return (
            *self.parts_with_queries(),
            ConfigValue("model.num_queries", kinds.SIZE, self.num_queries),
        )

    def parts_with_queries(self) -> tuple[Part, ...]:
        """The fields shared with Group-DETR, which counts its queries differently."""
        width = self.embed_dim
        shape = LayerShape(width, self.feedforward_dim, self.num_heads)
        last = LastMap(self.body)
        return (
            Module(
                "input_proj", conv(width, last.channels, 1), transformers="model.input_projection"
            ),
            position_embedding(
                width, self.position_temperature, self.position_offset, self.position_grid
            ),
            encoder(
                shape,
                self.encoder_layers,
                transformer.attention(width),
                transformer.ENCODER_LAYER,
                transformers_layout.ENCODER_LAYER,
            ),
            Layers(
                "decoder",
                shape,
                conditional_attentions(width, self.decoder_layers),
                transformer.CONDITIONAL_DECODER_LAYER,
                transformers_layout.CONDITIONAL_DECODER_LAYER,
            ),
            Module(
                "transformer.decoder.post_norm_layer",
                norm(width),
                original="transformer.decoder.norm",
                transformers="model.decoder.layernorm",
            ),
            Module(
                "transformer.decoder.query_scale",
                mlp(width, width, width, 2),
                transformers="model.decoder.query_scale",
            ),
            Module(
                "transformer.decoder.ref_point_head",
                mlp(width, width, 2, 2),
                transformers="model.decoder.ref_point_head",
            ),
            Module(
                "query_embed",
                {"weight": tensor(self.learned_queries, width)},
                transformers="model.query_position_embeddings",
            ),
            ClassHead(self.classes, transformers="class_labels_classifier"),
            Module("bbox_embed", box_head(width), transformers="bbox_predictor"),
            *self.sizes,
            last,
        )
