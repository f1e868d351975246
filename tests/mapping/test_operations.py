"""Plans with rules that compute, from names and shapes alone."""

import pytest

from detrex_hub.errors import MappingError
from detrex_hub.mapping import (
    Compute,
    Computed,
    Concat,
    Drop,
    Fill,
    Piece,
    Rename,
    Split,
    inverse,
    plan,
    prefixed,
    source_specs,
)
from detrex_hub.mapping.operations import (
    BicubicGrid,
    BicubicLast2,
    BicubicTable,
    Cut,
    Filled,
    GeometricTable,
    Join,
    Permute,
    PinvLast2,
    Portion,
    ScaleInChannels,
    ScaleRows,
    Subtract,
)
from detrex_hub.records import plan_to_json
from detrex_hub.specs import TensorSpec

FOLDED = Compute(ScaleRows(), "b.{i}.fc2.*", "blocks.{i}.fc2.*", using=("b.{i}.ls.gamma",))


def f32(*shape):
    return TensorSpec("F32", shape)


def test_a_tensor_that_several_rules_use_needs_no_rule_of_its_own():
    specs = {"b.0.fc2.weight": f32(4, 8), "b.0.fc2.bias": f32(4), "b.0.ls.gamma": f32(4)}
    made = plan((FOLDED,), specs, mapper="m")
    assert made.moves["blocks.0.fc2.bias"].pieces == (
        Computed(ScaleRows(), ("b.0.fc2.bias", "b.0.ls.gamma"), f32(4)),
    )
    assert made.specs == {"blocks.0.fc2.weight": f32(4, 8), "blocks.0.fc2.bias": f32(4)}
    assert made.computed == made.moves
    assert not made.dropped
    with pytest.raises(MappingError, match=r"no rule for b\.1\.ls\.gamma"):
        plan((FOLDED,), {**specs, "b.1.ls.gamma": f32(4)}, mapper="m")


@pytest.mark.parametrize("other", [f32(4, 3), f32(3, 4), TensorSpec("F16", (4, 4))])
def test_only_tensors_of_one_shape_and_type_are_joined(other):
    assert Join(0, 2).result(f32(4, 4), f32(4, 4)) == f32(8, 4)
    for operands in ((f32(4, 4), other), (other, f32(4, 4)), (f32(4, 4),) * 3):
        with pytest.raises(ValueError, match="it joins 2 tensors of one shape"):
            Join(0, 2).result(*operands)


def test_an_operand_that_is_absent_or_does_not_fit_is_named():
    specs = {"b.0.fc2.weight": f32(4, 8)}
    with pytest.raises(MappingError, match=r"scale_rows needs b\.0\.ls\.gamma"):
        plan((FOLDED,), specs, mapper="m")
    with pytest.raises(MappingError, match=r"scale_rows: it scales \[4\] rows by F32 \[8\]"):
        plan((FOLDED,), {**specs, "b.0.ls.gamma": f32(8)}, mapper="m")
    with pytest.raises(ValueError, match="binds more"):
        Compute(ScaleRows(), "a", "b", using=("g.{i}",))


def test_a_filled_tensor_has_the_shape_of_a_moved_one():
    rules = (Rename("bn_s", "weight"), Fill("bn_s", "mean", 0.0), Fill("none", "n", 1, True))
    made = plan(rules, {"bn_s": f32(7)}, mapper="m")
    assert made.moves["weight"].pieces == (Piece("bn_s"),)
    assert made.moves["mean"].pieces == (Computed(Filled((7,), 0.0), (), f32(7)),)
    with pytest.raises(MappingError, match="no key for the rule bn_s"):
        plan(rules, {}, mapper="m")
    assert source_specs(rules, made.specs) == {"bn_s": f32(7)}


def test_concat_and_split_are_inverse_along_any_dimension():
    rules = (Concat(("q", "k"), "qk", dim=1), Split("kv", ("a", "b", "c"), dim=2))
    specs = {"q": f32(4, 2), "k": f32(4, 2), "kv": f32(1, 2, 6)}
    there = plan(rules, specs, mapper="m")
    assert there.specs == {"qk": f32(4, 4), "a": f32(1, 2, 2), "b": f32(1, 2, 2), "c": f32(1, 2, 2)}
    assert there.moves["qk"].pieces == (Computed(Join(1, 2), ("q", "k"), f32(4, 4)),)
    assert there.moves["b"].pieces == (Computed(Portion(2, 1, 3), ("kv",), f32(1, 2, 2)),)
    assert plan(inverse(rules), there.specs, mapper="m").specs == specs
    assert source_specs(rules, there.specs) == specs
    with pytest.raises(MappingError, match="3 equal parts"):
        plan(rules[1:], {"kv": f32(1, 2, 5)}, mapper="m")
    with pytest.raises(MappingError, match="needs a dimension 2"):
        plan(rules[1:], {"kv": f32(6)}, mapper="m")


