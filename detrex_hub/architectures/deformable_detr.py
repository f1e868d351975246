"""Deformable-DETR: fundamentalvision/Deformable-DETR and transformers'
`DeformableDetrForObjectDetection` to detrex's `DeformableDETR`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from detrex_hub.architectures import coco, transformer, transformers_layout
from detrex_hub.architectures.base import Facts, Layout, Specs
from detrex_hub.architectures.blocks import StateDict, linear, norm, tensor, under
from detrex_hub.architectures.detection import (
    MultiLevelDetector,
    box_layers,
    class_layers,
    shape_of,
)
from detrex_hub.errors import ArchitectureError
from detrex_hub.mapping import Rename, Rule

_ORIGINAL: tuple[Rule, ...] = (
    *transformer.encoder(*transformer.DEFORMABLE_ENCODER_LAYER),
    *transformer.decoder(*transformer.DEFORMABLE_DECODER_LAYER),
)
_TRANSFORMERS: tuple[Rule, ...] = (
    *transformers_layout.encoder(*transformers_layout.DEFORMABLE_ENCODER_LAYER),
    *transformers_layout.decoder(*transformers_layout.DEFORMABLE_DECODER_LAYER),
)

_TWO_STAGE = ("enc_output", "enc_output_norm", "pos_trans", "pos_trans_norm")

# what tells the other detectors with deformable attention
_OTHERS = (
    "refpoint_embed.weight",
    "tgt_embed.weight",
    "label_enc.weight",
    "transformer.tgt_embed.weight",
    "transformer.decoder.query_scale.**",
)


def _not_h_detr(query: str) -> Any:
    def check(specs: Specs) -> str | None:
        if query in specs and "transformer.enc_output.weight" in specs:
            return f"{query} beside transformer.enc_output.weight, which is H-Deformable-DETR"
        return None

    return check


@dataclass(frozen=True, kw_only=True)
class DeformableDetr(MultiLevelDetector):
    """Deformable-DETR.

    Args:
        with_box_refine: whether each decoder layer refines the boxes by a head of its own;
            otherwise all layers share one head.
        as_two_stage: whether the encoder proposes the queries, through a further head; then there
            are no learned queries, and ``num_queries``, which no shape shows, is what detrex's
            config has.
    """

    with_box_refine: bool
    as_two_stage: bool
    position_offset: float = -0.5

    name: ClassVar[str] = "deformable_detr"
    facts: ClassVar[Mapping[str, str]] = {
        **MultiLevelDetector.facts,
        "num_queries": "proposals of a two-stage model, 300 in the released one",
    }
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
            present=(
                "transformer.level_embed",
                "transformer.decoder.layers.{i}.cross_attn.sampling_offsets.weight",
                "class_embed.0.weight",
                "input_proj.0.0.weight",
            ),
            absent=_OTHERS,
            check=_not_h_detr("query_embed.weight"),
        ),
        "transformers": Layout(
            present=(
                "model.level_embed",
                "model.decoder.layers.{i}.encoder_attn.sampling_offsets.weight",
                f"{transformers_layout.BACKBONE}conv1.weight",
            ),
        ),
        "transformers_no_timm": Layout(
            present=(
                "model.level_embed",
                "model.decoder.layers.{i}.encoder_attn.sampling_offsets.weight",
                f"{transformers_layout.BACKBONE}embedder.embedder.convolution.weight",
            ),
        ),
        "detrex": Layout(
            present=(
                "transformer.level_embeds",
                "transformer.decoder.layers.{i}.attentions.1.sampling_offsets.weight",
                "neck.convs.0.conv.weight",
            ),
            absent=_OTHERS,
            check=_not_h_detr("query_embedding.weight"),
        ),
    }

    @classmethod
    def read(cls, specs: Specs, layout: str, facts: Facts) -> DeformableDetr:
        heads = ("class_embed.0.weight", "model.decoder.class_embed.0.weight")
        found = cls.common(specs, layout, facts, *heads, "transformer.decoder.class_embed.0.weight")
        root = "transformer" if layout in ("original", "detrex") else "model"
        two_stage = f"{root}.enc_output.weight" in specs
        refine = f"{root}.decoder.bbox_embed.0.layers.0.weight" in specs
        if two_stage and not refine:
            raise ArchitectureError(
                "two-stage without box refinement, which neither the original nor detrex can run"
            )
        queries = (
            (facts.get("num_queries", 300),)
            if two_stage
            else shape_of(
                specs,
                "query_embed.weight",
                "model.query_position_embeddings.weight",
                "query_embedding.weight",
            )
        )
        return cls(num_queries=queries[0], with_box_refine=refine, as_two_stage=two_stage, **found)

    def transformer_rules(self, layout: str) -> tuple[Rule, ...]:
        original = layout == "original"
        root = "transformer" if original else "model"
        rules = [*super().transformer_rules(layout), *(_ORIGINAL if original else _TRANSFORMERS)]
        if self.as_two_stage:
            rules += [Rename(f"{root}.{name}.*", f"transformer.{name}.*") for name in _TWO_STAGE]
        else:
            queries = "query_embed" if original else "model.query_position_embeddings"
            rules += [
                Rename(f"{root}.reference_points.*", "transformer.reference_points.*"),
                Rename(f"{queries}.weight", "query_embedding.weight"),
            ]
        return tuple(rules)

    def head_rules(self, layout: str) -> tuple[Rule, ...]:
        root = "transformer" if layout == "original" else "model"
        rules: list[Rule] = [Rename("bbox_embed.{i}.**", "bbox_embed.{i}.**")]
        rules += self._class_heads("class_embed", "class_embed")
        if self.with_box_refine:
            twin = Rename(
                f"{root}.decoder.bbox_embed.{{i}}.**", "transformer.decoder.bbox_embed.{i}.**"
            )
            rules.append(twin)
        if self.as_two_stage:
            rules += self._class_heads(
                f"{root}.decoder.class_embed", "transformer.decoder.class_embed"
            )
        return tuple(rules)

    def _class_heads(self, source: str, target: str) -> list[Rule]:
        rules = [
            self.class_head(f"{source}.{i}.*", f"{target}.{i}.*")
            for i in range(self.decoder_layers)
        ]
        if self.as_two_stage:
            # proposals are ranked by the first row alone, which is of no category
            i = self.decoder_layers
            rows = coco.first(80, of=self.classes_cut_from or 80)
            rules.append(self.class_head(f"{source}.{i}.*", f"{target}.{i}.*", rows))
        return rules

    @property
    def heads(self) -> int:
        """Class heads and box heads: one for each decoder layer, and one for proposals."""
        return self.decoder_layers + self.as_two_stage

    def detector_target(self) -> StateDict:
        width, levels = self.embed_dim, self.feature_levels
        ffn = transformer.feed_forward(width, self.feedforward_dim)
        attention = transformer.attention(width)
        deformable = transformer.deformable_attention(width, self.num_heads, levels)
        classes = class_layers(self.heads, width, self.num_classes)
        boxes = box_layers(self.heads, width)
        target = super().detector_target()
        for i in range(self.encoder_layers):
            target |= under(
                f"transformer.encoder.layers.{i}",
                transformer.layer(deformable, width=width, ffn=ffn),
            )
        for i in range(self.decoder_layers):
            target |= under(
                f"transformer.decoder.layers.{i}",
                transformer.layer(attention, deformable, width=width, ffn=ffn),
            )
        target |= under("class_embed", classes) | under("bbox_embed", boxes)
        if self.with_box_refine:
            target |= under("transformer.decoder.bbox_embed", boxes)
        if self.as_two_stage:
            target |= under("transformer.decoder.class_embed", classes)
            target |= under("transformer.enc_output", linear(width, width))
            target |= under("transformer.enc_output_norm", norm(width))
            target |= under("transformer.pos_trans", linear(2 * width, 2 * width))
            target |= under("transformer.pos_trans_norm", norm(2 * width))
        else:
            target |= under("transformer.reference_points", linear(2, width))
            target["query_embedding.weight"] = tensor(self.num_queries, 2 * width)
        return target

    def ties(self) -> tuple[tuple[str, ...], ...]:
        classes = class_layers(self.heads, self.embed_dim, self.num_classes)
        boxes = box_layers(self.heads, self.embed_dim)
        if not self.with_box_refine:
            return (*shared("class_embed", classes), *shared("bbox_embed", boxes))
        groups = twins("bbox_embed", boxes)
        return groups + twins("class_embed", classes) if self.as_two_stage else groups

    def detector_overrides(self) -> dict[str, Any]:
        return super().detector_overrides() | {
            "model.with_box_refine": self.with_box_refine,
            "model.as_two_stage": self.as_two_stage,
        }


def shared(name: str, module: StateDict) -> tuple[tuple[str, ...], ...]:
    """Ties of a list whose elements are all one module."""
    groups: dict[str, list[str]] = {}
    for key in module:
        groups.setdefault(key.split(".", 1)[1], []).append(f"{name}.{key}")
    return tuple(tuple(group) for group in groups.values())


def twins(name: str, module: StateDict) -> tuple[tuple[str, ...], ...]:
    """Ties of a module that the decoder holds a second time."""
    return tuple((f"{name}.{key}", f"transformer.decoder.{name}.{key}") for key in module)
