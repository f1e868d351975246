"""Detectors on several feature maps, with deformable attention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures import transformer, transformers_layout
from detrex_hub.architectures.base import Fact, Facts, Specs
from detrex_hub.architectures.blocks import StateDict, conv, linear, norm, tensor, under
from detrex_hub.architectures.detection import (
    FACTS,
    TransformerDetector,
    position_facts,
    shape_of,
)
from detrex_hub.architectures.transformer import POINTS
from detrex_hub.errors import ArchitectureError
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Rename, Rule, indices

_ORIGINAL: tuple[Rule, ...] = (
    *transformer.encoder(*transformer.DEFORMABLE_ENCODER_LAYER),
    *transformer.decoder(*transformer.DEFORMABLE_DECODER_LAYER),
)
_TRANSFORMERS: tuple[Rule, ...] = (
    *transformers_layout.encoder(*transformers_layout.DEFORMABLE_ENCODER_LAYER),
    *transformers_layout.decoder(*transformers_layout.DEFORMABLE_DECODER_LAYER),
)


@dataclass(frozen=True, kw_only=True)
class MultiLevelDetector(TransformerDetector):
    """A detector with deformable attention on several feature maps.

    Args:
        neck_inputs: feature maps that the backbone gives, its last ones.
        feature_levels: feature maps in all, the further ones by convolutions with stride 2.
    """

    neck_inputs: int
    feature_levels: int
    position_offset: float | None = -0.5

    facts: ClassVar[Mapping[str, Fact]] = {**FACTS, **position_facts(10000, -0.5)}
    lazy_paths: ClassVar[Mapping[str, Kind]] = {
        **TransformerDetector.lazy_paths,
        "model.neck.in_features": kinds.FEATURES,
        "model.neck.input_shapes.*.channels": kinds.SIZE,
        "model.neck.norm_layer.num_channels": kinds.SIZE,
        "model.neck.num_outs": kinds.SIZE,
        "model.neck.out_channels": kinds.SIZE,
        "model.transformer.num_feature_levels": kinds.SIZE,
    }
    proposals_by_first_row: ClassVar[bool] = False
    """Whether the encoder's proposals are ranked by the first row of their class head alone."""

    @property
    def refines(self) -> bool:
        """Whether each decoder layer refines the boxes by a head of its own; otherwise all layers
        share one class head and one box head."""
        return True

    @property
    def proposes(self) -> bool:
        """Whether the encoder proposes queries, through a further class head and box head."""
        return False

    @property
    def heads(self) -> int:
        """Class heads and box heads: one for each decoder layer, and one for proposals."""
        return self.decoder_layers + self.proposes

    @classmethod
    def common(cls, specs: Specs, layout: str, facts: Facts, *heads: str) -> dict[str, Any]:
        found = super().common(specs, layout, facts, *heads)
        found["feature_levels"] = shape_of(
            specs, "transformer.level_embed", "model.level_embed", "transformer.level_embeds"
        )[0]
        names = {"original": "input_proj.{i}.0.weight", "detrex": "neck.convs.{i}.conv.weight"}
        projection = names.get(layout, "model.input_proj.{i}.0.weight")
        # the backbone's feature maps are projected by 1x1 convolutions, the further ones by 3x3
        found["neck_inputs"] = sum(
            shape_of(specs, projection.replace("{i}", str(i)), dimensions=4)[-1] == 1
            for i in indices(specs, projection)
        )
        found["num_heads"] = _num_heads(specs, layout, facts, found["feature_levels"])
        return found

    def transformer_rules(self, layout: str) -> tuple[Rule, ...]:
        original = layout == "original"
        prefix = "input_proj." if original else "model.input_proj."
        rules = list(_ORIGINAL if original else _TRANSFORMERS)
        for i in range(self.neck_inputs):
            rules.append(Rename(f"{prefix}{i}.0.*", f"neck.convs.{i}.conv.*"))
            rules.append(Rename(f"{prefix}{i}.1.*", f"neck.convs.{i}.norm.*"))
        if self.feature_levels > self.neck_inputs:
            after = f"{prefix}{{i+{self.neck_inputs}}}"
            rules.append(Rename(f"{after}.0.*", "neck.extra_convs.{i}.conv.*"))
            rules.append(Rename(f"{after}.1.*", "neck.extra_convs.{i}.norm.*"))
        root = "transformer" if original else "model"
        rules.append(Rename(f"{root}.level_embed", "transformer.level_embeds"))
        return tuple(rules)

    def head_rules(self, layout: str) -> tuple[Rule, ...]:
        root = "transformer" if layout == "original" else "model"
        rules: list[Rule] = [Rename("bbox_embed.{i}.**", "bbox_embed.{i}.**")]
        rules += self.class_heads("class_embed", "class_embed")
        if self.refines:
            boxes = f"{root}.decoder.bbox_embed.{{i}}.**"
            rules.append(Rename(boxes, "transformer.decoder.bbox_embed.{i}.**"))
        if self.proposes:
            twins = (f"{root}.decoder.class_embed", "transformer.decoder.class_embed")
            rules += self.class_heads(*twins)
        return tuple(rules)

    def class_heads(self, source: str, target: str) -> list[Rule]:
        """Rules of a list of class heads."""
        rules: list[Rule] = []
        for i in range(self.heads):
            names = f"{source}.{i}", f"{target}.{i}"
            rules += self.class_head(*names, proposals=self.ranks_proposals(names[1]))
        return rules

    def ranks_proposals(self, head: str) -> bool:
        return self.proposals_by_first_row and head.endswith(f".{self.decoder_layers}")

    @property
    def features(self) -> dict[str, int]:
        """Names and channels of the backbone's feature maps that are used."""
        return dict(list(self.body.out_channels.items())[-self.neck_inputs :])

    def detector_target(self) -> StateDict:
        width = self.embed_dim
        ffn = transformer.feed_forward(width, self.feedforward_dim)
        attention = transformer.attention(width)
        deformable = transformer.deformable_attention(
            width, self.num_heads or 8, self.feature_levels
        )
        target: StateDict = {"transformer.level_embeds": tensor(self.feature_levels, width)}
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
        target |= under("neck", self._neck())
        target |= under("class_embed", self._class_embed())
        target |= under("bbox_embed", self._bbox_embed())
        if self.refines:
            target |= under("transformer.decoder.bbox_embed", self._bbox_embed())
        if self.proposes:
            target |= under("transformer.decoder.class_embed", self._class_embed())
            target |= under("transformer.enc_output", linear(width, width))
            target |= under("transformer.enc_output_norm", norm(width))
        return target

    def _neck(self) -> StateDict:
        channels = list(self.features.values())
        module: StateDict = {}
        for i, number in enumerate(channels):
            module |= under(f"convs.{i}.conv", conv(self.embed_dim, number, 1))
            module |= under(f"convs.{i}.norm", norm(self.embed_dim))
        for i in range(self.feature_levels - self.neck_inputs):
            number = self.embed_dim if i else channels[-1]
            module |= under(f"extra_convs.{i}.conv", conv(self.embed_dim, number, 3))
            module |= under(f"extra_convs.{i}.norm", norm(self.embed_dim))
        return module

    def _class_embed(self) -> StateDict:
        module: StateDict = {}
        for i in range(self.heads):
            module |= under(str(i), linear(self.num_classes, self.embed_dim))
        return module

    def _bbox_embed(self) -> StateDict:
        module: StateDict = {}
        for i in range(self.heads):
            module |= under(str(i), self.box_head())
        return module

    def ties(self) -> tuple[tuple[str, ...], ...]:
        classes = under("class_embed", self._class_embed())
        boxes = under("bbox_embed", self._bbox_embed())
        if not self.refines:
            shared: dict[tuple[str, str], list[str]] = {}
            for key in (*classes, *boxes):
                head, _, parameter = key.split(".", 2)
                shared.setdefault((head, parameter), []).append(key)
                if self.proposes and head == "class_embed":
                    shared[head, parameter].append(f"transformer.decoder.{key}")
            return tuple(map(tuple, shared.values()))
        twice = (*boxes, *classes) if self.proposes else tuple(boxes)
        return tuple((key, f"transformer.decoder.{key}") for key in twice)

    def detector_overrides(self) -> dict[str, Any]:
        stages = range(len(self.body.out_channels))[-self.neck_inputs :]
        # the neck takes as many feature maps as it reads, and no more
        return super().detector_overrides() | {
            **self.body.returning(stages),
            "model.neck.in_features": list(self.features),
            "model.neck.out_channels": self.embed_dim,
            "model.neck.norm_layer.num_channels": self.embed_dim,
            "model.neck.num_outs": self.feature_levels,
            "model.transformer.num_feature_levels": self.feature_levels,
            **{
                f"model.neck.input_shapes.{name}.channels": channels
                for name, channels in self.features.items()
            },
        }


