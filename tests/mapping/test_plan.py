import pytest
from hypothesis import given
from hypothesis import strategies as st

from detrex_hub.errors import MappingError
from detrex_hub.mapping import (
    Compute,
    Computed,
    Concat,
    ConversionPlan,
    Drop,
    Fill,
    Fresh,
    Move,
    Piece,
    Rename,
    Rows,
    Split,
    Take,
    in_target_names,
    inverse,
    origins,
    plan,
    prefixed,
    source_specs,
)
from detrex_hub.mapping.operations import Filled, Permute, Portion, ScaleRows, Subtract
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


FRESH = Fresh(count=2, mean=0.0, std=1.0, seed=0)


def test_a_plan_is_all_of_its_moves_and_drops():
    rules = (
        Rename("a", "x"),
        Fill("a", "filled", 0.5),
        Compute(ScaleRows(), "w.{i}", "scaled.{i}", using=("ls.{i}",)),
        Take("head", "h", Rows("some", of=4, ranges=((0, 1), FRESH, (2, 3), (3, 4)))),
        Take("old", "new", Rows("fine-tuning", of=3, ranges=(FRESH,))),
        Split("kv.{i}", ("k.{i}", "v.{i}")),
        Split("ab.{i}", ("a.{i}", "b.{i}"), dim=1),
        Drop("fc", "classifier"),
    )
    specs = {
        "a": f32(7),
        "w.0": f32(4, 2),
        "ls.0": f32(4),
        "head": f32(4, 2),
        "old": f32(3, 2),
        "kv.5": f32(4, 2),
        "ab.5": f32(2, 4),
        "fc": f32(9),
    }
    made = plan(rules, specs, mapper="m")
    assert made == ConversionPlan(
        "m",
        moves_of(
            ("x", f32(7), Piece("a")),
            ("filled", f32(7), Computed(Filled((7,), 0.5), (), f32(7))),
            ("scaled.0", f32(4, 2), Computed(ScaleRows(), ("w.0", "ls.0"), f32(4, 2))),
            ("h", f32(5, 2), Piece("head", ((0, 1),)), FRESH, Piece("head", ((2, 3), (3, 4)))),
            ("new", f32(2, 2), FRESH),
            ("k.5", f32(2, 2), Piece("kv.5", ((0, 2),))),
            ("v.5", f32(2, 2), Piece("kv.5", ((2, 4),))),
            ("a.5", f32(2, 2), Computed(Portion(1, 0, 2), ("ab.5",), f32(2, 2))),
            ("b.5", f32(2, 2), Computed(Portion(1, 1, 2), ("ab.5",), f32(2, 2))),
        ),
        {"old": "replaced by new rows (fine-tuning)", "fc": "classifier"},
    )
    # not 2.0, which equals 2
    assert {type(size) for spec in made.specs.values() for size in spec.shape} == {int}


def moves_of(*moves):
    return {target: Move(target, spec, tuple(pieces)) for target, spec, *pieces in moves}


def test_a_move_reads_the_keys_of_its_pieces_in_order():
    difference = Computed(Subtract(), ("b", "c"), f32(1))
    mixed = Move("x", f32(5), (Piece("d"), difference, FRESH, Piece("a")))
    assert mixed.sources == ("d", "b", "c", "a")
    moves = {"x": mixed, "y": Move("y", f32(1), (Piece("a"),))}
    assert ConversionPlan("m", moves, {}).computed == {"x": mixed}


@pytest.mark.parametrize(
    ("rules", "specs", "said"),
    [
        (
            (Take("h.{i}", "t.{i}", Rows("some", of=2, ranges=((0, 1),))),),
            {"h.0": f32(3), "h.1": f32()},
            "wrong shape of h.0 F32 [3] (the rule takes 2 rows), "
            "h.1 F32 [] (the rule takes 2 rows)",
        ),
        (
            (Split("s.{i}", ("a.{i}", "b.{i}")),),
            {"s.0": f32(3), "s.1": f32()},
            "wrong shape of s.0 F32 [3] (the rule cuts it into 2 equal parts), "
            "s.1 F32 [] (the rule cuts it into 2 equal parts)",
        ),
        (
            (Concat(("q.{i}", "k.{i}"), "qk.{i}"),),
            {"q.0": f32(1), "k.0": f32(2), "q.1": f32(), "k.1": f32()},
            "wrong shape of qk.0 (needs 2 parts of one shape, has q.0 F32 [1], k.0 F32 [2]), "
            "qk.1 (needs 2 parts of one shape, has q.1 F32 [], k.1 F32 [])",
        ),
        (
            (Concat(("q.{i}", "k.{i}"), "qk.{i}", dim=1),),
            {"q.0": f32(1), "k.0": f32(1), "q.1": f32(2), "k.1": f32(2)},
            "wrong shape of qk.0 from q.0 F32 [1], k.0 F32 [1] (join: it needs a dimension 1), "
            "qk.1 from q.1 F32 [2], k.1 F32 [2] (join: it needs a dimension 1)",
        ),
        (
            (Compute(ScaleRows(), "w", "x", using=("a", "b")),),
            {"w": f32(1)},
            "wrong shape of x (scale_rows needs a, b)",
        ),
        (
            (Rename("a.0.x", "x"), Rename("a.1.x", "y")),
            {},
            "no key for the rule a.0.x, a.1.x",
        ),
        ((), {f"k{i}": f32(1) for i in range(8)}, "no rule for k0, k1, k2, k3, k4, k5, k6, k7"),
        (
            (),
            {f"k{i}": f32(1) for i in range(9)},
            "no rule for k0, k1, k2, k3, k4, k5, k6, k7 and 1 more",
        ),
        (
            (),
            {f"k{i:02}": f32(1) for i in range(20)},
            "no rule for k00, k01, k02, k03, k04, k05, k06, k07 and 12 more",
        ),
    ],
)
def test_each_problem_is_listed(rules, specs, said):
    with pytest.raises(MappingError) as caught:
        plan(rules, specs, mapper="m")
    assert caught.value.message == f"the mapper m does not fit this state dict: {said}"


