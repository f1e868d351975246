"""CO-MOT, as detrex has it: Deformable-DETR with box refinement that tracks objects.

detrex's `MOT` keeps the original Deformable-DETR's names inside its transformer, also the numbers
of the norms in a decoder layer.
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
from detrex_hub.architectures.heads import HeadLists
from detrex_hub.architectures.neck import Neck, read_levels
from detrex_hub.architectures.parts import ConfigValue, Module, Part
from detrex_hub.architectures.position import SinePositions, position_facts
from detrex_hub.architectures.shapes import shape_of
from detrex_hub.errors import ArchitectureError

_LOADER = (
    "the model does not normalise images: the config's data loader must do it, with the "
    "mean and standard deviation of the training"
)


class CoMot(Detector, frozen=True, kw_only=True):
    """CO-MOT.

    Args:
        neck_inputs: feature maps of the backbone that the neck reads, the last ones.
        feature_levels: feature maps in all.
        g_size: shadows of each query.
        track_dim: hidden width of the module that makes queries from tracks.
        update_query_pos: whether tracks update the positions of their queries too.
        position_temperature, position_offset: of the sine position embedding; None where they are
            not known.
    """

    neck_inputs: int
    feature_levels: int
    g_size: int
    track_dim: int
    update_query_pos: bool = False
    position_temperature: float | None = 10000
    position_offset: float | None = -0.5

    name: ClassVar[str] = "co_mot"
    not_in_transformers: ClassVar[str | None] = "it carries queries from one image to the next"
    # the Hub has no task for tracking: object-detection is the nearest
    tags: ClassVar[tuple[str, ...]] = ("object-tracking",)
    taken_by: ClassVar[frozenset[str]] = frozenset({"projects.co_mot.MOT"})
    facts: ClassVar[Mapping[str, Fact]] = {**FACTS, **position_facts(10000, -0.5)}
    layouts: ClassVar[Mapping[str, Layout]] = {
        "detrex": Layout(
            present=(
                "transformer.level_embed",
                "transformer.decoder.layers.{i}.cross_attn.sampling_offsets.weight",
                "track_embed.linear_feat1.weight",
                "position.weight",
                "position_offset.weight",
                "query_embed_offset.weight",
                "neck.convs.0.conv.weight",
            ),
        ),
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> CoMot:
        found = cls.shared(specs, layout, facts, "class_embed.0.weight")
        queries = shape_of(specs, "position.weight")[0]
        shadows = shape_of(specs, "position_offset.weight")[0]
        if shadows % queries:
            raise ArchitectureError(
                f"{shadows} shadows cannot be divided equally among {queries} queries"
            )
        return cls(
            **(found | read_levels(specs, layout, facts)),
            num_queries=queries,
            g_size=shadows // queries,
            track_dim=shape_of(specs, "track_embed.linear1.weight")[0],
            update_query_pos="track_embed.linear_pos1.weight" in specs,
            position_temperature=facts.get("position_temperature"),
            position_offset=facts.get("position_offset"),
        )

    def parts(self) -> tuple[Part, ...]:
        width, queries, layers = self.embed_dim, self.learned_queries, self.decoder_layers
        heads, levels = self.num_heads or 8, self.feature_levels
        samples = transformer.deformable_attention(width, heads, levels)
        encoder = under("self_attn", samples) | _layer(width, self.feedforward_dim, norms=2)
        decoder = (
            under("cross_attn", samples)
            | under("self_attn", _attention(width))
            | _layer(width, self.feedforward_dim, norms=3)
        )
        sides = (("encoder", encoder, self.encoder_layers), ("decoder", decoder, layers))
        return (
            Neck(self.body, self.neck_inputs, levels, width, embeddings="transformer.level_embed"),
            SinePositions(width, self.position_temperature, self.position_offset),
            *(
                Module(f"transformer.{side}.layers.{i}", layer)
                for side, layer, number in sides
                for i in range(number)
            ),
            HeadLists(
                self.classes,
                layers,
                again={i: (f"transformer.decoder.class_embed.{i}",) for i in range(layers)},
            ),
            Module("track_embed", _tracks(width, self.track_dim, positions=self.update_query_pos)),
            Module("position", {"weight": tensor(queries, 4)}),
            Module("position_offset", {"weight": tensor(queries * self.g_size, 4)}),
            Module("query_embed", {"weight": tensor(queries, width)}),
            Module("query_embed_offset", {"weight": tensor(queries * self.g_size, width)}),
            *self.sizes,
            ConfigValue("model.num_queries", kinds.SIZE, queries),
            *(
                ConfigValue(f"model.{node}g_size", kinds.SIZE, self.g_size)
                for node in ("", "criterion.", "post_process.")
            ),
            ConfigValue("model.transformer.d_model", kinds.SIZE, width),
            ConfigValue("model.transformer.nhead", kinds.SIZE, self.num_heads),
            ConfigValue("model.transformer.num_encoder_layers", kinds.SIZE, self.encoder_layers),
            ConfigValue("model.transformer.num_decoder_layers", kinds.SIZE, layers),
            ConfigValue("model.transformer.dim_feedforward", kinds.SIZE, self.feedforward_dim),
            ConfigValue("model.track_embed.dim_in", kinds.SIZE, width),
            ConfigValue("model.track_embed.hidden_dim", kinds.SIZE, self.track_dim),
            # detrex's config has these arguments in one object, in which it is false
            ConfigValue(
                "model.track_embed.args.update_query_pos",
                kinds.FLAG,
                self.update_query_pos or None,
            ),
        )

    def notes(self) -> tuple[str, ...]:
        return (*super().notes(), _LOADER)

    def differences(self) -> tuple[str, ...]:
        # it reads padding masks, and there is no original to compare it with
        return ()


def _attention(width: int) -> StateDict:
    """torch's MultiheadAttention."""
    return {name.removeprefix("attn."): spec for name, spec in transformer.attention(width).items()}


def _feed_forward(width: int, hidden: int, name: str = "") -> StateDict:
    return under(f"linear{name}1", linear(hidden, width)) | under(
        f"linear{name}2", linear(width, hidden)
    )


def _layer(width: int, hidden: int, *, norms: int) -> StateDict:
    """A layer without its attentions."""
    module = _feed_forward(width, hidden)
    for i in range(norms):
        module |= under(f"norm{i + 1}", norm(width))
    return module


def _tracks(width: int, hidden: int, *, positions: bool) -> StateDict:
    """detrex's MOTQueryInteractionModuleGroup."""
    module = under("self_attn", _attention(width)) | _layer(width, hidden, norms=2 + positions)
    for name in ("_pos", "_feat") if positions else ("_feat",):
        module |= _feed_forward(width, hidden, name) | under(f"norm{name}", norm(width))
    return module
