"""Detectors on the command line: each measured one is recognised and planned exactly, in its
authors' layout and as transformers writes it."""

import pytest

from tests import reference
from tests.architectures.test_variants import DETECTORS, SAVED, TRANSFORMERS, facts_of
from tests.cli.test_backbones import hollow
from tests.reference import Part


def planned(cli, path, name):
    done = cli("convert", path, "--dry-run", "--json", *["--dc5"] * bool(facts_of(name)))
    assert done.code == 0, done.err
    return done.document


def parts_of(pieces):
    """The plan's sources of a target key, row by row."""
    for piece in pieces:
        if isinstance(piece, str):
            yield Part(piece)
        else:
            yield Part(piece["key"], tuple(row for rows in piece["rows"] for row in range(*rows)))


def moves_of(document):
    """The parts of each target key. A tied name has the parts of its stored tensor."""
    plan = document["plan"]
    found = {target: tuple(parts_of(pieces)) for target, pieces in plan["moves"].items()}
    return found | {alias: found[stored] for alias, stored in plan["ties"].items()}


@pytest.mark.parametrize("name", DETECTORS + TRANSFORMERS)
def test_every_measured_detector_is_recognised_and_planned_exactly(cli, tmp_path, name):
    variant = reference.load(name)
    document = planned(cli, hollow(tmp_path / "x.safetensors", variant.source), name)
    assert name.removeprefix("hf_").startswith(document["architecture"])
    assert document["layout"].startswith("transformers") == name.startswith("hf_")
    assert document["plan"]["dropped"].keys() == set(variant.dropped)

    one_tensor = {key: group[0] for group in variant.tied_sources for key in group}

    def stored(parts):
        return tuple(Part(one_tensor.get(part.key, part.key), part.rows) for part in parts)

    found = {target: stored(parts) for target, parts in moves_of(document).items()}
    assert found == {target: stored(parts) for target, parts in variant.moves.items()}


@pytest.mark.parametrize("saved", reference.transformers_saved())
def test_a_transformers_file_gives_every_tensor_of_the_detrex_model(cli, tmp_path, saved):
    name = SAVED[saved.split("_", 1)[1]]
    specs = reference.load_saved(saved)
    document = planned(cli, hollow(tmp_path / "x.safetensors", specs), name)
    found = moves_of(document)
    variant = reference.load(name)
    assert found.keys() == variant.target.keys() - set(variant.target_keys_without_source)
    assert {part.key for parts in found.values() for part in parts} <= specs.keys()
