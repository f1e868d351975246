"""Checks for every backbone: it comes out as measured, and reads back what it wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detrex_hub.architectures.base import Architecture
from detrex_hub.architectures.recognise import recognise
from detrex_hub.mapping import ConversionPlan
from detrex_hub.specs import TensorSpec
from tests import reference
from tests.architectures.test_variants import all_moves

State = dict[str, TensorSpec]

# hyper-parameters of a small backbone of each family
SMALL: dict[str, dict[str, Any]] = {
    "swin": {
        "embed_dim": 8,
        "depths": [1, 2],
        "num_heads": [1, 2],
        "window_size": 2,
        "pretrain_img_size": 32,
    },
    "convnext": {"depths": [1, 1, 2, 1], "dims": [4, 8, 12, 16]},
    "focalnet": {
        "embed_dim": 8,
        "depths": [1, 1],
        "focal_levels": [2, 2],
        "focal_windows": [3, 3],
        "use_layerscale": True,
        "use_postln": True,
    },
    "internimage": {"channels": 8, "depths": [1, 1, 1, 1], "groups": [1, 2, 4, 8]},
    "vit_mae": {
        "embed_dim": 64,
        "depth": 2,
        "num_heads": 1,
        "pretrain_img_size": 32,
        "window_block_indexes": [],
    },
    "eva02": {
        "embed_dim": 64,
        "depth": 2,
        "num_heads": 1,
        "pretrain_img_size": 32,
        "window_block_indexes": [],
    },
    "eva01": {
        "embed_dim": 64,
        "depth": 2,
        "num_heads": 1,
        "pretrain_img_size": 32,
        "window_block_indexes": [0],
        "relative_positions": True,
    },
    "feature_pyramid": {
        "net": "vit_mae",
        "net_embed_dim": 64,
        "net_depth": 2,
        "net_num_heads": 1,
        "net_pretrain_img_size": 32,
        "net_window_size": 2,
        "net_window_block_indexes": [0],
        "net_relative_positions": True,
    },
}


def read(
    specs: Mapping[str, TensorSpec], facts: Mapping[str, Any] | None = None
) -> tuple[Architecture, str]:
    """Read the architecture with its hyper-parameters, and the layout, from keys and shapes
    alone."""
    recognised = recognise(specs)
    return recognised.architecture.read(specs, recognised.layout, facts or {}), recognised.layout


def comes_out_as_measured(
    name: str, facts: Mapping[str, Any] | None = None
) -> tuple[Architecture, str, ConversionPlan]:
    """Convert a reference variant and compare everything with the measured pair.

    A config chooses the stages that the backbone returns, and so the output norms of its model.
    `target` may have more norms, which the model sets itself.
    """
    variant = reference.load(name)
    made, layout = read(variant.source, facts)
    plan = made.plan(variant.source, layout)
    assert all_moves(plan) == variant.moves
    assert sorted(plan.dropped) == sorted(variant.dropped)
    target = made.target()
    assert {key: target[key] for key in variant.target} == variant.target
    further = target.keys() - variant.target.keys()
    assert all(key.startswith("norm") and key.count(".") == 1 for key in further)
    missing = target.keys() - plan.specs.keys()
    assert missing == made.set_by_model()
    assert missing - further == set(variant.target_keys_without_source)
    assert {frozenset(group) for group in made.ties()} == {
        frozenset(group) for group in variant.tied_targets
    }
    return made, layout, plan


def reads_back(made: Architecture, facts: Mapping[str, Any] | None = None) -> State:
    """Write the original's state dict from hyper-parameters, and read them from it again."""
    specs, same_as = made.original()
    assert all(specs[alias] == specs[stored] for alias, stored in same_as.items())
    again, layout = read(specs, facts)
    assert layout == next(iter(made.layouts))
    assert again == made
    plan = made.plan(specs, layout)
    assert plan.specs.keys() | made.set_by_model() == made.target().keys()
    assert made.from_hyper_parameters(made.hyper_parameters()) == made
    return specs


def parameters(specs: Mapping[str, TensorSpec]) -> int:
    """Numbers in the floating-point tensors."""
    return sum(spec.numel for spec in specs.values() if spec.dtype.startswith("F"))
