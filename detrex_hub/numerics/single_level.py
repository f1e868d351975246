"""Detectors on one feature map before their decoders: transformers' configs, detrex's encoders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch.nn import functional

from detrex_hub.architectures.anchor_boxes import AnchorBoxDetector
from detrex_hub.architectures.conditional_detr import ConditionalDetr
from detrex_hub.architectures.detr import Detr
from detrex_hub.errors import UsageError
from detrex_hub.numerics import detector_resnets, in_transformers
from detrex_hub.numerics.layers import encoder_layer, sine_embedding

if TYPE_CHECKING:
    from detrex_hub.numerics import Settings, State


SingleLevel: TypeAlias = Detr | ConditionalDetr | AnchorBoxDetector

# rows and columns of transformers' learned position embedding
_GRID = (50, 50)


def check_buildable(made: SingleLevel) -> None:
    """
    Raises:
        UsageError: transformers cannot build the detector.
    """
    detector_resnets.resnet_of(made)
    if made.position_grid not in (None, _GRID):
        raise UsageError(
            f"--numerics has no forward pass of a {made.name} with a position embedding of "
            f"{made.position_grid[0]} x {made.position_grid[1]}: transformers' is "
            f"{_GRID[0]} x {_GRID[1]}"
        )


def config(made: SingleLevel, layout: str) -> dict[str, Any]:
    """The config of transformers' detector, without the number of classes.

    Raises:
        UsageError: transformers cannot build such a backbone.
    """
    return {
        **in_transformers.body(made, own=layout == "transformers_no_timm"),
        "use_pretrained_backbone": False,
        "position_embedding_type": "learned" if made.position_grid else "sine",
        "num_queries": made.num_queries,
        "d_model": made.embed_dim,
        **in_transformers.layers(made),
    }


def encoder_output(
    made: SingleLevel, settings: Settings, state: State, images: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output of detrex's encoder for the last feature map, and the embeddings of its positions:
    both ``(h * w, embed_dim)``."""
    x, place = projected(made, settings, state, images)
    heads = settings["model.transformer.encoder.num_heads"]
    for number in range(made.encoder_layers):
        x = encoder_layer(state, f"transformer.encoder.layers.{number}.", x, place, heads)
    return x, place


def projected(
    made: SingleLevel, settings: Settings, state: State, images: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The input of detrex's encoder, in the same shapes."""
    features = detector_resnets.features(made, settings, state, images)["res5"]
    x = functional.conv2d(features, state["input_proj.weight"], state["input_proj.bias"])
    return x.flatten(2)[0].T, _positions(made, settings, state, x)


def _positions(
    made: SingleLevel, settings: Settings, state: State, x: torch.Tensor
) -> torch.Tensor:
    if made.position_grid is None:
        name = "model.position_embedding"
        return sine_embedding(x, settings[f"{name}.temperature"], settings[f"{name}.offset"])
    # detrex's `PositionEmbeddingLearned` (detrex/layers/position_embedding.py, e244e6c)
    height, width = x.shape[-2:]
    rows = state["position_embedding.row_embed.weight"][:height, None].expand(-1, width, -1)
    columns = state["position_embedding.col_embed.weight"][None, :width].expand(height, -1, -1)
    return torch.cat((columns, rows), 2).flatten(0, 1)
