"""Encoders and decoders: stacks of layers, as parts of a detector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct, field

from detrex_hub import kinds
from detrex_hub.architectures import transformer, transformers_layout
from detrex_hub.architectures.blocks import StateDict, under
from detrex_hub.architectures.declared import Specs
from detrex_hub.architectures.parts import Part
from detrex_hub.architectures.shapes import numbered, shape_of
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Rule, prefixed


class LayerShape(Struct, frozen=True):
    """The common shape of encoder and decoder layers.

    Args:
        width: of an embedding.
        feedforward: width of the feed-forward layers.
        heads: of attention; None where they are not known, since few shapes show them.
        prelu: whether feed-forward layers have a PReLU.
    """

    width: int
    feedforward: int
    heads: int | None
    prelu: bool = False


class Layers(Part, frozen=True):
    """The layers of an encoder or a decoder.

    Args:
        side: encoder or decoder.
        shape: of the layers.
        attentions: the state dicts of each layer's attentions, in their order.
        original: rules from a layer of the original, relative to it.
        transformers: rules from a layer of transformers, likewise.
        norms: numbered norms in a layer; None for one after each attention and feed-forward.
        further: other tensors of a layer, names relative to it.
    """

    side: Literal["encoder", "decoder"]
    shape: LayerShape
    attentions: tuple[tuple[StateDict, ...], ...]
    original: tuple[Rule, ...]
    transformers: tuple[Rule, ...] = ()
    norms: int | None = None
    further: StateDict = field(default_factory=dict)

    def rules(self, layout: str) -> tuple[Rule, ...]:
        of_transformers = layout in transformers_layout.LAYOUTS
        table = self.transformers if of_transformers else self.original
        root = "model" if of_transformers else "transformer"
        return prefixed(table, f"{root}.{self.side}.layers.{{i}}.", f"{self._place}.{{i}}.")

    def target(self) -> StateDict:
        shape = self.shape
        ffn = transformer.feed_forward(shape.width, shape.feedforward, prelu=shape.prelu)
        target: StateDict = {}
        for i, attentions in enumerate(self.attentions):
            layer = transformer.layer(*attentions, width=shape.width, ffn=ffn, norms=self.norms)
            target |= under(f"{self._place}.{i}", {**layer, **self.further})
        return target

    def ties(self) -> tuple[tuple[str, ...], ...]:
        if not self.shape.prelu:
            return ()
        ffns = [f"{self._place}.{i}.ffns.0" for i in range(len(self.attentions))]
        return tuple((f"{ffn}.layers.0.1.weight", f"{ffn}.activation.weight") for ffn in ffns)

    @property
    def _place(self) -> str:
        return f"transformer.{self.side}.layers"

    def paths(self) -> Mapping[str, Kind]:
        names = ("embed_dim", "feedforward_dim", "num_layers", "num_heads")
        return {f"model.transformer.{self.side}.{name}": kinds.SIZE for name in names}

    def overrides(self) -> dict[str, Any]:
        values = {
            "embed_dim": self.shape.width,
            "feedforward_dim": self.shape.feedforward,
            "num_layers": len(self.attentions),
            "num_heads": self.shape.heads,
        }
        return {
            f"model.transformer.{self.side}.{name}": value
            for name, value in values.items()
            if value is not None
        }


def encoder(
    shape: LayerShape,
    number: int,
    attention: StateDict,
    original: tuple[Rule, ...],
    transformers: tuple[Rule, ...] = (),
) -> Layers:
    """An encoder of equal layers."""
    return Layers("encoder", shape, ((attention,),) * number, original, transformers)


def decoder(
    shape: LayerShape,
    number: int,
    attentions: tuple[StateDict, ...],
    original: tuple[Rule, ...],
    transformers: tuple[Rule, ...] = (),
) -> Layers:
    """A decoder of equal layers."""
    return Layers("decoder", shape, (attentions,) * number, original, transformers)


def deformable(
    shape: LayerShape, encoders: int, decoders: int, levels: int
) -> tuple[Layers, Layers]:
    """Encoder and decoder of Deformable-DETR and the detectors based on it.

    Args:
        shape: of the layers.
        encoders, decoders: numbers of layers.
        levels: feature maps.
    """
    samples = transformer.deformable_attention(shape.width, shape.heads or 8, levels)
    return (
        encoder(
            shape,
            encoders,
            samples,
            transformer.DEFORMABLE_ENCODER_LAYER,
            transformers_layout.DEFORMABLE_ENCODER_LAYER,
        ),
        decoder(
            shape,
            decoders,
            (transformer.attention(shape.width), samples),
            transformer.DEFORMABLE_DECODER_LAYER,
            transformers_layout.DEFORMABLE_DECODER_LAYER,
        ),
    )


def conditional_attentions(width: int, layers: int) -> tuple[tuple[StateDict, StateDict], ...]:
    """Self-attention and cross-attention of each decoder layer of Conditional-DETR."""
    alone = transformer.conditional_attention(width, "query_pos_proj")
    across = transformer.conditional_attention(width, "query_pos_sine_proj")
    # the position of a query is added once, in the first layer
    first = transformer.conditional_attention(width, "query_pos_sine_proj", "query_pos_proj")
    return tuple((alone, across if i else first) for i in range(layers))


# The first weight of a layer's feed-forward, (feed-forward width, width), by layout.
_FEED_FORWARD = (
    "transformer.{side}.layers.{i}.linear1.weight",
    "model.{side}.layers.{i}.fc1.weight",
    "model.{side}.layers.{i}.mlp.fc1.weight",
    "transformer.{side}.layers.{i}.ffns.0.layers.0.0.weight",
)


def read_layers(specs: Specs, *templates: str) -> dict[str, int]:
    """Numbers and widths of encoder and decoder.

    Args:
        specs: a detector's state dict.
        templates: of the first weight of a layer's feed-forward, with ``{side}`` and ``{i}``, for
            detectors with other names.

    Raises:
        ArchitectureError: layers are missing.
    """
    names = templates or _FEED_FORWARD
    layers = {
        side: numbered(specs, *(text.replace("{side}", side) for text in names))
        for side in ("encoder", "decoder")
    }
    feedforward, width = shape_of(specs, layers["encoder"][0])
    return {
        "encoder_layers": len(layers["encoder"]),
        "decoder_layers": len(layers["decoder"]),
        "embed_dim": width,
        "feedforward_dim": feedforward,
    }
