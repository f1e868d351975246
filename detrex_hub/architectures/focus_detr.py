"""Focus-DETR, as detrex has it.

Its authors' repository (linxid/Focus-DETR-mindspore) is code for MindSpore; the torch files that
they released are trained with detrex and have its names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from detrex_hub import kinds
from detrex_hub.architectures import transformer
from detrex_hub.architectures.base import Facts, Layout, Specs
from detrex_hub.architectures.blocks import StateDict, linear, norm, tensor, under
from detrex_hub.architectures.declared import Fact
from detrex_hub.architectures.detector import FACTS, Detector
from detrex_hub.architectures.heads import HeadLists, LabelEmbedding
from detrex_hub.architectures.neck import Neck, read_levels
from detrex_hub.architectures.parts import ConfigValue, Module, Part
from detrex_hub.architectures.position import SinePositions, position_facts
from detrex_hub.architectures.shapes import shape_of
from detrex_hub.architectures.transformer import mlp
from detrex_hub.architectures.transformer_layers import Layers, LayerShape, decoder
from detrex_hub.errors import ArchitectureError


class FocusDetr(Detector, frozen=True, kw_only=True):
    """Focus-DETR: DINO whose encoder attends to the foreground.

    Args:
        neck_inputs: feature maps of the backbone that the neck reads, the last ones.
        feature_levels: feature maps in all.
        position_temperature, position_offset: of the sine position embedding; None where they are
            not known.
    """

    neck_inputs: int
    feature_levels: int
    position_temperature: float | None = 10000
    position_offset: float | None = -0.5

    name: ClassVar[str] = "focus_detr"
    not_in_transformers: ClassVar[str | None] = (
        "its encoder attends to the tokens that a mask predictor chooses"
    )
    taken_by: ClassVar[frozenset[str]] = frozenset({"FOCUS_DETR"})
    facts: ClassVar[Mapping[str, Fact]] = {**FACTS, **position_facts(10000, -0.5)}
    layouts: ClassVar[Mapping[str, Layout]] = {
        "detrex": Layout(
            present=(
                "transformer.level_embeds",
                "transformer.alpha",
                "transformer.tgt_embed.weight",
                "transformer.enc_mask_predictor.layer1.0.weight",
                "label_enc.weight",
                "neck.convs.0.conv.weight",
            ),
        ),
    }

    def __post_init__(self) -> None:
        # detrex takes the head of this number for the encoder
        if self.encoder_layers > self.decoder_layers:
            raise ArchitectureError(
                f"Focus-DETR with {self.encoder_layers} encoder layers and {self.decoder_layers} "
                "decoder layers, but detrex cannot build one with more encoder than decoder layers"
            )

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> FocusDetr:
        found = cls.shared(specs, layout, facts, "class_embed.0.weight")
        return cls(
            **(found | read_levels(specs, layout, facts)),
            num_queries=shape_of(specs, "transformer.tgt_embed.weight")[0],
            position_temperature=facts.get("position_temperature"),
            position_offset=facts.get("position_offset"),
        )

    def parts(self) -> tuple[Part, ...]:
        width, encoders = self.embed_dim, self.encoder_layers
        shape = LayerShape(width, self.feedforward_dim, self.num_heads)
        dense = transformer.attention(width)
        samples = transformer.deformable_attention(width, self.num_heads or 8, self.feature_levels)
        modules = ("transformer.encoder.enhance_MCSP", "enhance_MCSP_layerlist")
        return (
            Neck(self.body, self.neck_inputs, self.feature_levels, width),
            SinePositions(width, self.position_temperature, self.position_offset),
            # the layer has additional dense attention among the foreground, with its own norm
            Layers(
                "encoder",
                shape,
                ((dense, samples),) * encoders,
                original=(),
                norms=2,
                further=under("norm2", norm(width)),
            ),
            decoder(shape, self.decoder_layers, (dense, samples), original=()),
            Module("transformer", {"alpha": tensor(3)}),
            Module("transformer.enc_mask_predictor", _mask_predictor(width)),
            Module("transformer.enc_output", linear(width, width)),
            Module("transformer.enc_output_norm", norm(width)),
            Module("transformer.tgt_embed", {"weight": tensor(self.learned_queries, width)}),
            Module("transformer.decoder.norm", norm(width)),
            Module("transformer.decoder.ref_point_head", mlp(2 * width, width, width, 2)),
            # all encoder layers score classes by one head, that of the proposals
            HeadLists(
                self.classes,
                self.decoder_layers,
                proposes=True,
                again={encoders: tuple(f"{m}.{i}" for m in modules for i in range(encoders))},
            ),
            LabelEmbedding(
                "label_enc",
                self.classes,
                width,
                unknown=False,
                source_rows=self.classes_cut_from,
            ),
            *self.sizes,
            ConfigValue("model.num_queries", kinds.SIZE, self.num_queries),
        )

    def notes(self) -> tuple[str, ...]:
        return (
            *super().notes(),
            "the weights do not show which share of the tokens each encoder layer attends to: "
            "detrex has constants (half of all tokens, down to a tenth in the last layer)",
            # projects/focus_detr/modeling/transformer_layer.py: topk_sa
            "an image needs about 3000 tokens over all feature maps, so that 300 are left in the "
            "last layer. An image with fewer tokens raises an error (512 x 512 pixels are enough)",
        )


def _mask_predictor(width: int) -> StateDict:
    """detrex's MaskPredictor, which finds the foreground."""
    half, quarter = width // 2, width // 4
    return (
        under("layer1.0", norm(width))
        | under("layer1.1", linear(width, width))
        | under("layer2.0", linear(half, width))
        | under("layer2.2", linear(quarter, half))
        | under("layer2.4", linear(1, quarter))
    )
