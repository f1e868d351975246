"""Kinds of values accept what they say, and read it from a command line."""

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
    Choice("RGB", "BGR"),
    Choice(18, 34, 50),
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
        (Choice(18, 50), "50", 50),
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
        (Flag(), 1),
        (Choice(1, 18), True),
        (Choice("RGB", "BGR"), ["RGB"]),
        (kinds.THREE_CHANNELS, "1,1,1"),
        (kinds.THREE_CHANNELS, {"_target_": "os.system"}),
        (kinds.SIZES, []),
        (kinds.SIZES, [1] * 65),
        (kinds.FEATURES, ["res5", "fc"]),
    ],
)
def test_nothing_is_coerced(kind, value):
    assert not kind.accepts(value)
