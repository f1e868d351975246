"""DINO: IDEA-Research/DINO to detrex's `DINO`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from detrex_hub.architectures.base import Fact, Facts, Layout, LookAlikes, Specs
from detrex_hub.architectures.blocks import StateDict, norm, tensor, under
from detrex_hub.architectures.detection import FACTS, position_facts, shape_of
from detrex_hub.architectures.multi_level import MultiLevelDetector
from detrex_hub.architectures.transformer import mlp
from detrex_hub.mapping import Rename, Rows, Rule, Take

_KEPT: tuple[Rule, ...] = (
    Rename("transformer.tgt_embed.weight", "transformer.tgt_embed.weight"),
    Rename("transformer.enc_output.*", "transformer.enc_output.*"),
    Rename("transformer.enc_output_norm.*", "transformer.enc_output_norm.*"),
    Rename("transformer.decoder.norm.*", "transformer.decoder.norm.*"),
    Rename("transformer.decoder.ref_point_head.**", "transformer.decoder.ref_point_head.**"),
)


@dataclass(frozen=True, kw_only=True)
class Dino(MultiLevelDetector):
    """DINO.

    Args:
        label_rows: rows of the original's embedding of labels, which has at least one more than
            there are classes; None where it has as many as detrex's.
    """

    label_rows: int | None = None
    # detrex's 12-epoch configs have 10000 and -0.5, with which the originals' boxes are off
    position_temperature: float | None = 20
    position_offset: float | None = 0.0

    name: ClassVar[str] = "dino"
    taken_by: ClassVar[frozenset[str]] = frozenset({"projects.dino.DINO", "projects.dino_eva.DINO"})
    facts: ClassVar[Mapping[str, Fact]] = {**FACTS, **position_facts(20, 0.0)}
    takes_temperature: ClassVar[bool] = True
    # its authors put ResNets alone below a body
    other_body_prefixes: ClassVar[Mapping[str, str]] = {
        "original": "backbone.0.",
        "detrex": "backbone.",
    }
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
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
            look_alikes=LookAlikes(("align_detr",), "transformer.tgt_embed.weight", (900,)),
        ),
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> Dino:
        found = cls.common(specs, layout, facts, "class_embed.0.weight")
        rows = shape_of(specs, "label_enc.weight")[0]
        return cls(
            num_queries=shape_of(specs, "transformer.tgt_embed.weight")[0],
            label_rows=None if rows == found["num_classes"] else rows,
            **found,
        )

    @property
    def proposes(self) -> bool:
        return True

    def transformer_rules(self, layout: str) -> tuple[Rule, ...]:
        return (*super().transformer_rules(layout), *_KEPT)

    def head_rules(self, layout: str) -> tuple[Rule, ...]:
        rules: list[Rule] = []
        for prefix in ("", "transformer.decoder."):
            for i in range(self.decoder_layers):
                classes, boxes = f"{prefix}class_embed.{i}", f"{prefix}bbox_embed.{i}"
                rules += self.class_head(classes, classes)
                rules.append(Rename(f"{boxes}.**", f"{boxes}.**"))
        # detrex holds the encoder's heads in the decoder's list too: ties
        last = self.decoder_layers
        rules += self.class_head("transformer.enc_out_class_embed", f"class_embed.{last}")
        rules.append(Rename("transformer.enc_out_bbox_embed.**", f"bbox_embed.{last}.**"))
        return (*rules, self.label_rule("label_enc.weight", "label_enc.weight"))

    def label_rule(self, source: str, target: str) -> Rule:
        of = self.label_rows
        if of is None:
            return Rename(source, target)
        if self.chosen is not None:
            return Take(source, target, self.chosen.labels(of, unknown=False))
        # the original's further rows are read by nothing
        return Take(source, target, Rows(f"first{self.num_classes}", of, ((0, self.num_classes),)))

    def detector_target(self) -> StateDict:
        width = self.embed_dim
        return (
            super().detector_target()
            | under("transformer.decoder.norm", norm(width))
            | under("transformer.decoder.ref_point_head", mlp(2 * width, width, width, 2))
            | {
                "transformer.tgt_embed.weight": tensor(self.learned_queries, width),
                "label_enc.weight": tensor(self.num_classes, width),
            }
        )
