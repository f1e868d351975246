"""The results of operations match independent definitions, and their bytes are fixed."""

import hashlib

import numpy as np
import pytest
import torch

from detrex_hub.computing import bicubic, carried_out, geometric
from detrex_hub.mapping import Computed, Fresh, Move, Piece
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
from detrex_hub.specs import TensorSpec
from tests import torchvision_operators


class Held:
    """Tensors in memory, given in small chunks."""

    TYPES = {torch.float32: "F32", torch.float64: "F64", torch.float16: "F16"}
    TYPES |= {torch.bfloat16: "BF16", torch.int64: "I64", torch.bool: "BOOL"}

    def __init__(self, **tensors):
        self.tensors = tensors
        self.specs = {
            key: TensorSpec(self.TYPES[one.dtype], tuple(one.shape)) for key, one in tensors.items()
        }

    def chunks(self, key, rows=None):
        whole = self.tensors[key]
        parts = [whole] if rows is None else [whole[start:stop] for start, stop in rows]
        for part in parts:
            data = part.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            yield from (data[at : at + 1000] for at in range(0, len(data), 1000))


def compute(operation, *operands):
    """The result of an operation on tensors, from the bytes that a conversion writes."""
    source = Held(**{f"t{number}": one for number, one in enumerate(operands)})
    spec = operation.result(*source.specs.values())
    move = Move("t", spec, (Computed(operation, tuple(source.specs), spec),))
    data = bytearray(b"".join(carried_out(move, source)))
    types = {name: dtype for dtype, name in Held.TYPES.items()}
    return torch.frombuffer(data, dtype=types[spec.dtype]).reshape(spec.shape)


