import pytest
from hypothesis import given
from hypothesis import strategies as st

from detrex_hub.errors import MappingError
from detrex_hub.mapping import (
    Concat,
    Drop,
    Piece,
    Rename,
    Rows,
    Split,
    Take,
    inverse,
    plan,
    prefixed,
    source_specs,
)
from detrex_hub.specs import TensorSpec


def f32(*shape):
    return TensorSpec("F32", shape)


def test_every_key_moves_or_is_dropped_with_a_reason():
    rules = (Rename("a.{i}.*", "b.{i+1}.*"), Drop("fc.*", "classifier"))
    made = plan(rules, {"a.0.w": f32(2, 3), "fc.bias": f32(9)}, mapper="m")
    assert made.moves["b.1.w"].pieces == (Piece("a.0.w"),)
    assert made.moves["b.1.w"].spec == f32(2, 3)
    assert made.dropped == {"fc.bias": "classifier"}


def test_all_problems_are_reported_at_once_with_the_mapper():
    rules = (
        Rename("a.*", "x.*"),
        Rename("a.w", "y.w"),
        Rename("b.w", "x.bias"),
        Rename("never.*", "n.*"),
        Drop("maybe.*", "r", optional=True),
    )
    specs = {"a.w": f32(1), "a.bias": f32(1), "b.w": f32(1), "s.0.k": f32(1), "s.1.k": f32(1)}
    with pytest.raises(MappingError) as caught:
        plan(rules, specs, mapper="the mapper's name")
    text = str(caught.value)
    assert "the mapper's name" in text
    assert "no rule for s.{0..1}.k" in text
    assert "several rules for a.w" in text
    assert "several keys for the target x.bias" in text
    assert "no key for the rule never.*" in text
    assert "maybe" not in text
    assert "\n" not in text


def test_the_order_of_rules_does_not_matter():
    rules = (Rename("a.*", "x.*"), Rename("b.*", "y.*"), Drop("c", "r"))
    specs = {"a.w": f32(1), "b.w": f32(2), "c": f32(3)}
    assert plan(rules, specs, mapper="m") == plan(rules[::-1], specs, mapper="m")


def test_rows_are_taken_from_a_head_of_the_stated_size_only():
    rows = Rows("first two and fourth", of=5, ranges=((0, 2), (3, 4)))
    made = plan((Take("head.*", "h.*", rows),), {"head.weight": f32(5, 7)}, mapper="m")
    assert made.moves["h.weight"].spec == f32(3, 7)
    assert made.moves["h.weight"].pieces == (Piece("head.weight", ((0, 2), (3, 4))),)
    with pytest.raises(MappingError, match="takes 5 rows"):
        plan((Take("head.*", "h.*", rows),), {"head.weight": f32(6, 7)}, mapper="m")


def test_concat_keeps_the_order_of_its_parts_whatever_the_order_of_keys():
    rule = Concat(("q.{i}.w", "k.{i}.w", "v.{i}.w"), "qkv.{i}.w")
    specs = {f"{name}.0.w": f32(4, 4) for name in "vkq"}
    made = plan((rule,), specs, mapper="m")
    assert made.moves["qkv.0.w"].spec == f32(12, 4)
    assert [piece.key for piece in made.moves["qkv.0.w"].pieces] == ["q.0.w", "k.0.w", "v.0.w"]


def test_a_concat_with_a_part_missing_is_refused():
    rule = Concat(("q.w", "k.w"), "qk.w", optional=True)
    with pytest.raises(MappingError, match="needs 2 parts"):
        plan((rule,), {"q.w": f32(4)}, mapper="m")


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("other", [f32(4, 3), f32(3, 4), f32(4, 4, 1), TensorSpec("F16", (4, 4))])
def test_a_concat_of_parts_of_different_shapes_or_types_is_refused(dim, other):
    rule = Concat(("q.w", "k.w"), "qk.w", dim=dim)
    for specs in ({"q.w": f32(4, 4), "k.w": other}, {"q.w": other, "k.w": f32(4, 4)}):
        with pytest.raises(MappingError, match=r"qk\.w .*needs 2 parts of one shape"):
            plan((rule,), specs, mapper="m")


