"""Queries that the encoder proposes, in two-stage Deformable-DETR and the detectors based on
it."""

from __future__ import annotations

from detrex_hub.architectures.blocks import StateDict, linear, norm
from detrex_hub.architectures.parts import Module, Part


def proposals(width: int) -> tuple[Part, ...]:
    """The layers that make queries from the encoder's best boxes.

    Args:
        width: of an embedding.
    """
    return (
        in_transformer("enc_output", linear(width, width)),
        in_transformer("enc_output_norm", norm(width)),
        in_transformer("pos_trans", linear(2 * width, 2 * width)),
        in_transformer("pos_trans_norm", norm(2 * width)),
    )


def in_transformer(name: str, state: StateDict) -> Module:
    """A module of the transformer, which is ``model`` in the layouts of transformers."""
    return Module(f"transformer.{name}", state, transformers=f"model.{name}")
