"""Every proven pair of models is recognised by its keys alone and comes out as measured."""

from __future__ import annotations

import pytest

from detrex_hub.architectures.base import Architecture
from detrex_hub.architectures.recognise import recognise
from detrex_hub.mapping import Computed, ConversionPlan, Move, Piece
from detrex_hub.mapping.operations import Permute
from tests import reference
from tests.reference import Made, Part

DETECTORS = reference.names(
    *("anchor", "conditional", "dab", "deformable", "deta", "detr", "dino_", "dn", "h_"),
    *("maskdino", "pnp"),
)
TRANSFORMERS = reference.names("hf_conditional", "hf_dab", "hf_deformable", "hf_detr")


def facts_of(name: str) -> dict[str, bool]:
    """No shape shows the dilation."""
    return {"dilation": True} if "dc5" in name else {}


def made_of(piece: Computed) -> Part | Made:
    """A computed piece in the form of the tables, which omit what the source's shape shows."""
    match piece.operation:
        case Permute(dim=0) as permute:
            return Part(*piece.of, tuple(permute.order(piece.spec.shape[0])))
        case Permute(dim=dim) as permute:
            args = {"dim": dim, "index": permute.order(piece.spec.shape[dim])}
            return reference.made("select", piece.of, args)
        case operation:
            args = {
                name: value
                for name, value in operation.parameters.items()
                if not name.startswith("source_")
            }
            return reference.made(operation.name, piece.of, args)


def parts_of(move: Move) -> tuple[Part | Made, ...]:
    parts: list[Part | Made] = []
    for piece in move.pieces:
        if isinstance(piece, Computed):
            parts.append(made_of(piece))
            continue
        assert isinstance(piece, Piece)
        rows = piece.rows
        indices = (
            None if rows is None else tuple(r for start, stop in rows for r in range(start, stop))
        )
        parts.append(Part(piece.key, indices))
    return tuple(parts)


def all_moves(plan: ConversionPlan) -> dict[str, tuple[Part | Made, ...]]:
    """The source of each target key. An alias has the source of its stored tensor."""
    found = {key: parts_of(move) for key, move in plan.moves.items()}
    found |= {alias: found[stored] for alias, stored in plan.ties.items()}
    return found | {alias: parts_of(twin) for alias, twin in plan.twins.items()}


def convert(name: str) -> tuple[Architecture, str, ConversionPlan]:
    variant = reference.load(name)
    recognised = recognise(variant.source, name=name)
    made = recognised.architecture.read(variant.source, recognised.layout, facts_of(name))
    return made, recognised.layout, made.plan(variant.source, recognised.layout)


@pytest.mark.parametrize("name", DETECTORS + TRANSFORMERS)
def test_every_variant_comes_out_as_measured(name: str) -> None:
    variant = reference.load(name)
    made, layout, plan = convert(name)
    assert name.removeprefix("hf_").startswith(made.name)
    assert (layout in ("transformers", "transformers_no_timm")) == name.startswith("hf_")
    assert all_moves(plan) == variant.moves
    assert sorted(plan.dropped) == sorted(variant.dropped)
    assert made.target() == variant.target
    assert made.set_by_model() == set(variant.target_keys_without_source)
    assert plan.specs.keys() | made.set_by_model() == variant.target.keys()


@pytest.mark.parametrize("name", DETECTORS + TRANSFORMERS)
def test_ties_match_the_detrex_model(name: str) -> None:
    variant = reference.load(name)
    made, _, plan = convert(name)
    assert {frozenset(group) for group in made.ties()} == {
        frozenset(group) for group in variant.tied_targets
    }
    for group in variant.tied_targets:
        assert len([key for key in group if key in plan.moves]) == 1


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detrex_checkpoint_is_checked_strictly_too(name: str) -> None:
    variant = reference.load(name)
    recognised = recognise(variant.target, name=name)
    assert recognised.layout == "detrex"
    assert name.startswith(recognised.architecture.name)
    made = recognised.architecture.read(variant.target, "detrex", facts_of(name))
    plan = made.plan(variant.target, "detrex")
    assert all_moves(plan) == {key: (Part(key),) for key in variant.target}
    assert made.target() == variant.target

    stored = {key: spec for key, spec in variant.target.items() if key not in plan.ties}
    assert made.plan(stored, "detrex").specs == plan.specs


SAVED = {
    "ConditionalDetr": "hf_conditional_detr_r50",
    "DeformableDetr": "hf_deformable_detr_r50",
    "DeformableDetr_two_stage": "hf_deformable_detr_r50_two_stage",
    "Detr": "hf_detr_r50",
}


@pytest.mark.parametrize("saved", reference.transformers_saved())
def test_tied_heads_missing_from_transformers_files_are_restored(saved: str) -> None:
    name = SAVED[saved.split("_", 1)[1]]
    variant, specs = reference.load(name), reference.load_saved(saved)
    recognised = recognise(specs)
    made = recognised.architecture.read(specs, recognised.layout, {})
    plan = made.plan(specs, recognised.layout)
    assert made.target() == variant.target
    assert plan.specs.keys() | made.set_by_model() == variant.target.keys()

    stored_under = {key: key for key in specs}
    for group in variant.tied_sources:
        present = [key for key in group if key in specs]
        stored_under |= {key: present[0] for key in group if key not in specs}
    expected = {
        target: tuple(Part(stored_under[part.key], part.rows) for part in parts)
        for target, parts in variant.moves.items()
    }
    assert all_moves(plan) == expected