def numbers(*shape, dtype=torch.float32, seed=0):
    # numpy guarantees the bits of this generator; torch guarantees none
    raw = np.random.Philox(key=seed).random_raw(int(np.prod(shape)))
    values = (raw >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1.0
    return torch.from_numpy(values).reshape(shape).to(dtype)


def test_rows_are_scaled_block_by_block():
    # more rows than a block has
    weight, factors = numbers(700, 1024), numbers(700, seed=1)
    wanted = (weight.double() * factors.double()[:, None]).float()
    assert torch.equal(compute(ScaleRows(), weight, factors), wanted)
    bias = numbers(700, seed=2)
    assert torch.equal(compute(ScaleRows(), bias, factors), bias * factors)


def test_elements_of_every_type_are_moved():
    whole = torch.arange(24).reshape(2, 3, 4)
    assert torch.equal(compute(Portion(2, 1, 2), whole), whole[..., 2:])
    assert torch.equal(compute(Join(1, 2), whole, whole), torch.cat([whole, whole], 1))
    assert torch.equal(compute(Permute(2, (0, 2, 1, 3)), whole), whole[..., [0, 2, 1, 3]])
    mask = torch.tensor([True, False, False, True])
    there = compute(Permute(0, (1, 0)), mask)
    assert torch.equal(there, mask[[1, 3, 0, 2]])
    assert torch.equal(compute(Permute(0, (1, 0), back=True), there), mask)
    nan = torch.tensor([float("nan"), -0.0, 1.0, 2.0])
    assert torch.signbit(compute(Permute(0, (1, 0)), nan)).tolist() == [True, False, False, False]


def test_a_box_beyond_the_tensor_is_filled_with_zeros():
    whole = torch.arange(12.0).reshape(3, 4) + 1
    found = compute(Cut((2, 1), (1, 5), (3, 4)), whole)
    assert found.tolist() == [[10.0, 11.0, 12.0, 0.0, 0.0]]
    assert torch.equal(compute(Cut((0, 1), (3, 3), (3, 4)), whole), whole[:, 1:])


def test_constants_differences_and_channels_are_computed():
    assert torch.equal(compute(Filled((3,), 1 - 1e-5)), torch.full((3,), 1 - 1e-5))
    one, other = numbers(5, 2), numbers(5, 2, seed=1)
    assert torch.equal(compute(Subtract(), one, other), one - other)
    weight = numbers(4, 3, 7, 7)
    made = compute(ScaleInChannels((2, 1, 0), (58.395, 57.12, 57.375)), weight)
    factors = torch.tensor([58.395, 57.12, 57.375], dtype=torch.float64)[:, None, None]
    assert torch.equal(made, (weight.double()[:, [2, 1, 0]] * factors).float())


@pytest.mark.parametrize(("before", "after"), [(13, 23), (23, 13), (14, 16), (7, 7), (1, 3)])
def test_bicubic_interpolation_matches_torch(before, after):
    planes = numbers(2, 5, before, before, dtype=torch.float64)
    wanted = torch.nn.functional.interpolate(planes, size=(after, after), mode="bicubic")
    made = compute(BicubicLast2((after, after), (before, before)), planes)
    assert (made - wanted).abs().max() < 1e-13


def test_a_table_is_resampled_head_by_head():
    table = numbers(13 * 13, 3, dtype=torch.float64)
    planes = table.T.reshape(1, 3, 13, 13)
    wanted = torch.nn.functional.interpolate(planes, size=(23, 23), mode="bicubic")
    made = compute(BicubicTable(12, 7), table)
    assert (made - wanted.reshape(3, -1).T).abs().max() < 1e-13
    # the same window changes nothing
    assert torch.equal(compute(BicubicTable(7, 7), table), table)


@pytest.mark.parametrize(("before", "after"), [(7, 12), (12, 7)])
def test_a_geometric_table_matches_timm(before, after):
    torchvision_operators.declare()
    layers = pytest.importorskip("timm.layers")
    table = numbers((2 * before - 1) ** 2, 3)
    rows = (2 * after - 1) ** 2
    wanted = layers.resize_rel_pos_bias_table(table, (after, after), (rows, 3))
    # timm computes in float32
    assert (compute(GeometricTable(after, before), table) - wanted).abs().max() < 3e-6
    assert [sum(row) for row in geometric(2 * before - 1, 2 * after - 1)] == pytest.approx(
        [1.0] * (2 * after - 1)
    )


def test_a_grid_of_positions_keeps_its_slots():
    positions = numbers(1, 1 + 37 * 37, 6, dtype=torch.float64)
    made = compute(BicubicGrid(32, 37, 1), positions)
    assert torch.equal(made[:, :1], positions[:, :1])
    planes = positions[:, 1:].transpose(1, 2).reshape(1, 6, 37, 37)
    wanted = torch.nn.functional.interpolate(planes, size=(32, 32), mode="bicubic")
    assert (made[:, 1:] - wanted.reshape(1, 6, -1).transpose(1, 2)).abs().max() < 1e-13


@pytest.mark.parametrize(("before", "after"), [(14, 16), (16, 14)])
def test_a_patch_kernel_is_resampled_by_the_pseudo_inverse(before, after):
    kernels = numbers(4, 3, before, before, dtype=torch.float64)
    made = compute(PinvLast2((after, after), (before, before)), kernels)
    exact = torch.tensor(
        [[float(value) for value in row] for row in bicubic(before, after)], dtype=torch.float64
    )
    wanted = kernels.reshape(4, 3, -1) @ torch.linalg.pinv(torch.kron(exact, exact).T).T
    assert (made - wanted.reshape(4, 3, after, after)).abs().max() < 1e-12
    if after > before:
        # an enlarged patch gives the same embedding
        patch = numbers(3, before, before, dtype=torch.float64, seed=1)
        enlarged = torch.nn.functional.interpolate(patch[None], size=(after, after), mode="bicubic")
        assert ((made * enlarged).sum((1, 2, 3)) - (kernels * patch).sum((1, 2, 3))).abs().max() < (
            1e-12
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_results_are_rounded_to_the_nearest(dtype):
    one, other = numbers(4096, dtype=dtype), numbers(4096, dtype=dtype, seed=1)
    exact = one.double() - other.double()
    assert torch.equal(compute(Subtract(), one, other), exact.to(dtype))


def test_infinities_and_nan_are_kept():
    big = torch.tensor([3e38, -3e38, float("nan")])
    made = compute(Subtract(), big.bfloat16(), -big.bfloat16())
    assert made.tolist()[:2] == [float("inf"), float("-inf")]
    assert torch.isnan(made[2])


def test_pieces_of_every_kind_are_concatenated():
    source = Held(a=numbers(4, 2), g=numbers(4, seed=1))
    scaled = Computed(ScaleRows(), ("a", "g"), source.specs["a"])
    spec = TensorSpec("F32", (7, 2))
    move = Move("t", spec, (Piece("a", ((1, 3),)), scaled, Fresh(1, 0.5, 0.0, 0)))
    made = torch.frombuffer(bytearray(b"".join(carried_out(move, source))), dtype=torch.float32)
    a, g = source.tensors["a"], source.tensors["g"]
    assert torch.equal(
        made.reshape(7, 2), torch.cat([a[1:3], a * g[:, None], torch.full((1, 2), 0.5)])
    )


BYTES = {
    ScaleRows(): ((8, 5), (8,)),
    ScaleInChannels((2, 1, 0), (58.395, 57.12, 57.375)): ((4, 3, 7, 7),),
    BicubicLast2((16, 16), (14, 14)): ((2, 3, 14, 14),),
    PinvLast2((16, 16), (14, 14)): ((2, 3, 14, 14),),
    PinvLast2((14, 14), (16, 16)): ((2, 3, 16, 16),),
    BicubicTable(12, 7): ((169, 3),),
    GeometricTable(12, 7): ((169, 3),),
    GeometricTable(7, 12): ((529, 3),),
    BicubicGrid(32, 37, 1): ((1, 1370, 4),),
}


def test_the_bytes_are_the_same_on_every_machine():
    # in float64, where the last bit of every operation shows
    hashed = hashlib.sha256()
    for operation, shapes in BYTES.items():
        operands = [numbers(*s, dtype=torch.float64, seed=n) for n, s in enumerate(shapes)]
        hashed.update(compute(operation, *operands).numpy().tobytes())
    assert hashed.hexdigest() == (
        "dfcc7015c30e763a19792f33adc07c80d0f33283a67142ab021dc47e4f546551"
    )