def test_a_source_that_stores_a_tensor_under_another_key_is_read_there():
    rules = (
        Rename("a", "x"),
        Take("head", "h", Rows("some", of=2, ranges=((0, 1), FRESH))),
        Compute(Subtract(), "b", "y", using=("a",)),
        *(Drop(key, f"reason of {key}") for key in "cd"),
    )
    specs = {"a": f32(2), "head": f32(2), "b": f32(2), "c": f32(2), "d": f32(1)}
    made = plan(rules, specs, mapper="m")
    assert made.reading({}) is made
    assert made.reading({"a": "c"}) == ConversionPlan(
        "m",
        moves_of(
            ("x", f32(2), Piece("c")),
            ("h", f32(3), Piece("head", ((0, 1),)), FRESH),
            ("y", f32(2), Computed(Subtract(), ("b", "c"), f32(2))),
        ),
        {"d": "reason of d"},
    )
    assert made.reading({"d": "head"}).dropped == {"c": "reason of c"}


def test_a_plan_of_keys_with_a_prefix_drops_what_is_outside():
    rules = (
        Rename("a", "x"),
        Rename("b", "y"),
        Compute(Subtract(), "a2", "z", using=("b2",)),
        Drop("c", "r"),
    )
    specs = dict.fromkeys(("a", "b", "a2", "b2", "c"), f32(1))
    made = plan(rules, specs, mapper="m").tied([("x", "y")])
    assert made.below("student.", {"step": "no weight"}) == ConversionPlan(
        "m",
        moves_of(
            ("x", f32(1), Piece("student.a")),
            ("z", f32(1), Computed(Subtract(), ("student.a2", "student.b2"), f32(1))),
        ),
        {"student.c": "r", "step": "no weight"},
        {"y": "x"},
        moves_of(("y", f32(1), Piece("student.b"))),
    )


def test_a_group_of_tied_keys_that_are_not_there_is_passed_over():
    made = plan((Rename("a", "x"), Drop("c", "r")), {"a": f32(1), "c": f32(1)}, mapper="m")
    assert made.tied([("n", "o"), ("x", "y")]) == ConversionPlan(
        "m", made.moves, {"c": "r"}, {"y": "x"}
    )


def test_origins_are_the_sources_of_tensors_that_move_alone():
    rules = (
        Rename("a.{i}.*", "b.{i+1}.*"),
        Take("head", "h", Rows("some", of=2, ranges=((0, 1),))),
        Rename("s.{_}.w", "w"),
        Concat(("q", "k"), "qk"),
        Drop("c", "r"),
    )
    targets = ("b.1.w", "h", "w", "qk", "other")
    assert origins(rules, targets) == {"b.1.w": "a.0.w", "h": "head"}


def test_source_specs_are_those_of_all_rules_that_keep_the_names():
    rules = (
        Rename("s.{_}.w", "w"),
        Drop("c", "r"),
        Rename("absent", "none"),
        Take("absent head", "no head", Rows("some", of=2, ranges=((0, 1),))),
        Compute(ScaleRows(), "w.{i}", "scaled.{i}", using=("ls.{i}",)),
        Compute(Permute(0, (1, 0)), "p", "permuted"),
        Rename("a", "x"),
    )
    target = {"w": f32(1), "scaled.0": f32(4, 2), "permuted": f32(2), "x": f32(3), "other": f32(1)}
    found = source_specs(rules, target)
    assert found == {"w.0": f32(4, 2), "ls.0": f32(4), "p": f32(2), "a": f32(3)}
    with pytest.raises(ValueError, match="is longer than"):
        source_specs((Compute(Subtract(), "a", "x"),), {"x": f32(1)})
    with pytest.raises(MappingError, match="the mapper specs does not fit"):
        source_specs((Concat(("q", "k"), "qk"),), {"qk": f32(3)})


def test_a_source_is_seen_under_target_names_as_far_as_the_rules_fit():
    rules = (Rename("a.{i}", "b.{i}"), Rename("absent", "none"))
    assert in_target_names(rules, {"a.0": f32(1), "other": f32(2)}) == {"b.0": f32(1)}
    with pytest.raises(MappingError, match="the mapper names does not fit"):
        in_target_names((Split("a", ("x", "y")),), {"a": f32(3)})


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