def test_a_permutation_has_an_inverse():
    one = Permute(0, (0, 2, 1))
    assert one.order(6) == [0, 3, 2, 5, 1, 4]
    assert [one.order(6)[entry] for entry in one.inverse().order(6)] == [*range(6)]
    rules = (Compute(one, "a.{i}", "b.{i}"),)
    there = plan(rules, {"a.3": f32(6)}, mapper="m").specs
    assert plan(inverse(rules), there, mapper="m").moves["a.3"].pieces == (
        Computed(one.inverse(), ("b.3",), f32(6)),
    )
    with pytest.raises(ValueError, match="each column once"):
        Permute(0, (0, 0, 1))


def test_an_operation_without_inverse_is_refused_by_name():
    rules = (FOLDED, Fill("x", "mean", 0.0), Rename("x", "y"))
    with pytest.raises(MappingError) as caught:
        inverse(rules, hint="take the original")
    assert "blocks.{i}.fc2.* by scale_rows" in str(caught.value)
    assert "mean by constant" in str(caught.value)


def test_prefixes_apply_to_every_name_in_a_rule():
    rules = prefixed((FOLDED, Fill("like", "mean", 0.0)), "net.", "model.net.")
    assert rules == (
        Compute(
            ScaleRows(),
            "net.b.{i}.fc2.*",
            "model.net.blocks.{i}.fc2.*",
            using=("net.b.{i}.ls.gamma",),
        ),
        Fill("net.like", "model.net.mean", 0.0),
    )


def test_a_record_names_operations_and_operands():
    rules = (FOLDED, Fill("b.{i}.ls.gamma", "ones.{i}", 1.0), Drop("x", "r"))
    specs = {"b.0.fc2.bias": f32(4), "b.0.ls.gamma": f32(4), "x": f32(1)}
    record = plan_to_json(plan(rules, specs, mapper="m"), specs)
    assert record["moves"] == {
        "blocks.0.fc2.bias": [
            {"op": "scale_rows", "of": ["b.0.fc2.bias", "b.0.ls.gamma"], "args": {}}
        ],
        "ones.0": [{"op": "constant", "of": [], "args": {"shape": [4], "value": 1.0}}],
    }
    assert record["source_tensors"].keys() == specs.keys()


def test_a_tensor_stored_under_another_name_is_read_there():
    specs = {"b.0.fc2.bias": f32(4), "b.0.ls.gamma": f32(4)}
    made = plan((FOLDED,), specs, mapper="m").reading({"b.0.ls.gamma": "b.9.ls.gamma"})
    assert made.moves["blocks.0.fc2.bias"].sources == ("b.0.fc2.bias", "b.9.ls.gamma")


OPERATIONS = [
    (Join(1, 2), (f32(2, 3), f32(2, 3)), f32(2, 6)),
    (Portion(1, 0, 2), (f32(2, 6),), f32(2, 3)),
    (Permute(1, (1, 0)), (f32(2, 6),), f32(2, 6)),
    (Cut((1, 0), (1, 4), (3, 3)), (f32(3, 3),), f32(1, 4)),
    (Filled((3,), 1.0), (), f32(3)),
    (ScaleRows(), (f32(4, 2, 2), f32(4)), f32(4, 2, 2)),
    (Subtract(), (f32(4), f32(4)), f32(4)),
    (ScaleInChannels((2, 1, 0), (1.0, 2.0, 3.0)), (f32(4, 3, 7, 7),), f32(4, 3, 7, 7)),
    (BicubicLast2((4, 5), (2, 3)), (f32(1, 2, 3),), f32(1, 4, 5)),
    (PinvLast2((4, 4), (3, 3)), (f32(8, 3, 3, 3),), f32(8, 3, 4, 4)),
    (BicubicTable(3, 2), (f32(9, 4),), f32(25, 4)),
    (GeometricTable(3, 2), (f32(9, 4),), f32(25, 4)),
    (BicubicGrid(3, 2, 1), (f32(1, 5, 8),), f32(1, 10, 8)),
]


@pytest.mark.parametrize(
    ("operation", "operands", "result"), OPERATIONS, ids=lambda one: getattr(one, "name", None)
)
def test_shapes_are_known_in_both_directions(operation, operands, result):
    assert operation.result(*operands) == result
    assert operation.operands(result) == operands


@pytest.mark.parametrize(
    ("operation", "operands"),
    [
        (ScaleRows(), (TensorSpec("I64", (4,)), f32(4))),
        (ScaleRows(), (f32(), f32())),
        (Subtract(), (f32(4), f32(5))),
        (ScaleInChannels((0,), (1.0,)), (f32(4, 3, 7, 7),)),
        (BicubicLast2((4, 5), (2, 3)), (f32(1, 3, 2),)),
        (BicubicTable(3, 2), (f32(10, 4),)),
        (BicubicGrid(3, 2, 1), (f32(1, 4, 8),)),
        (Permute(0, (0, 1)), (f32(3),)),
        (Cut((0,), (2,), (4,)), (f32(3),)),
    ],
    ids=lambda one: getattr(one, "name", None),
)
def test_operands_that_do_not_fit_are_refused(operation, operands):
    with pytest.raises(ValueError, match="it "):
        operation.result(*operands)


def test_a_kernel_whose_exact_inverse_would_take_long_is_refused():
    with pytest.raises(ValueError, match="64 pixels"):
        PinvLast2((100, 100), (16, 16))
