"""Kinds of values accept the values that they describe, and read them from a command line."""

import json

import pytest

from detrex_hub import kinds
from detrex_hub.kinds import Choice, Flag, Integer, ListOf, Number, Text

ALL = [
    Integer(),
    Integer(least=0, most=3),
    Number(),
    Number(positive=True),
    kinds.Share(),
    Flag(),
    Choice(("RGB", "BGR")),
    Choice((18, 34, 50)),
    Text(),
    ListOf(Integer()),
    ListOf(Text()),
    kinds.THREE_CHANNELS,
    kinds.THREE_DEVIATIONS,
]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.meaning)
def test_the_example_of_a_kind_is_accepted_and_read_from_its_text(kind):
    assert kind.accepts(kind.example)
    assert kind.parse(kinds.text(kind.example)) == kind.example
    assert kind.parse(json.dumps(kind.example)) == kind.example or isinstance(kind, Text)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (kinds.THREE_CHANNELS, "1,1,1", [1, 1, 1]),
        (kinds.THREE_CHANNELS, "[103.53, 116.28, 123.675]", [103.53, 116.28, 123.675]),
        (kinds.THREE_CHANNELS, " -1 , 0,2.5 ", [-1, 0, 2.5]),
        (kinds.IMAGE_FORMAT, "bgr", "BGR"),
        (kinds.IMAGE_FORMAT, '"RGB"', "RGB"),
        (Choice((18, 50)), "50", 50),
        (Flag(), "True", True),
        (Flag(), "false", False),
        (ListOf(Text()), "cat,traffic light", ["cat", "traffic light"]),
        (Number(), "1e-5", 1e-5),
    ],
)
def test_a_text_is_read(kind, text, value):
    read = kind.parse(text)
    assert read == value
    assert kind.accepts(read)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (kinds.THREE_DEVIATIONS, "1"),
        (kinds.THREE_DEVIATIONS, "1,1"),
        (kinds.THREE_DEVIATIONS, "1,1,0"),
        (kinds.THREE_DEVIATIONS, "1,1,1,1"),
        (kinds.THREE_CHANNELS, "abc"),
        (kinds.THREE_CHANNELS, "[1,1,true]"),
        (kinds.THREE_CHANNELS, "[1,1"),
        (kinds.IMAGE_FORMAT, "3"),
        (kinds.IMAGE_FORMAT, "XRGBX"),
        (kinds.THREE_CHANNELS, "[1,1,NaN]"),
        (Flag(), "maybe"),
        (Flag(), "1"),
        (Integer(), "1.0"),
        (Integer(), "0"),
        (Integer(), "true"),
        (Number(), "NaN"),
        (Number(), "Infinity"),
        (Number(), "${oc.env:HOME}"),
        (Text(), ""),
    ],
)
def test_a_text_of_another_kind_is_refused(kind, text):
    with pytest.raises(ValueError):
        kind.parse(text)


@pytest.mark.parametrize(
    ("kind", "inside", "outside"),
    [
        (Integer(), [1, 65536], [0, 65537]),
        (Integer(least=-3, most=3), [-3, 3], [-4, 4]),
        (Number(), [-1e6, 1e6, 0], [-1000001, 1000001]),
        (Number(positive=True), [5e-324, 1e6], [0, -1]),
        (kinds.Share(), [5e-324, 1], [0, 1.01]),
        (Text(), ["x", "x" * 256], ["", "x" * 257]),
        (ListOf(Flag(), 2, 3), [[True] * 2, [False] * 3], [[True], [True] * 4]),
        (kinds.COUNT, [0], [-1]),
    ],
    ids=lambda value: getattr(value, "meaning", None),
)
def test_both_ends_of_a_range_are_included(kind, inside, outside):
    assert [one for one in inside if not kind.accepts(one)] == []
    assert [one for one in outside if kind.accepts(one)] == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (1, "1"),
        (1.0, "1"),
        (0.5, "0.5"),
        ("RGB", "RGB"),
        ([1.0, 57.12], "1,57.12"),
        ((1, 2), "1,2"),
    ],
)
def test_a_value_is_written_as_on_a_command_line(value, text):
    assert kinds.text(value) == text


@pytest.mark.parametrize(
    ("kind", "meaning"),
    [
        (Integer(least=0, most=3), "an integer from 0 to 3"),
        (Number(), "a number from -1e6 to 1e6"),
        (Number(positive=True), "a number above 0 to 1e6"),
        (kinds.Share(), "a number above 0, at most 1"),
        (Choice(("RGB",)), "RGB"),
        (Choice(("RGB", "BGR")), "RGB or BGR"),
        (Choice((18, 34, 50)), "18, 34 or 50"),
        (ListOf(Flag(), 2, 2), "a list of 2 items, each true or false"),
        (ListOf(Flag(), 2, 3), "a list of 2 to 3 items, each true or false"),
        (kinds.THREE_CHANNELS, "three numbers, one per channel"),
    ],
)
def test_a_kind_describes_its_values(kind, meaning):
    assert kind.meaning == meaning


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Integer(), True),
        (Integer(), 1.0),
        (Integer(), 10**9),
        (Number(), True),
        (Number(), float("nan")),
        (Number(), 10**400),
        (Number(), "1"),
        (Number(), 20j),
        (Number(), [20]),
        (Number(), None),
        (kinds.Share(), True),
        (kinds.Share(), "1"),
        (kinds.Share(), float("nan")),
        (Flag(), 1),
        (Choice((1, 18)), True),
        (Choice(("RGB", "BGR")), ["RGB"]),
        (kinds.THREE_CHANNELS, "1,1,1"),
        (kinds.THREE_CHANNELS, {"_target_": "os.system"}),
        (kinds.SIZES, []),
        (kinds.SIZES, [1] * 65),
        (kinds.FEATURES, ["res5", "fc"]),
    ],
)
def test_values_are_not_coerced(kind, value):
    assert not kind.accepts(value)
