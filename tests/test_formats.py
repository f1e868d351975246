"""The page on formats has a row for each field of each file, and the right limits."""

import json
import re
import typing
from pathlib import Path

import msgspec
import pytest
import torch

from detrex_hub import materialising, records, schema, seals, strict_json
from detrex_hub.architectures.base import Overrides
from detrex_hub.catalogue import loader, lock, tables
from detrex_hub.conversion import convert
from detrex_hub.records import (
    MAX_BYTES,
    ComputedTensor,
    ConversionRecord,
    FreshRows,
    RecordedPlan,
    RepositoryConfig,
    StoredCheckpoint,
    TakenRows,
)
from detrex_hub.repositories import Repository
from tests import reference
from tests.checkpoint_files import save, tensors

PAGE = (Path(__file__).parent.parent / "docs" / "formats.md").read_text(encoding="utf-8")


def section(title):
    """The text under a heading, up to the next one."""
    _, _, rest = PAGE.partition(f"# {title}\n")
    return re.split(r"^#", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text):
    """The cells of all rows of tables."""
    found = [line.strip().strip("|").split(" | ") for line in text.splitlines() if "|" in line]
    return [[cell.strip() for cell in cells] for cells in found if not set(cells[0]) <= set("-| :")]


def fields(kind, before=""):
    """The dotted names of the fields of a struct and of the structs in it."""
    for name, annotation in typing.get_type_hints(kind).items():
        if hasattr(annotation, "__struct_fields__"):
            yield from fields(annotation, f"{before}{name}.")
        else:
            yield f"{before}{name}"


def documented(text):
    return [cells[0].strip("`") for cells in rows(text) if cells[0].startswith("`")]


@pytest.mark.parametrize(
    ("title", "kinds"),
    [
        ("config.json", [RepositoryConfig]),
        ("conversion.json", [ConversionRecord]),
        ("Pieces of a move", [TakenRows, ComputedTensor, FreshRows]),
    ],
)
def test_each_field_has_a_row_in_the_order_of_the_type(title, kinds):
    assert documented(section(title)) == [name for kind in kinds for name in fields(kind)]


def test_every_kind_of_piece_is_described():
    kinds = set(typing.get_args(records.RecordedPiece)) - {str}
    assert kinds == {TakenRows, ComputedTensor, FreshRows}


def test_a_row_has_a_name_a_type_and_a_meaning():
    described = [cells for cells in rows(PAGE.partition("## config.json")[2]) if len(cells) > 1]
    assert described
    for cells in described:
        assert len(cells) == 3, cells


def test_each_field_of_a_materialised_file_and_its_seal_has_a_row(tmp_path):
    source = save(tmp_path / "r18.pth", tensors(reference.load("resnet18").source))
    folder = convert(source, tmp_path / "r18").folder
    path = materialising.materialise(Repository.open(str(folder)), prefix="")
    assert documented(section("The materialised .pth")) == list(torch.load(path, weights_only=True))
    seal = path.with_name(f"{path.name}.seal")
    assert documented(section("The seal")) == list(json.loads(seal.read_text()))
    assert f"{seals._BLOCKS} blocks of {seals._BLOCK >> 10} KiB" in section("The seal")
    assert f"at most {seals._LARGEST_SEAL >> 10} KiB" in section("The seal")


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("Fields of [weights.&lt;name&gt;]", loader.WeightsTable),
        ("Fields of one of the sources", loader._Source),
        ('Fields of [sources."&lt;url&gt;"]', lock.Pin),
        ("Fields of a result", lock.ResultPin),
    ],
)
def test_each_field_of_the_catalogue_and_its_lock_has_a_row(title, kind):
    assert sorted(documented(section(title))) == sorted(kind.__struct_fields__)


def test_the_first_fields_of_an_entry_may_be_in_defaults():
    names = documented(section("Fields of [weights.&lt;name&gt;]"))
    inherited = names[: names.index("sha256_in_name") + 1]
    assert set(inherited) == set(loader.Defaults.__struct_fields__)


def test_the_page_marks_required_fields():
    required = {
        kind: {one.name for one in msgspec.structs.fields(kind) if one.required}
        for kind in (loader.WeightsTable, loader._Source, lock.Pin, lock.ResultPin)
    }
    assert required == {
        loader.WeightsTable: {"architecture", "layout", "title"},
        loader._Source: {"url"},
        lock.Pin: set(),
        lock.ResultPin: {"sha256"},
    }
    assert f"at most {tables._MAX_BYTES >> 20} MiB" in section("The catalogue")


def longest(annotation):
    """The largest number of items or characters that a type allows."""
    (found,) = [one.max_length for one in annotation.__metadata__ if isinstance(one, msgspec.Meta)]
    return found


def test_the_limits_on_the_page_match_the_types():
    limits = {cells[0].strip("`"): cells[1] for cells in rows(section("Rules for both records"))}
    plan = typing.get_type_hints(RecordedPlan, include_extras=True)
    weights = typing.get_type_hints(StoredCheckpoint, include_extras=True)
    overrides = typing.get_type_hints(Overrides, include_extras=True)
    for name, size in MAX_BYTES.items():
        assert limits[name] == f"{size >> 20} MiB"
    assert limits["values in one record"] == f"{strict_json._MAX_VALUES:,}"
    assert limits["characters in one string"] == f"{longest(records.ShortText):,}"
    thousand = "overrides of one kind, hyper-parameters, facts, notes"
    for annotation in (*overrides.values(), schema.PlainValues):
        assert limits[thousand] == f"{longest(annotation):,} each"
    for annotation in (weights["ties"], weights["set_by_model"], plan["ties"]):
        assert limits["ties, keys that the model sets"] == f"{longest(annotation):,} each"
    for annotation in (plan["moves"], plan["dropped"], plan["source_tensors"]):
        assert limits["moves, dropped keys, source tensors"] == f"{longest(annotation):,} each"
