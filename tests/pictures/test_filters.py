"""The picture of a first layer shows its weights."""

import struct

import pytest

from detrex_hub import catalogue
from detrex_hub.architectures import architecture
from detrex_hub.catalogue.models import model_of
from detrex_hub.pictures import draw_filters, first_layer, shown_filters
from detrex_hub.specs import TensorSpec
from tests.pictures.test_png import decoded


def drawn(values, shape, *, dtype="F32", image_format="RGB"):
    code = {"F32": "f", "F16": "e", "F64": "d"}[dtype]
    content = struct.pack(f"<{len(values)}{code}", *values)
    return draw_filters(content, TensorSpec(dtype, shape), image_format)


def colours(picture):
    """The colour at the centre of each filter in a picture of 2x2 filters."""
    width, height, _, rows = decoded(picture)
    found = {rows[y][3 * x : 3 * x + 3] for y in range(height) for x in range(width)}
    return found - {b"\xff\xff\xff"}


RED = [1.0] * 4 + [0.0] * 8


def test_a_filter_is_drawn_in_the_colour_it_responds_to():
    assert colours(drawn(RED, (1, 3, 2, 2))) == {b"\xff\x7f\x7f"}
    assert colours(drawn([-one for one in RED], (1, 3, 2, 2))) == {b"\x00\x7f\x7f"}


def test_swapped_channels_are_visible():
    assert colours(drawn(RED, (1, 3, 2, 2), image_format="BGR")) == {b"\x7f\x7f\xff"}


def test_each_element_type_gives_the_same_picture():
    values = [(i * 37 % 64 - 32) / 32 for i in range(2 * 3 * 9)]
    pictures = {drawn(values, (2, 3, 3, 3), dtype=dtype) for dtype in ("F64", "F32", "F16")}
    wide = struct.pack(f"<{len(values)}f", *values)
    halves = b"".join(wide[at + 2 : at + 4] for at in range(0, len(wide), 4))
    pictures.add(draw_filters(halves, TensorSpec("BF16", (2, 3, 3, 3)), "RGB"))
    assert len(pictures) == 1


def test_one_changed_weight_changes_the_picture():
    values = [(i * 37 % 64 - 32) / 32 for i in range(64 * 3 * 49)]
    one = drawn(values, (64, 3, 7, 7))
    values[5000] += 0.1
    assert drawn(values, (64, 3, 7, 7)) != one


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_weights_that_are_not_finite_are_gray(value):
    assert colours(drawn([value] * 12, (1, 3, 2, 2))) == {b"\x7f\x7f\x7f"}


def test_the_largest_numbers_are_drawn():
    assert colours(drawn([1e308] * 4 + [0.0] * 8, (1, 3, 2, 2), dtype="F64")) == {b"\xff\x7f\x7f"}
    assert colours(drawn([5e-324] * 4 + [0.0] * 8, (1, 3, 2, 2), dtype="F64"))


def test_fewer_large_filters_are_drawn():
    values = [(i * 7919 % 2003) / 1000 - 1 for i in range(768 * 3 * 256)]
    assert len(drawn(values, (768, 3, 16, 16))) < 60_000


def test_every_backbone_of_the_catalogue_has_a_first_layer():
    backbones = {
        entry.architecture: entry
        for entry in catalogue.load_entries().values()
        if architecture(entry.architecture).backbone
    }
    for entry in backbones.values():
        assert first_layer(model_of(entry).target()) is not None, entry.name


def test_a_layer_of_another_kind_is_not_drawn():
    spec = TensorSpec("F32", (4, 3, 3, 3))
    assert first_layer({"a": spec}) == "a"
    assert first_layer({"a": spec, "b": spec}) is None
    assert first_layer({"a": TensorSpec("I64", (4, 3, 3, 3))}) is None
    assert first_layer({"a": TensorSpec("F32", (1, 3, 9000, 9000))}) is None
    assert first_layer({}) is None


def test_only_drawn_filters_are_read():
    spec = TensorSpec("F32", (768, 3, 16, 16))
    values = [(i * 7919 % 2003) / 1000 - 1 for i in range(shown_filters(spec) * 3 * 256)]
    few = struct.pack(f"<{len(values)}f", *values)
    assert shown_filters(spec) == 16
    assert draw_filters(few, spec, "RGB") == draw_filters(few + bytes(4000), spec, "RGB")