def test_split_is_the_inverse_of_concat():
    rules = (Concat(("q.w", "k.w"), "qk.w"), Rename("a.{i}", "b.{i+2}"))
    specs = {"q.w": f32(4, 2), "k.w": f32(4, 2), "a.0": f32(1)}
    there = plan(rules, specs, mapper="m").specs
    back = plan(inverse(rules), there, mapper="m")
    assert back.specs == specs
    assert back.moves["k.w"].pieces == (Piece("qk.w", ((4, 8),)),)


def test_a_split_must_divide_the_rows():
    with pytest.raises(MappingError, match="3 equal parts"):
        plan((Split("a", ("x", "y", "z")),), {"a": f32(4)}, mapper="m")


def test_a_plan_that_cut_rows_cannot_be_reversed():
    rows = Rows("some", of=91, ranges=((1, 12),))
    rules = (Take("a.0.*", "h.0.*", rows), Rename("x", "y"), Take("a.1.*", "h.1.*", rows))
    with pytest.raises(MappingError, match=r"h\.\{0\.\.1\}\.\* holds 11 of 91 rows \(some\)"):
        inverse(rules)


def test_source_specs_include_rows_that_were_cut():
    rules = (
        Take("head.*", "h.*", Rows("some", of=91, ranges=((0, 80),))),
        Concat(("q", "k"), "qk"),
        Drop("x", "r"),
    )
    target = {"h.weight": f32(80, 4), "qk": f32(8)}
    assert source_specs(rules, target) == {"head.weight": f32(91, 4), "q": f32(4), "k": f32(4)}


def test_a_tied_tensor_is_stored_once_and_its_twin_is_kept_for_comparison():
    rules = (Rename("a", "x"), Rename("b", "y"))
    made = plan(rules, {"a": f32(1), "b": f32(1)}, mapper="m").tied([("x", "y", "z")])
    assert list(made.moves) == ["x"]
    assert made.ties == {"y": "x", "z": "x"}
    assert made.twins["y"].pieces == (Piece("b"),)
    assert set(made.specs) == {"x", "y", "z"}


def test_an_alias_with_its_own_source_keeps_its_own_shape():
    # a model whose heads are one tensor cannot take two heads of different shapes
    rules = (Rename("a", "x"), Rename("b", "y"))
    made = plan(rules, {"a": f32(1), "b": f32(2)}, mapper="m").tied([("x", "y", "z")])
    assert made.specs == {"x": f32(1), "y": f32(2), "z": f32(1)}


def test_both_sides_bind_the_same_variables():
    with pytest.raises(ValueError, match="same integers"):
        Rename("a.{i}", "b.{j}")


def test_prefixes_are_added_on_both_sides():
    rules = prefixed((Rename("a.*", "b.*"), Drop("c", "r"), Concat(("q", "k"), "qk")), "s.", "t.")
    assert rules == (
        Rename("s.a.*", "t.b.*"),
        Drop("s.c", "r"),
        Concat(("s.q", "s.k"), "t.qk"),
    )


@given(
    st.dictionaries(
        st.from_regex(r"[ab]\.[0-9]{1,2}\.[wb]", fullmatch=True).filter(
            lambda key: not key.split(".")[1].startswith("0") or key.split(".")[1] == "0"
        ),
        st.lists(st.integers(0, 5), max_size=3).map(lambda shape: f32(*shape)),
        max_size=30,
    )
)
def test_a_plan_and_its_inverse_are_the_identity(specs):
    rules = (
        Rename("a.{i}.*", "x.{i+1}.y.*", optional=True),
        Rename("b.{i}.*", "z.*.{i}".replace("*.{i}", "{i}.*"), optional=True),
    )
    there = plan(rules, specs, mapper="m")
    assert len(there.moves) == len(specs)
    assert plan(inverse(rules), there.specs, mapper="m").specs == specs
