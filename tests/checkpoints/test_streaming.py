"""In every format, opening reads only the index, and tensors are read in small pieces."""

from __future__ import annotations

import argparse
import hashlib
import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from detrex_hub import checkpoints
from detrex_hub.checkpoints import PIECE, Tensor
from detrex_hub.specs import TensorSpec

MIB = 2**20
LARGE = 12 * MIB
"""Size in bytes of each of two tensors: more than any reader may hold at once."""
INDEX = 16 << 10


def content(tensor):
    """Weights, and the unneeded state of an optimizer."""
    return {
        "model": {"w": tensor},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(LARGE // 4)}}, "param_groups": []},
        "args": argparse.Namespace(lr=1e-4),
    }


def zipped(path, tensor):
    torch.save(content(tensor), path)


def legacy(path, tensor):
    torch.save(content(tensor), path, _use_new_zipfile_serialization=False)


def transposed(path, tensor):
    torch.save({"w": tensor.reshape(1024, -1).T.contiguous().T}, path)


def part_of_a_shared_storage(path, tensor):
    whole = torch.cat([torch.zeros(LARGE // 4), tensor])
    torch.save({"all": whole, "w": whole[LARGE // 4 :]}, path)


def arrays(protocol, dtype="<f4"):
    def write(path, tensor):
        array = tensor.numpy().astype(dtype)
        path.write_bytes(pickle.dumps({"model": {"w": array}, "__author__": "me"}, protocol))

    return write


def tensors_in_a_pickle(path, tensor):
    path.write_bytes(pickle.dumps({"w": tensor}, 4))


def in_safetensors(path, tensor):
    save_file({"w": tensor, "x": torch.zeros(LARGE // 4)}, path)


# a function that writes the format, and the bytes read for one byte of the tensor
FORMATS = {
    "zip": (zipped, 1),
    "legacy": (legacy, 1),
    # read in two blocks, each of which needs a part of every column
    "non-contiguous": (transposed, 2),
    # one checksum covers the whole storage
    "shared storage": (part_of_a_shared_storage, 2),
    "pickle of protocol 4": (arrays(4), 1),
    # bytes above 127 need two bytes there
    "pickle of protocol 2": (arrays(2), 1.6),
    "big-endian arrays": (arrays(4, ">f4"), 1),
    "torch tensors in a pickle": (tensors_in_a_pickle, 1),
    "safetensors": (in_safetensors, 1),
}


@pytest.fixture(scope="module")
def tensor():
    return torch.rand(LARGE // 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("format", FORMATS)
def test_a_tensor_is_read_once_and_never_whole_in_memory(tmp_path, tensor, format):
    write, width = FORMATS[format]
    write(tmp_path / "file", tensor)
    expected = tensor.numpy().tobytes()
    if format == "non-contiguous":
        expected = np.ascontiguousarray(tensor.numpy().reshape(1024, -1)).tobytes()
    at, right = 0, True
    tracemalloc.start()
    with checkpoints.open(tmp_path / "file") as checkpoint:
        assert checkpoint.bytes_read <= INDEX
        before, _ = tracemalloc.get_traced_memory()
        for piece in checkpoint.chunks("w"):
            right = right and expected[at : at + len(piece)] == piece
            at += len(piece)
            assert len(piece) <= 2 * PIECE
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (right, at) == (True, LARGE)
        assert checkpoint.bytes_read <= width * LARGE + INDEX
        # a strided tensor is joined in blocks, of which two may be in use
        assert peak - before <= (18 if format == "non-contiguous" else 6) * MIB


@pytest.mark.parametrize("format", ["safetensors", "pth", "pkl"])
def test_a_tensor_is_written_without_being_whole_in_memory(tmp_path, tensor, format):
    asked = []
    whole = memoryview(tensor.numpy()).cast("B")

    def chunks():
        asked.append(1)
        for at in range(0, LARGE, PIECE):
            yield bytes(whole[at : at + PIECE])

    tracemalloc.start()
    checkpoints.write(
        tmp_path / "file", format, [Tensor("w", TensorSpec("F32", (LARGE // 4,)), chunks)]
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert asked == [1]
    # a few pieces may wait for hashing
    assert peak <= 8 * MIB
    with checkpoints.open(tmp_path / "file") as checkpoint:
        assert checkpoint.read("w") == whole


def test_a_file_is_hashed_while_it_is_read(tmp_path, tensor):
    in_safetensors(tmp_path / "a", tensor)
    zipped(tmp_path / "b", tensor)
    for name, passes in (("a", 1), ("b", 1.5)):
        path = tmp_path / name
        with checkpoints.open(path, hashed=True) as checkpoint:
            for key in checkpoint.specs:
                for _ in checkpoint.chunks(key):
                    pass
            assert checkpoint.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()
            assert checkpoint.bytes_read <= passes * path.stat().st_size + INDEX
