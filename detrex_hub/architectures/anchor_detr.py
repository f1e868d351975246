"""Anchor-DETR: megvii-research/AnchorDETR to detrex's `AnchorDETR`.

detrex uses the original's code: backbone, transformer and heads keep their names, and the backbone
is `TorchvisionResNet` with and without dilation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures.base import Facts, Layout, Specs
from detrex_hub.architectures.blocks import StateDict, conv, linear, norm, tensor, under
from detrex_hub.architectures.declared import Fact
from detrex_hub.architectures.detector import FACTS, Detector
from detrex_hub.architectures.feature_maps import LastMap
from detrex_hub.architectures.heads import ClassHead, box_head
from detrex_hub.architectures.parts import ConfigValue, Module, Part
from detrex_hub.architectures.shapes import shape_of

# rows of in_proj of the encoder's attention, in widths: queries and keys for rows and for columns
_ATTENTIONS = {5: "RCDA", 3: "nn.MultiheadAttention"}


def _released_points(specs: Specs, layout: str, facts: Facts) -> int | None:
    return None if layout == "detrex" or "transformer.position.weight" in specs else 300


class AnchorDetr(Detector, frozen=True, kw_only=True):
    """Anchor-DETR.

    Args:
        num_queries: anchor points. Each makes one query with every pattern.
        num_patterns: patterns of a query.
        attention_type: ``RCDA`` (row-column decoupled attention) or ``nn.MultiheadAttention``.
        spatial_prior: ``learned`` anchor points or a ``grid``, whose size no shape shows.
    """

    num_patterns: int
    attention_type: str = "RCDA"
    spatial_prior: str = "learned"

    name: ClassVar[str] = "anchor_detr"
    not_in_transformers: ClassVar[str | None] = (
        "its queries are anchor points with several patterns, and its attention can be "
        "row-column decoupled"
    )
    cuts_inverse_sigmoid: ClassVar[bool] = True
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
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
            wrapped=True,
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

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> AnchorDetr:
        found = cls.shared(
            specs,
            layout,
            facts,
            "transformer.class_embed.0.weight",
            layers=("transformer.{side}_layers.{i}.ffn.linear1.weight",),
        )
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
    def stated(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        found = super().stated(arguments)
        if arguments.get("spatial_prior") == "grid":
            found["num_queries"] = arguments.get("num_query_position")
        return found

    def parts(self) -> tuple[Part, ...]:
        width = self.embed_dim
        last = LastMap(self.body)
        position = Module("transformer.position", {"weight": tensor(self.num_queries or 0, 2)})
        adapt = under("0", linear(width, width)) | under("2", linear(width, width))
        return (
            Module("input_proj.0", conv(width, last.channels, 1), original="input_proj.0.0"),
            Module("input_proj.1", norm(width), original="input_proj.0.1"),
            *self._encoder(),
            *self._decoder(),
            Module("transformer.adapt_pos1d", adapt),
            Module("transformer.adapt_pos2d", adapt),
            Module("transformer.pattern", {"weight": tensor(self.num_patterns, width)}),
            *((position,) if self.spatial_prior == "learned" else ()),
            last,
            ConfigValue("model.embed_dim", kinds.SIZE, width),
            ConfigValue("model.criterion.num_classes", kinds.SIZE, self.num_classes),
            *self._transformer_settings(),
        )

    def _encoder(self) -> Iterator[Part]:
        attention = _attention(self.embed_dim, self._attention_parts)
        layer = (
            under("self_attn", attention)
            | under("norm1", norm(self.embed_dim))
            | under("ffn", self._feed_forward())
        )
        for i in range(self.encoder_layers):
            yield Module(f"transformer.encoder_layers.{i}", layer)

    def _decoder(self) -> Iterator[Part]:
        width = self.embed_dim
        layer = (
            under("cross_attn", _attention(width, self._attention_parts))
            | under("norm1", norm(width))
            | under("self_attn", _attention(width, 3))
            | under("norm2", norm(width))
            | under("ffn", self._feed_forward())
        )
        for i in range(self.decoder_layers):
            yield Module(f"transformer.decoder_layers.{i}", layer)
            yield ClassHead(self.classes, f"transformer.class_embed.{i}")
            yield Module(f"transformer.bbox_embed.{i}", box_head(width))

    def _transformer_settings(self) -> Iterator[Part]:
        sizes = {
            "num_heads": self.num_heads,
            "num_query_position": self.num_queries,
            "num_classes": self.num_classes,
            "embed_dim": self.embed_dim,
            "num_encoder_layers": self.encoder_layers,
            "num_decoder_layers": self.decoder_layers,
            "dim_feedforward": self.feedforward_dim,
            "num_query_pattern": self.num_patterns,
        }
        for name, value in sizes.items():
            yield ConfigValue(f"model.transformer.{name}", kinds.SIZE, value)
        priors, types = kinds.Choice(("learned", "grid")), kinds.Choice(tuple(_ATTENTIONS.values()))
        yield ConfigValue("model.transformer.spatial_prior", priors, self.spatial_prior)
        yield ConfigValue("model.transformer.attention_type", types, self.attention_type)

    @property
    def _attention_parts(self) -> int:
        return {name: number for number, name in _ATTENTIONS.items()}[self.attention_type]

    def _feed_forward(self) -> StateDict:
        width, hidden = self.embed_dim, self.feedforward_dim
        return (
            under("linear1", linear(hidden, width))
            | under("linear2", linear(width, hidden))
            | under("norm2", norm(width))
        )

    def ties(self) -> tuple[tuple[str, ...], ...]:
        # all decoder layers share one class head and one box head
        heads = [f"class_embed.{{i}}.{name}" for name in self.classes.head()]
        heads += [f"bbox_embed.{{i}}.{name}" for name in box_head(self.embed_dim)]
        return tuple(
            tuple(f"transformer.{text.format(i=i)}" for i in range(self.decoder_layers))
            for text in heads
        )


def _attention(width: int, parts: int) -> StateDict:
    """torch's MultiheadAttention, whose input projection has ``parts`` times the width."""
    return {
        "in_proj_weight": tensor(parts * width, width),
        "in_proj_bias": tensor(parts * width),
    } | under("out_proj", linear(width, width))
