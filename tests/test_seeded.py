"""Seeded numbers: always the same bytes, whichever part of a tensor is asked for."""

from __future__ import annotations

import hashlib

import pytest

from detrex_hub import seeded
from detrex_hub.seeded import SyntheticCheckpoint
from detrex_hub.specs import TensorSpec

SHAPE = (700, 53)
# measured when the numbers were first published
DIGESTS = {
    ("layer.weight", "F16"): "5d33bb869af2179e0a16d1248dd6c1dbd0ecb4cbd22422105cf8e7287d417e2d",
    ("layer.weight", "F32"): "d9aeece8d4260d631d1459899c314837cb18e678989186f2ea42877524f433df",
    ("layer.weight", "F64"): "d9226e0f2fef3cf710d1fa9ad6cd6018e28a1518902b425cef2a3a1389f41fc1",
    ("norm.running_var", "F32"): "31bf499947eee816d3e1e528303803594cc042edf815b72b3d4d21e823c66f7f",
    ("count", "I64"): "ca826281538788d8cb76ad1604dd0fc2a31f143d3b6dee4d1eb4a116943fb92b",
}


def one(key, dtype, shape=SHAPE):
    return SyntheticCheckpoint({key: TensorSpec(dtype, shape)}, {})


@pytest.mark.parametrize(("key", "dtype"), DIGESTS)
def test_the_numbers_never_change(key, dtype):
    assert hashlib.sha256(one(key, dtype).read(key)).hexdigest() == DIGESTS[key, dtype]


@pytest.mark.parametrize(("key", "dtype"), DIGESTS)
def test_rows_have_the_bytes_that_the_whole_has(key, dtype):
    checkpoint = one(key, dtype)
    whole = checkpoint.read(key)
    height = len(whole) // SHAPE[0]
    for rows in ([(0, 1)], [(1, 2)], [(3, 699)], [(650, 700), (0, 3)], [(5, 5)], []):
        expected = b"".join(whole[start * height : stop * height] for start, stop in rows)
        assert b"".join(checkpoint.chunks(key, rows)) == expected


def test_no_more_numbers_are_made_than_the_rows_have(monkeypatch):
    made, uniform = [], seeded._uniform

    def counted(generator, count):
        made.append(count)
        return uniform(generator, count)

    monkeypatch.setattr(seeded, "_uniform", counted)
    assert [*one("w", "F32").chunks("w", [(10, 12)])]
    assert made == [2 * SHAPE[1]]


def test_a_large_tensor_comes_in_small_pieces():
    pieces = one("w", "F32", (2**20,)).chunks("w")
    assert max(map(len, pieces)) <= 256 * 2**10