def _num_heads(specs: Specs, layout: str, facts: Facts, levels: int) -> int:
    """Heads of deformable attention.

    Shapes show heads x points. detrex has 4 points always; an original may have another number of
    them, so that there anything but 8 heads has to be told.

    Raises:
        ArchitectureError: the number of heads is not as told, or not certain.
    """
    rows = {
        spec.shape[0]
        for key, spec in specs.items()
        if key.endswith(".attention_weights.weight") and spec.shape
    }
    heads = max(rows, default=0) // (levels * POINTS)
    if rows != {heads * levels * POINTS}:
        raise ArchitectureError(
            f"attention weights have {sorted(rows)} rows, which are no heads x {levels} levels x "
            f"{POINTS} points, as detrex has them"
        )
    told = facts.get("num_heads", heads)
    if told != heads:
        raise ArchitectureError(
            f"attention weights have {heads * POINTS} rows a level: {heads} heads with {POINTS} "
            f"points, as detrex has them, and not {told}",
            hint=f"If there are {heads} heads, say so with --fact num_heads={heads}",
        )
    return heads


@dataclass(frozen=True, kw_only=True)
class AnchoredMultiLevelDetector(MultiLevelDetector):
    """DAB-Deformable-DETR, and DN-Deformable-DETR, which adds denoising: queries are anchor boxes,
    whose positions the decoder embeds and scales."""

    def transformer_rules(self, layout: str) -> tuple[Rule, ...]:
        kept = ("transformer.decoder.query_scale.**", "transformer.decoder.ref_point_head.**")
        return (*super().transformer_rules(layout), *(Rename(text, text) for text in kept))

    def detector_target(self) -> StateDict:
        width = self.embed_dim
        return (
            super().detector_target()
            | under("transformer.decoder.query_scale", transformer.mlp(width, width, width, 2))
            | under(
                "transformer.decoder.ref_point_head", transformer.mlp(2 * width, width, width, 2)
            )
        )
