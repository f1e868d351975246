"""Detectors on the backbone's last feature map, with attention over all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures import transformer, transformers_layout
from detrex_hub.architectures.base import Facts, Specs
from detrex_hub.architectures.blocks import StateDict, conv, norm, tensor, under
from detrex_hub.architectures.detection import TransformerDetector
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Rename, Rule


@dataclass(frozen=True, kw_only=True)
class SingleLevelDetector(TransformerDetector):
    """A detector on the backbone's last feature map.

    Args:
        position_grid: rows and columns of learned position embeddings; None for sine ones.
    """

    position_grid: tuple[int, int] | None = None

    lazy_paths: ClassVar[Mapping[str, Kind]] = {
        **TransformerDetector.lazy_paths,
        "model.in_features": kinds.FEATURES,
        "model.in_channels": kinds.SIZE,
        "model.position_embedding.row_num_embed": kinds.SIZE,
        "model.position_embedding.col_num_embed": kinds.SIZE,
    }
    # rules of encoder and decoder layers, by layout
    encoder_tables: ClassVar[Mapping[str, tuple[Rule, ...]]] = {
        "original": transformer.encoder(*transformer.ENCODER_LAYER),
        "transformers": transformers_layout.encoder(*transformers_layout.ENCODER_LAYER),
    }
    decoder_tables: ClassVar[Mapping[str, tuple[Rule, ...]]]
    prelu: ClassVar[bool] = False
    """Whether feed-forward layers have a PReLU."""

    @classmethod
    def common(cls, specs: Specs, layout: str, facts: Facts, *heads: str) -> dict[str, Any]:
        found = super().common(specs, layout, facts, *heads)
        for prefix in ("backbone.1", "position_embedding"):
            grid = [f"{prefix}.{side}_embed.weight" for side in ("row", "col")]
            if all(key in specs for key in grid):
                found["position_grid"] = tuple(specs[key].shape[0] for key in grid)
        return found

    def transformer_rules(self, layout: str) -> tuple[Rule, ...]:
        if layout in transformers_layout.LAYOUTS:
            return (
                *self.encoder_tables["transformers"],
                *self.decoder_tables["transformers"],
                Rename("model.decoder.layernorm.*", "transformer.decoder.post_norm_layer.*"),
                Rename("model.input_projection.*", "input_proj.*"),
            )
        learned = (
            Rename("backbone.1.row_embed.weight", "position_embedding.row_embed.weight"),
            Rename("backbone.1.col_embed.weight", "position_embedding.col_embed.weight"),
        )
        return (
            *self.encoder_tables["original"],
            *self.decoder_tables["original"],
            Rename("transformer.decoder.norm.*", "transformer.decoder.post_norm_layer.*"),
            Rename("input_proj.*", "input_proj.*"),
            *(learned if self.position_grid else ()),
        )

    @property
    def feature(self) -> tuple[str, int]:
        """Name and channels of the feature map."""
        return list(self.body.out_channels.items())[-1]

    def decoder_attentions(self, layer: int) -> tuple[StateDict, StateDict]:
        """Self-attention and cross-attention of a decoder layer."""
        # the position of a query comes in once, in the first layer
        cross = ["query_pos_sine_proj", "query_pos_proj"][: 2 if layer == 0 else 1]
        return (
            transformer.conditional_attention(self.embed_dim, "query_pos_proj"),
            transformer.conditional_attention(self.embed_dim, *cross),
        )

    def detector_target(self) -> StateDict:
        width = self.embed_dim
        ffn = transformer.feed_forward(width, self.feedforward_dim, prelu=self.prelu)
        attention = transformer.attention(width)
        target = under("input_proj", conv(width, self.feature[1], 1))
        for i in range(self.encoder_layers):
            target |= under(
                f"transformer.encoder.layers.{i}",
                transformer.layer(attention, width=width, ffn=ffn),
            )
        for i in range(self.decoder_layers):
            target |= under(
                f"transformer.decoder.layers.{i}",
                transformer.layer(*self.decoder_attentions(i), width=width, ffn=ffn),
            )
        target |= under("transformer.decoder.post_norm_layer", norm(width))
        target |= under("bbox_embed", self.box_head())
        if self.position_grid:
            for side, size in zip(("row", "col"), self.position_grid, strict=True):
                target[f"position_embedding.{side}_embed.weight"] = tensor(size, width // 2)
        return target

    def ties(self) -> tuple[tuple[str, ...], ...]:
        if not self.prelu:
            return ()
        layers = [f"encoder.layers.{i}" for i in range(self.encoder_layers)]
        layers += [f"decoder.layers.{i}" for i in range(self.decoder_layers)]
        ffns = [f"transformer.{name}.ffns.0" for name in layers]
        return tuple((f"{ffn}.layers.0.1.weight", f"{ffn}.activation.weight") for ffn in ffns)

    def detector_overrides(self) -> dict[str, Any]:
        name, channels = self.feature
        found = super().detector_overrides() | {
            "model.in_features": [name],
            "model.in_channels": channels,
        }
        if self.position_grid:
            for name in ("temperature", "offset"):
                found.pop(f"model.position_embedding.{name}", None)
            for side, size in zip(("row", "col"), self.position_grid, strict=True):
                found[f"model.position_embedding.{side}_num_embed"] = size
        return found
