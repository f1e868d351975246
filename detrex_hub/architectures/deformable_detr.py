"""Deformable-DETR: fundamentalvision/Deformable-DETR and transformers'
`DeformableDetrForObjectDetection` to detrex's `DeformableDETR`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures import transformers_layout
from detrex_hub.architectures.base import Facts, Layout, LookAlikes, Specs
from detrex_hub.architectures.blocks import linear, tensor
from detrex_hub.architectures.declared import Fact
from detrex_hub.architectures.detector import FACTS, Detector
from detrex_hub.architectures.foreign_models import (
    TransformersModel,
    check_positions,
    needs,
)
from detrex_hub.architectures.heads import HeadLists
from detrex_hub.architectures.neck import Neck, read_levels
from detrex_hub.architectures.parts import ConfigValue, Module, Part
from detrex_hub.architectures.position import SinePositions, position_facts
from detrex_hub.architectures.proposals import in_transformer, proposals
from detrex_hub.architectures.shapes import shape_of
from detrex_hub.architectures.transformer import POINTS
from detrex_hub.architectures.transformer_layers import LayerShape, deformable
from detrex_hub.errors import ArchitectureError

# what identifies the other detectors with deformable attention
OTHERS = (
    "refpoint_embed.weight",
    "tgt_embed.weight",
    "label_enc.weight",
    "transformer.tgt_embed.weight",
    "transformer.decoder.query_scale.**",
    "transformer.pix_trans.weight",
)


def _not_h_detr(query: str) -> Callable[[Specs], str | None]:
    def check(specs: Specs) -> str | None:
        if query in specs and "transformer.enc_output.weight" in specs:
            return f"{query} beside transformer.enc_output.weight, which is H-Deformable-DETR"
        return None

    return check


def _h_detr(queries: str) -> LookAlikes:
    """H-Deformable-DETR in one stage, whose queries are those of both branches: 1800."""
    return LookAlikes(("h_deformable_detr",), queries, (300,))


def _released_proposals(specs: Specs, layout: str, facts: Facts) -> int | None:
    two_stage = any(f"{root}.enc_output.weight" in specs for root in ("transformer", "model"))
    return 300 if two_stage and layout != "detrex" else None


class DeformableDetr(Detector, frozen=True, kw_only=True):
    """Deformable-DETR.

    Args:
        neck_inputs: feature maps of the backbone that the neck reads, the last ones.
        feature_levels: feature maps in all.
        with_box_refine: whether each decoder layer refines the boxes by its own head;
            otherwise all layers share one head.
        as_two_stage: whether the encoder proposes the queries, through a further head; then there
            are no learned queries, and no shape shows ``num_queries``.
        position_temperature, position_offset: of the sine position embedding; None where they are
            not known.
    """

    neck_inputs: int
    feature_levels: int
    with_box_refine: bool
    as_two_stage: bool
    position_temperature: float | None = 10000
    position_offset: float | None = -0.5

    name: ClassVar[str] = "deformable_detr"
    cuts_inverse_sigmoid: ClassVar[bool] = True
    taken_by: ClassVar[frozenset[str]] = frozenset({"projects.deformable_detr.DeformableDETR"})
    facts: ClassVar[Mapping[str, Fact]] = {
        **FACTS,
        **position_facts(10000, -0.5),
        "num_queries": Fact(
            kinds.SIZE,
            "proposals of a two-stage model, 300 in the released one",
            default=_released_proposals,
            assumed=True,
            config=("model.num_queries",),
        ),
    }
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
            wrapped=True,
            present=(
                "transformer.level_embed",
                "transformer.decoder.layers.{i}.cross_attn.sampling_offsets.weight",
                "class_embed.0.weight",
                "input_proj.0.0.weight",
            ),
            absent=OTHERS,
            check=_not_h_detr("query_embed.weight"),
            look_alikes=_h_detr("query_embed.weight"),
        ),
        "transformers": Layout(
            present=(
                "model.level_embed",
                "model.decoder.layers.{i}.encoder_attn.sampling_offsets.weight",
                transformers_layout.TIMM_BACKBONE,
            ),
        ),
        "transformers_no_timm": Layout(
            present=(
                "model.level_embed",
                "model.decoder.layers.{i}.encoder_attn.sampling_offsets.weight",
                transformers_layout.OWN_BACKBONE,
            ),
        ),
        "detrex": Layout(
            present=(
                "transformer.level_embeds",
                "transformer.decoder.layers.{i}.attentions.1.sampling_offsets.weight",
                "neck.convs.0.conv.weight",
            ),
            absent=OTHERS,
            check=_not_h_detr("query_embedding.weight"),
            look_alikes=_h_detr("query_embedding.weight"),
        ),
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> DeformableDetr:
        found = cls.hyper_parameters_in(specs, layout, facts)
        if found["as_two_stage"]:
            found["num_queries"] = facts.get("num_queries")
        else:
            queries = ("query_embed", "model.query_position_embeddings", "query_embedding")
            found["num_queries"] = shape_of(specs, *(f"{name}.weight" for name in queries))[0]
        return cls(**found)

    @classmethod
    def hyper_parameters_in(cls, specs: Specs, layout: str, facts: Facts) -> dict[str, Any]:
        """All but the number of queries."""
        root = "model" if layout in transformers_layout.LAYOUTS else "transformer"
        found = cls.shared(
            specs, layout, facts, "class_embed.0.weight", f"{root}.decoder.class_embed.0.weight"
        )
        found |= read_levels(specs, layout, facts)
        found["position_temperature"] = facts.get("position_temperature")
        found["position_offset"] = facts.get("position_offset")
        found["as_two_stage"] = f"{root}.enc_output.weight" in specs
        found["with_box_refine"] = f"{root}.decoder.bbox_embed.0.layers.0.weight" in specs
        if found["as_two_stage"] and not found["with_box_refine"]:
            raise ArchitectureError(
                "two-stage without box refinement, which neither the original nor detrex can run"
            )
        return found

    @classmethod
    def stated(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        found = super().stated(arguments)
        # otherwise queries are learned, and their number is in the shapes
        if arguments.get("two_stage") is True and not arguments.get("mixed_selection"):
            found["num_queries"] = arguments.get("num_queries")
            # H-Deformable-DETR's script, which trains this model too, counts its branches
            # separately
            branches = [arguments.get(f"num_queries_one2{n}") for n in ("one", "many")]
            if all(map(kinds.COUNT.accepts, branches)):
                found["num_queries"] = sum(branches)
        return found

    def in_transformers(self, layout: str, preprocessing: Mapping[str, Any]) -> TransformersModel:
        read = self.neck_inputs
        fields = self.transformers_config("deformable_detr", layout, preprocessing, read=read)
        check_positions(
            self.name,
            None,
            temperature=self.position_temperature,
            offset=self.position_offset,
            fixed_temperature=10000,
            fixed_offset=-0.5,
        )
        if layout == "transformers" and self.neck_inputs == 1 < self.feature_levels:
            raise ArchitectureError(
                f"it makes {self.feature_levels} feature maps of one stage, and transformers reads "
                "three stages of timm's ResNet then",
                hint="Export for transformers' own ResNet: --to transformers_no_timm",
            )
        two_stage: dict[str, Any] = {"two_stage": self.as_two_stage}
        if self.as_two_stage:
            two_stage["two_stage_num_proposals"] = self.num_queries
        return TransformersModel(
            config={
                **fields,
                **two_stage,
                "architectures": ["DeformableDetrForObjectDetection"],
                "d_model": self.embed_dim,
                "activation_function": "relu",
                "position_embedding_type": "sine",
                "num_feature_levels": self.feature_levels,
                "encoder_n_points": POINTS,
                "decoder_n_points": POINTS,
                "with_box_refine": self.with_box_refine,
            },
            image_processor="DeformableDetrImageProcessor",
            needs=needs(layout),
        )

    @property
    def heads(self) -> HeadLists:
        """Its class heads and box heads."""
        return HeadLists(
            self.classes,
            self.decoder_layers,
            refines=self.with_box_refine,
            proposes=self.as_two_stage,
            by_first_row=True,
        )

    def stored_once(self, layout: str) -> tuple[tuple[str, ...], ...]:
        # transformers 5 ties the class heads of a model with box refinement in one stage
        if layout not in transformers_layout.LAYOUTS or self.as_two_stage:
            return ()
        return tuple(
            tuple(f"class_embed.{i}.{parameter}" for i in range(self.heads.number))
            for parameter in ("weight", "bias")
        )

    @property
    def ranks_proposals(self) -> bool:
        return self.as_two_stage

    def parts(self) -> tuple[Part, ...]:
        return (
            *self.parts_without_queries(),
            *(() if self.as_two_stage else (self._learned_queries(),)),
            ConfigValue("model.num_queries", kinds.SIZE, self.num_queries),
        )

    def parts_without_queries(self) -> tuple[Part, ...]:
        """The fields shared with H-Deformable-DETR."""
        width = self.embed_dim
        shape = LayerShape(width, self.feedforward_dim, self.num_heads)
        return (
            Neck(self.body, self.neck_inputs, self.feature_levels, width),
            SinePositions(width, self.position_temperature, self.position_offset),
            *deformable(shape, self.encoder_layers, self.decoder_layers, self.feature_levels),
            *(proposals(width) if self.as_two_stage else self._one_stage()),
            self.heads,
            *self.sizes,
            ConfigValue("model.with_box_refine", kinds.FLAG, self.with_box_refine),
            ConfigValue("model.as_two_stage", kinds.FLAG, self.as_two_stage),
        )

    def _one_stage(self) -> tuple[Part, ...]:
        return (in_transformer("reference_points", linear(2, self.embed_dim)),)

    def _learned_queries(self) -> Part:
        return Module(
            "query_embedding",
            {"weight": tensor(self.learned_queries, 2 * self.embed_dim)},
            original="query_embed",
            transformers="model.query_position_embeddings",
        )
