"""The page on formats has a row for each field of each record, and the limits that hold."""

import dataclasses
import re
import typing
from pathlib import Path

import msgspec
import pytest

from detrex_hub import records, schema
from detrex_hub.architectures.base import Overrides
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
    """The dotted names of the fields of a struct, those of structs in it included."""
    for name, annotation in typing.get_type_hints(kind).items():
        if hasattr(annotation, "__struct_fields__") or dataclasses.is_dataclass(annotation):
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
    for cells in rows(section("config.json") + section("conversion.json")):
        assert len(cells) == 3, cells


def longest(annotation):
    """The largest number of items or characters that a type allows."""
    (found,) = [one.max_length for one in annotation.__metadata__ if isinstance(one, msgspec.Meta)]
    return found


def test_the_limits_are_those_that_hold():
    limits = {cells[0].strip("`"): cells[1] for cells in rows(section("Rules for both records"))}
    plan = typing.get_type_hints(RecordedPlan, include_extras=True)
    weights = typing.get_type_hints(StoredCheckpoint, include_extras=True)
    overrides = typing.get_type_hints(Overrides, include_extras=True)
    for name, size in MAX_BYTES.items():
        assert limits[name] == f"{size >> 20} MiB"
    assert limits["values in one record"] == f"{records._MAX_VALUES:,}"
    assert limits["characters in one string"] == f"{longest(records.Text):,}"
    thousand = "overrides of one kind, hyper-parameters, facts, notes"
    for annotation in (*overrides.values(), schema.PlainValues):
        assert limits[thousand] == f"{longest(annotation):,} each"
    for annotation in (weights["ties"], weights["set_by_model"], plan["ties"]):
        assert limits["ties, keys that the model sets"] == f"{longest(annotation):,} each"
    for annotation in (plan["moves"], plan["dropped"], plan["source_tensors"]):
        assert limits["moves, dropped keys, source tensors"] == f"{longest(annotation):,} each"
