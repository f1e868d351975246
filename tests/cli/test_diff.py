"""`diff` compares two checkpoints of any formats."""

import math
import tracemalloc

import pytest
import torch
from safetensors.torch import save_file

from detrex_hub.comparison import diff
from detrex_hub.conversion import convert
from tests import reference
from tests.checkpoint_files import save, save_pickle, tensors


@pytest.fixture
def two(tmp_path):
    """`two(left, right)` compares two state dicts, the right one in safetensors."""

    def _two(left, right, **options):
        a = save(tmp_path / "a.pth", left, options.pop("container", None))
        save_file(right, tmp_path / "b.safetensors")
        return diff(a, tmp_path / "b.safetensors", **options)

    return _two


def values(*numbers, dtype=torch.float32):
    return torch.tensor(numbers, dtype=dtype)


def test_equal_tensors_are_equal_in_every_format(tmp_path):
    state = tensors(reference.load("resnet18").source)
    files = [
        save(tmp_path / "a.pth", state),
        save(tmp_path / "b.pth", state, "model"),
        save_pickle(tmp_path / "c.pkl", state, "torchvision"),
        tmp_path / "d.safetensors",
    ]
    save_file(state, files[-1])
    for other in files[1:]:
        found = diff(files[0], other)
        assert found.equal
        assert set(found.same) == set(state)


def test_every_key_is_printed_once(two):
    left = {
        "same": values(1, 2),
        "other": values(1, 2, 3),
        "old.name": values(4, 5),
        "shape": values(1, 2, 3),
        "left": values(7, 7),
    }
    right = {
        "same": values(1, 2),
        "other": values(1, 2.5, 3),
        "new.name": values(4, 5),
        "shape": values(1, 2),
        "right": values(8, 8),
    }
    found = two(left, right, container="model")
    assert not found.equal
    assert found.same == ("same",)
    assert found.renamed == (("old.name", "new.name"),)
    assert found.only_left == ("left",)
    assert found.only_right == ("right",)
    other, shape = found.different
    assert (other.key, other.largest, other.elements) == ("other", 0.5, 1)
    assert (shape.key, shape.largest, shape.elements) == ("shape", None, None)


TYPES = "float16 bfloat16 float32 float64 float8_e4m3fn int8 uint8 int64 complex64"


@pytest.mark.parametrize("dtype", TYPES.split())
def test_the_largest_difference_is_found_for_every_type(two, dtype):
    left = values(1, 2, 3, 12).to(getattr(torch, dtype))
    right = values(1, 4, 3, 8).to(getattr(torch, dtype))
    (one,) = two({"w": left}, {"w": right}).different
    assert (one.largest, one.elements) == (4, 2)


def test_integers_are_subtracted_exactly(two):
    left, right = (
        values(-(2**63), 2**62, dtype=torch.int64),
        values(0, 2**62 + 1, dtype=torch.int64),
    )
    (one,) = two({"w": left}, {"w": right}).different
    assert (one.largest, one.elements) == (2.0**63, 2)


def test_booleans_differ_by_one(two):
    (one,) = two({"w": torch.tensor([True, False])}, {"w": torch.tensor([True, True])}).different
    assert (one.largest, one.elements) == (1, 1)


def test_nan_equals_only_nan(two):
    nan, inf = math.nan, math.inf
    (both,) = two({"w": values(nan, inf, 1)}, {"w": values(nan, inf, 1.5)}).different
    assert (both.largest, both.elements) == (0.5, 1)
    (one,) = two({"w": values(nan, 1)}, {"w": values(0, 1)}).different
    assert math.isnan(one.largest) and one.elements == 1
    (far,) = two({"w": values(inf, 1)}, {"w": values(-inf, 3)}).different
    assert math.isinf(far.largest) and far.elements == 2


def test_equal_numbers_of_another_type_are_different_tensors(two):
    (one,) = two({"w": values(1, 2)}, {"w": values(1, 2, dtype=torch.bfloat16)}).different
    assert (one.largest, one.elements) == (0, 0)
    assert "F32 / BF16" in str(one)


def test_the_sign_of_zero_is_a_difference(two):
    (one,) = two({"w": values(0.0)}, {"w": values(-0.0)}).different
    assert (one.largest, one.elements) == (0, 0)


def test_equal_tensors_are_paired_in_order(two):
    ones = {f"norm.{i}": torch.ones(3) for i in range(3)}
    found = two(ones, {f"norms.{i}": torch.ones(3) for i in range(2)})
    assert found.renamed == (("norm.0", "norms.0"), ("norm.1", "norms.1"))
    assert found.only_left == ("norm.2",)


def test_renamed_keys_are_printed_as_patterns(two):
    left = {f"layers.{i}.linear1.weight": values(i, 1) for i in range(6)}
    right = {f"layers.{i}.ffn.weight": values(i, 1) for i in range(6)}
    assert "  layers.{0..5}.linear1.weight -> layers.{0..5}.ffn.weight  x6" in [
        *two(left, right).lines()
    ]


def test_formats_with_and_without_aliases_compare_equal(tmp_path):
    variant = reference.load("deformable_detr_r50_refine")
    path = save(tmp_path / "refine.pth", tensors(variant.source, variant.tied_sources))
    folder = convert(path, tmp_path / "folder").folder
    single = convert(path, tmp_path / "single.pth").path
    found = diff(folder, single)
    assert found.equal
    assert set(found.same) == set(variant.target)


def test_two_dicts_of_one_file_can_be_compared(tmp_path):
    state = {"w": values(1, 2)}
    path = tmp_path / "model.pth"
    torch.save({"model": state, "ema_state": {"w": values(1, 3)}}, path)
    assert diff(path, path).equal
    (one,) = diff(path, path, right_container="ema_state").different
    assert one.largest == 1


def test_elements_that_cross_pieces_are_compared(two):
    left = torch.arange(3_000_000, dtype=torch.float32)
    right = left.clone()
    right[[0, 131_071, 131_072, 2_999_999]] += 2
    (one,) = two({"w": left}, {"w": right}).different
    assert (one.largest, one.elements) == (2, 4)
    (mixed,) = two({"w": left}, {"w": right.double()}).different
    assert (mixed.largest, mixed.elements) == (2, 4)


def test_memory_does_not_grow_with_the_tensors(tmp_path):
    peaks = []
    for millions in (8, 24):
        state = {"a": torch.zeros(millions * 10**6), "b": torch.ones(millions * 10**6)}
        left = save(tmp_path / "a.pth", state)
        right = save(tmp_path / "b.pth", {"a": state["b"], "c": state["b"]})
        del state
        tracemalloc.start()
        found = diff(left, right)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.different[0].largest == 1
        assert found.renamed == (("b", "c"),)
    assert peaks[1] < 1.3 * peaks[0]
    assert peaks[1] < 48 * 2**20


def test_the_exit_code_is_that_of_diff(cli, tmp_path):
    same = save(tmp_path / "a.pth", {"w": values(1)})
    other = save(tmp_path / "b.pth", {"w": values(2)})
    assert cli("diff", same, same).code == 0
    assert cli("diff", same, same, "--json").document["equal"] is True
    found = cli("diff", same, other)
    assert found.code == 1
    assert "  w  max |Δ| 1, 1 of 1 elements" in found.out.splitlines()
    assert found.err == ""
    assert cli("diff", same, tmp_path / "none.pth").code == 2
    assert cli("diff", same).code == 2
    quiet = cli("diff", same, other, "-q")
    assert (quiet.code, quiet.out) == (1, "")
