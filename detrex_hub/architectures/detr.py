"""DETR: facebookresearch/detr and transformers' `DetrForObjectDetection` to detrex's `DETR`.

Checkpoints of panoptic DETR hold the detector below ``detr.``, beside a mask head that detrex does
not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures import transformer, transformers_layout
from detrex_hub.architectures.base import Facts, Layout, Specs
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
from detrex_hub.architectures.parts import ConfigValue, Constant, Module, Part
from detrex_hub.architectures.position import position_embedding, position_facts, read_position
from detrex_hub.architectures.shapes import shape_of
from detrex_hub.architectures.transformer_layers import LayerShape, decoder, encoder
from detrex_hub.mapping import Drop, Rule, prefixed

_MASK_HEAD = "panoptic mask head, which detrex does not have"
_MASKS: tuple[Rule, ...] = (
    Drop("mask_head.**", _MASK_HEAD),
    Drop("bbox_attention.**", _MASK_HEAD),
)

_TRANSFORMERS_KEYS = (
    "model.encoder.layers.{i}.self_attn.q_proj.weight",
    "model.decoder.layers.{i}.encoder_attn.q_proj.weight",
    "model.query_position_embeddings.weight",
    "class_labels_classifier.weight",
)
_PNP_DETR = ("transformer.sampler.**",)
_TABLE_TRANSFORMER = ("model.encoder.layernorm.weight",)


class Detr(Detector, frozen=True, kw_only=True):
    """DETR, whose class head has a row for "no object".

    Args:
        position_grid: rows and columns of learned position embeddings; None for sine ones.
        position_temperature, position_offset: of sine ones; None where they are not known.
    """

    position_grid: tuple[int, int] | None = None
    position_temperature: float | None = 10000
    position_offset: float | None = 0.0

    name: ClassVar[str] = "detr"
    taken_by: ClassVar[frozenset[str]] = frozenset({"projects.detr.DETR"})
    body_prefixes: ClassVar[Mapping[str, str]] = {
        **Detector.body_prefixes,
        "panoptic": "detr.backbone.0.body.",
    }
    original_rows: ClassVar[int] = 92
    facts: ClassVar[Mapping[str, Fact]] = {**FACTS, **position_facts(10000, 0.0)}
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
            wrapped=True,
            present=(
                "transformer.encoder.layers.{i}.self_attn.in_proj_weight",
                "transformer.decoder.layers.{i}.multihead_attn.in_proj_weight",
                "query_embed.weight",
                "class_embed.weight",
                "input_proj.weight",
            ),
            absent=_PNP_DETR,
        ),
        "panoptic": Layout(
            wrapped=True,
            present=(
                "detr.transformer.decoder.layers.{i}.multihead_attn.in_proj_weight",
                "detr.query_embed.weight",
                "detr.class_embed.weight",
                "mask_head.lay1.weight",
            ),
        ),
        "transformers": Layout(
            present=(*_TRANSFORMERS_KEYS, transformers_layout.TIMM_BACKBONE),
            absent=_TABLE_TRANSFORMER,
        ),
        "transformers_no_timm": Layout(
            present=(*_TRANSFORMERS_KEYS, transformers_layout.OWN_BACKBONE),
            absent=_TABLE_TRANSFORMER,
        ),
        "detrex": Layout(
            present=(
                "transformer.encoder.layers.{i}.attentions.0.attn.in_proj_weight",
                "transformer.decoder.layers.{i}.attentions.1.attn.in_proj_weight",
                "query_embed.weight",
                "class_embed.weight",
                "input_proj.weight",
            ),
            absent=_PNP_DETR,
        ),
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> Detr:
        if layout == "panoptic":
            specs = {key.removeprefix("detr."): spec for key, spec in specs.items()}
            layout = "original"
        return cls(**cls.hyper_parameters_in(specs, layout, facts))

    @classmethod
    def hyper_parameters_in(cls, specs: Specs, layout: str, facts: Facts) -> dict[str, Any]:
        """The fields that PnP-DETR has too."""
        queries = shape_of(specs, "query_embed.weight", "model.query_position_embeddings.weight")
        heads = ("class_embed.weight", "class_labels_classifier.weight")
        return {
            **cls.shared(specs, layout, facts, *heads),
            "num_queries": queries[0],
            **read_position(specs, facts),
        }

    def rules(self, layout: str) -> tuple[Rule, ...]:
        if layout == "panoptic":
            return (*prefixed(self.rules("original"), "detr.", ""), *_MASKS)
        return super().rules(layout)

    def in_transformers(self, layout: str, preprocessing: Mapping[str, Any]) -> TransformersModel:
        fields = self.transformers_config("detr", layout, preprocessing)
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
                "architectures": ["DetrForObjectDetection"],
                "d_model": self.embed_dim,
                "activation_function": "relu",
                "position_embedding_type": "sine",
            },
            image_processor="DetrImageProcessor",
            needs=needs(layout),
        )

    def parts(self) -> tuple[Part, ...]:
        width = self.embed_dim
        shape = LayerShape(width, self.feedforward_dim, self.num_heads)
        attention = transformer.attention(width)
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
                attention,
                transformer.ENCODER_LAYER,
                transformers_layout.ENCODER_LAYER,
            ),
            decoder(
                shape,
                self.decoder_layers,
                (attention, attention),
                transformer.DECODER_LAYER,
                transformers_layout.DECODER_LAYER,
            ),
            Module(
                "transformer.decoder.post_norm_layer",
                norm(width),
                original="transformer.decoder.norm",
                transformers="model.decoder.layernorm",
            ),
            Module(
                "query_embed",
                {"weight": tensor(self.learned_queries, width)},
                transformers="model.query_position_embeddings",
            ),
            ClassHead(self.classes, transformers="class_labels_classifier"),
            Module("bbox_embed", box_head(width), transformers="bbox_predictor"),
            # the weights of the classes in the loss
            Constant(
                "criterion.empty_weight",
                tensor(self.num_classes + self.no_object_rows),
                by_classes=self.chosen is not None,
            ),
            *self.sizes,
            ConfigValue("model.num_queries", kinds.SIZE, self.num_queries),
            last,
        )
