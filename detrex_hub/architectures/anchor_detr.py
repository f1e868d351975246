"""Anchor-DETR: megvii-research/AnchorDETR to detrex's `AnchorDETR`.

detrex took the original over as it is: backbone, transformer and heads keep their names, and the
backbone is `TorchvisionResNet` whether dilated or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures.base import Fact, Facts, Layout, Specs
from detrex_hub.architectures.blocks import StateDict, conv, linear, norm, tensor, under
from detrex_hub.architectures.detection import FACTS, Detector, shape_of
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Rename, Rule

# rows of in_proj of the encoder's attention, in widths: queries and keys for rows and for columns
_ATTENTIONS = {5: "RCDA", 3: "nn.MultiheadAttention"}

_SIDES = ("encoder", "decoder")


def _released_points(specs: Specs, layout: str, facts: Facts) -> int | None:
    return None if layout == "detrex" or "transformer.position.weight" in specs else 300


@dataclass(frozen=True, kw_only=True)
class AnchorDetr(Detector):
    """Anchor-DETR.

    Args:
        num_queries: anchor points, each of which asks once with every pattern.
        num_patterns: patterns of a query.
        attention_type: ``RCDA`` (row-column decoupled attention) or ``nn.MultiheadAttention``.
        spatial_prior: ``learned`` anchor points or a ``grid``, of which no shape shows the number.
    """

    num_patterns: int
    attention_type: str = "RCDA"
    spatial_prior: str = "learned"

    name: ClassVar[str] = "anchor_detr"
    taken_by: ClassVar[frozenset[str]] = frozenset({"AnchorDETR"})
    on_torchvision: ClassVar[bool] = True
    body_prefixes: ClassVar[Mapping[str, str]] = {
        "original": "backbone.body.",
        "detrex": "backbone.",
    }
    facts: ClassVar[Mapping[str, Fact]] = {
        **FACTS,
        "num_queries": Fact(
            kinds.SIZE,
            "anchor points of a grid, 300 in detrex's config",
            default=_released_points,
            assumed=True,
            config=("model.transformer.num_query_position",),
        ),
    }
    lazy_paths: ClassVar[Mapping[str, Kind]] = {
        **Detector.lazy_paths,
        "model.in_channels": kinds.SIZE,
        "model.transformer.attention_type": kinds.Choice(*_ATTENTIONS.values()),
        "model.transformer.dim_feedforward": kinds.SIZE,
        "model.transformer.embed_dim": kinds.SIZE,
        "model.transformer.num_classes": kinds.SIZE,
        "model.transformer.num_decoder_layers": kinds.SIZE,
        "model.transformer.num_encoder_layers": kinds.SIZE,
        "model.transformer.num_heads": kinds.SIZE,
        "model.transformer.num_query_pattern": kinds.SIZE,
        "model.transformer.num_query_position": kinds.SIZE,
        "model.transformer.spatial_prior": kinds.Choice("learned", "grid"),
    }
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
            present=(
                "transformer.encoder_layers.{i}.self_attn.in_proj_weight",
                "transformer.adapt_pos2d.0.weight",
                "transformer.pattern.weight",
                "input_proj.0.0.weight",
            ),
        ),
        "detrex": Layout(
            present=(
                "transformer.encoder_layers.{i}.self_attn.in_proj_weight",
                "transformer.adapt_pos2d.0.weight",
                "transformer.pattern.weight",
                "input_proj.0.weight",
            ),
        ),
    }
    layer_keys: ClassVar[Mapping[str, tuple[str, ...]]] = {
        side: (f"transformer.{side}_layers.{{i}}.ffn.linear1.weight",) for side in _SIDES
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> AnchorDetr:
        found = cls.common(specs, layout, facts, "transformer.class_embed.0.weight")
        rows = shape_of(specs, "transformer.encoder_layers.0.self_attn.in_proj_weight")[0]
        learned = "transformer.position.weight" in specs
        return cls(
            num_queries=shape_of(specs, "transformer.position.weight")[0]
            if learned
            else facts.get("num_queries"),
            num_patterns=shape_of(specs, "transformer.pattern.weight")[0],
            attention_type=_ATTENTIONS.get(rows // found["embed_dim"], "RCDA"),
            spatial_prior="learned" if learned else "grid",
            **found,
        )

    @classmethod
    def told(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        found = super().told(arguments)
        if arguments.get("spatial_prior") == "grid":
            found["num_queries"] = arguments.get("num_query_position")
        return found

    def transformer_rules(self, layout: str) -> tuple[Rule, ...]:
        kept = [
            *(f"transformer.{side}_layers.{{i}}.**" for side in _SIDES),
            "transformer.adapt_pos1d.**",
            "transformer.adapt_pos2d.**",
            "transformer.pattern.weight",
        ]
        if self.spatial_prior == "learned":
            kept.append("transformer.position.weight")
        return (
            Rename("input_proj.0.0.*", "input_proj.0.*"),
            Rename("input_proj.0.1.*", "input_proj.1.*"),
            *(Rename(text, text) for text in kept),
        )

    def head_rules(self, layout: str) -> tuple[Rule, ...]:
        classes, boxes = "transformer.class_embed.{i}", "transformer.bbox_embed.{i}.**"
        return (*self.class_head(classes, classes), Rename(boxes, boxes))

    def detector_target(self) -> StateDict:
        width = self.embed_dim
        parts = {name: number for number, name in _ATTENTIONS.items()}[self.attention_type]
        target = under("input_proj.0", conv(width, self.body.out_channels["res5"], 1))
        target |= under("input_proj.1", norm(width))
        for i in range(self.encoder_layers):
            encoder = (
                under("self_attn", _attention(width, parts))
                | under("norm1", norm(width))
                | under("ffn", self._feed_forward())
            )
            target |= under(f"transformer.encoder_layers.{i}", encoder)
        for i in range(self.decoder_layers):
            decoder = (
                under("cross_attn", _attention(width, parts))
                | under("norm1", norm(width))
                | under("self_attn", _attention(width, 3))
                | under("norm2", norm(width))
                | under("ffn", self._feed_forward())
            )
            target |= under(f"transformer.decoder_layers.{i}", decoder)
            target |= under(f"transformer.class_embed.{i}", linear(self.num_classes, width))
            target |= under(f"transformer.bbox_embed.{i}", self.box_head())
        for name in ("adapt_pos1d", "adapt_pos2d"):
            for i in (0, 2):
                target |= under(f"transformer.{name}.{i}", linear(width, width))
        target["transformer.pattern.weight"] = tensor(self.num_patterns, width)
        if self.spatial_prior == "learned":
            target["transformer.position.weight"] = tensor(self.learned_queries, 2)
        return target

    def _feed_forward(self) -> StateDict:
        width, hidden = self.embed_dim, self.feedforward_dim
        return (
            under("linear1", linear(hidden, width))
            | under("linear2", linear(width, hidden))
            | under("norm2", norm(width))
        )

    def ties(self) -> tuple[tuple[str, ...], ...]:
        classes = [f"class_embed.{{i}}.{name}" for name in linear(1, 1)]
        boxes = [f"bbox_embed.{{i}}.{name}" for name in self.box_head()]
        return tuple(
            tuple(f"transformer.{text.format(i=i)}" for i in range(self.decoder_layers))
            for text in (*classes, *boxes)
        )

    def detector_overrides(self) -> dict[str, Any]:
        in_no_shape = {
            "model.transformer.num_heads": self.num_heads,
            "model.transformer.num_query_position": self.num_queries,
        }
        return {path: value for path, value in in_no_shape.items() if value is not None} | {
            "model.in_channels": self.body.out_channels["res5"],
            "model.embed_dim": self.embed_dim,
            "model.criterion.num_classes": self.num_classes,
            "model.transformer.num_classes": self.num_classes,
            "model.transformer.embed_dim": self.embed_dim,
            "model.transformer.num_encoder_layers": self.encoder_layers,
            "model.transformer.num_decoder_layers": self.decoder_layers,
            "model.transformer.dim_feedforward": self.feedforward_dim,
            "model.transformer.num_query_pattern": self.num_patterns,
            "model.transformer.spatial_prior": self.spatial_prior,
            "model.transformer.attention_type": self.attention_type,
        }


def _attention(width: int, parts: int) -> StateDict:
    """torch's MultiheadAttention, whose input projection has ``parts`` times the width."""
    return {
        "in_proj_weight": tensor(parts * width, width),
        "in_proj_bias": tensor(parts * width),
    } | under("out_proj", linear(width, width))
