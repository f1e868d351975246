"""DETA: jozhang97/DETA to detrex's `DeformableDETR` of ``projects/deta``, and the improved
Deformable-DETR that it is compared with, which has the same tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures.base import Facts, Layout, Specs
from detrex_hub.architectures.blocks import linear, norm
from detrex_hub.architectures.declared import Fact, released
from detrex_hub.architectures.detector import FACTS, Detector
from detrex_hub.architectures.heads import HeadLists
from detrex_hub.architectures.neck import Neck, read_levels
from detrex_hub.architectures.parts import ConfigValue, Module, Part
from detrex_hub.architectures.position import SinePositions, position_facts
from detrex_hub.architectures.proposals import proposals
from detrex_hub.architectures.transformer_layers import LayerShape, deformable

_FIRST = "model.transformer.assign_first_stage"
_SECOND = "model.criterion.assign_second_stage"


class Deta(Detector, frozen=True, kw_only=True):
    """DETA, and its baseline. Always two stages with box refinement.

    Args:
        neck_inputs: feature maps of the backbone that the neck reads, the last ones.
        feature_levels: feature maps in all.
        assign_first_stage: whether proposals were assigned by overlap. NMS in each feature map then
            chooses them; otherwise the best ones are taken. None if it is not known.
        assign_second_stage: the same for the detections, which then end in NMS.
        position_temperature, position_offset: of the sine position embedding; None where they are
            not known.
    """

    neck_inputs: int
    feature_levels: int
    assign_first_stage: bool | None = True
    assign_second_stage: bool | None = True
    position_temperature: float | None = 10000
    position_offset: float | None = -0.5

    name: ClassVar[str] = "deta"
    not_in_transformers: ClassVar[str | None] = (
        "transformers 5 no longer has DETA, whose proposals are chosen by overlap"
    )
    taken_by: ClassVar[frozenset[str]] = frozenset({"projects.deta.DeformableDETR"})
    facts: ClassVar[Mapping[str, Fact]] = {
        **FACTS,
        **position_facts(10000, -0.5),
        "num_queries": Fact(
            kinds.SIZE,
            "proposals, 900 in the released models",
            default=released(900),
            assumed=True,
            config=("model.num_queries",),
        ),
        # a wrong value changes logits by 1.35 and boxes by 0.94
        "assign_first_stage": Fact(
            kinds.FLAG,
            "whether proposals are assigned by overlap: DETA, and not its baseline",
            default=released(True),
            assumed=True,
            config=(_FIRST,),
        ),
        "assign_second_stage": Fact(
            kinds.FLAG,
            "whether detections are assigned by overlap: DETA, and not its baseline",
            default=released(True),
            assumed=True,
            config=(_SECOND,),
        ),
    }
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
            wrapped=True,
            present=(
                "transformer.level_embed",
                "transformer.pix_trans.weight",
                "class_embed.0.weight",
                "input_proj.0.0.weight",
            ),
            note="boxes at the border of an image can differ from the original's: the inverse "
            "sigmoid has an epsilon of 1e-3 in detrex and of 1e-5 in the original",
        ),
        "detrex": Layout(
            present=(
                "transformer.level_embeds",
                "transformer.pix_trans.weight",
                "class_embed.0.weight",
                "neck.convs.0.conv.weight",
            ),
        ),
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> Deta:
        found = cls.shared(specs, layout, facts, "class_embed.0.weight")
        found |= read_levels(specs, layout, facts)
        stated = ("num_queries", "assign_first_stage", "assign_second_stage")
        for name in (*stated, "position_temperature", "position_offset"):
            found[name] = facts.get(name)
        return cls(**found)

    @classmethod
    def stated(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        names = ("num_queries", "assign_first_stage", "assign_second_stage")
        return super().stated(arguments) | {name: arguments.get(name) for name in names}

    def parts(self) -> tuple[Part, ...]:
        width = self.embed_dim
        shape = LayerShape(width, self.feedforward_dim, self.num_heads)
        return (
            Neck(self.body, self.neck_inputs, self.feature_levels, width),
            SinePositions(width, self.position_temperature, self.position_offset),
            *deformable(shape, self.encoder_layers, self.decoder_layers, self.feature_levels),
            *proposals(width),
            Module("transformer.pix_trans", linear(width, width)),
            Module("transformer.pix_trans_norm", norm(width)),
            HeadLists(self.classes, self.decoder_layers, proposes=True, by_first_row=True),
            *self.sizes,
            ConfigValue("model.num_queries", kinds.SIZE, self.num_queries),
            ConfigValue("model.with_box_refine", kinds.FLAG, True),
            ConfigValue("model.as_two_stage", kinds.FLAG, True),
            ConfigValue(_FIRST, kinds.FLAG, self.assign_first_stage),
            ConfigValue("model.criterion.assign_first_stage", kinds.FLAG, self.assign_first_stage),
            ConfigValue(_SECOND, kinds.FLAG, self.assign_second_stage),
        )

    def notes(self) -> tuple[str, ...]:
        notes = super().notes()
        if self.assign_first_stage is False:
            return notes
        # projects/deta/modeling/deformable_transformer.py, and the original
        return (
            *notes,
            "proposals are chosen from 1000 tokens over all feature maps: an image with fewer "
            "tokens raises an error (256 x 320 pixels are enough)",
        )
