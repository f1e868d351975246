"""The shared parts of DAB-DETR and DN-DETR: queries that are anchor boxes, on one feature map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures import transformer, transformers_layout
from detrex_hub.architectures.base import Facts, Specs
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
from detrex_hub.errors import ArchitectureError

_INVERSE_SIGMOID = (
    "transformers cuts the inverse sigmoid of DAB-DETR at 1e-5, detrex at 1e-3, and its config "
    "has no field for this. A reference point closer than 1e-3 to the border of the image moves "
    "boxes by up to 1e-3 of its size."
)


class AnchorBoxDetector(Detector, frozen=True, kw_only=True):
    """DAB-DETR, and DN-DETR, which adds denoising.

    Args:
        modulate_hw_attn: whether cross-attention is modulated by width and height.
        position_grid: rows and columns of learned position embeddings; None for sine ones.
        position_temperature, position_offset: of sine ones; None where they are not known.
    """

    modulate_hw_attn: bool = True
    position_grid: tuple[int, int] | None = None
    position_temperature: float | None = 20
    position_offset: float | None = 0.0

    takes_temperature: ClassVar[bool] = True
    facts: ClassVar[Mapping[str, Fact]] = {**FACTS, **position_facts(20, 0.0)}

    @classmethod
    def shared_with_boxes(cls, specs: Specs, layout: str, facts: Facts) -> dict[str, Any]:
        """The fields of `Detector`, and those above."""
        queries = ("refpoint_embed", "model.query_refpoint_embeddings", "anchor_box_embed")
        root = "model" if layout in transformers_layout.LAYOUTS else "transformer"
        return {
            **cls.shared(specs, layout, facts, "class_embed.weight"),
            "num_queries": shape_of(specs, *(f"{name}.weight" for name in queries))[0],
            "modulate_hw_attn": f"{root}.decoder.ref_anchor_head.layers.0.weight" in specs,
            **read_position(specs, facts),
        }

    def as_dab_detr(
        self, layout: str, preprocessing: Mapping[str, Any], *, patterns: int
    ) -> TransformersModel:
        """transformers' DAB-DETR.

        Args:
            layout, preprocessing: as for `in_transformers`.
            patterns: the initial contents of the queries, in turn; 0 for none.
        """
        fields = self.transformers_config("dab-detr", layout, preprocessing)
        check_positions(
            "dab_detr", self.position_grid, offset=self.position_offset, fixed_offset=0.0
        )
        temperature = self.position_temperature
        if temperature is None or not float(temperature).is_integer():
            raise ArchitectureError(
                f"its position temperature is {temperature}, but transformers takes only whole "
                "numbers",
                hint="Write the original's layout instead: --to original",
            )
        if not self.modulate_hw_attn:
            raise ArchitectureError(
                "width and height do not modulate its cross-attention, but in transformers "
                "they always do",
                hint="Write the original's layout instead: --to original",
            )
        return TransformersModel(
            config={
                **fields,
                "architectures": ["DabDetrForObjectDetection"],
                "hidden_size": self.embed_dim,
                "activation_function": "prelu",
                "num_patterns": patterns,
                "temperature_height": int(temperature),
                "temperature_width": int(temperature),
            },
            # DAB-DETR has no image processor; its detections are read like Conditional-DETR's
            image_processor="ConditionalDetrImageProcessor",
            needs=needs(layout),
            differences=(_INVERSE_SIGMOID,),
        )

    def parts(self) -> tuple[Part, ...]:
        width = self.embed_dim
        shape = LayerShape(width, self.feedforward_dim, self.num_heads, prelu=True)
        last = LastMap(self.body)
        modulation = Module(
            "transformer.decoder.ref_anchor_head",
            mlp(width, width, 2, 2),
            transformers="model.decoder.ref_anchor_head",
        )
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
                (*transformer.ENCODER_LAYER, *transformer.PRELU),
                (*transformers_layout.ENCODER_LAYER, *transformers_layout.PRELU),
            ),
            Module(
                "transformer.encoder.query_scale",
                mlp(width, width, width, 2),
                transformers="model.encoder.query_scale",
            ),
            Layers(
                "decoder",
                shape,
                conditional_attentions(width, self.decoder_layers),
                (*transformer.CONDITIONAL_DECODER_LAYER, *transformer.PRELU),
                transformers_layout.DAB_DECODER_LAYER,
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
                mlp(2 * width, width, width, 2),
                transformers="model.decoder.ref_point_head",
            ),
            *((modulation,) if self.modulate_hw_attn else ()),
            Module(
                "anchor_box_embed",
                {"weight": tensor(self.learned_queries, 4)},
                original="refpoint_embed",
                transformers="model.query_refpoint_embeddings",
            ),
            ClassHead(self.classes),
            Module("bbox_embed", box_head(width), transformers="bbox_predictor"),
            # the decoder holds the box head a second time
            Module(
                "transformer.decoder.bbox_embed",
                box_head(width),
                transformers="model.decoder.bbox_embed",
            ),
            *self.sizes,
            ConfigValue("model.num_queries", kinds.SIZE, self.num_queries),
            last,
            ConfigValue(
                "model.transformer.decoder.modulate_hw_attn", kinds.FLAG, self.modulate_hw_attn
            ),
        )

    def ties(self) -> tuple[tuple[str, ...], ...]:
        boxes = [f"bbox_embed.{key}" for key in box_head(self.embed_dim)]
        return (*super().ties(), *((key, f"transformer.decoder.{key}") for key in boxes))
