"""Tensors of any shape, stride and type are read as torch and safetensors read them."""

import io
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detrex_hub import checkpoints
from detrex_hub.specs import TORCH_DTYPES
from tests.checkpoints.crafted import torch_bytes

steady = settings(derandomize=True, max_examples=60, deadline=None)
KEYS = st.text(min_size=1, max_size=12).filter(lambda key: key.isprintable())


@st.composite
def storages(draw):
    """A flat tensor of a random type, filled with random bytes."""
    dtype = getattr(torch, draw(st.sampled_from([*TORCH_DTYPES])))
    count = draw(st.integers(1, 40))
    data = draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize))
    if dtype == torch.bool:
        data = bytes(byte & 1 for byte in data)
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).view(dtype)


@st.composite
def views(draw, base):
    """A view of some of a flat tensor's elements, of any strides."""
    count = len(base)
    offset = draw(st.integers(0, count - 1))
    room = count - 1 - offset
    shape, strides = [], []
    for _ in range(draw(st.integers(0, 3))):
        size = draw(st.integers(0, 4))
        stride = draw(st.integers(0, room // max(size - 1, 1)))
        room -= max(size - 1, 0) * stride
        shape.append(size)
        strides.append(stride)
    return base.as_strided(shape, strides, offset)


@st.composite
def state_dicts(draw):
    """A few views of a few storages, some of them the same tensor."""
    bases = draw(st.lists(storages(), min_size=1, max_size=3))
    keys = draw(st.lists(KEYS, min_size=1, max_size=6, unique=True))
    return {key: draw(views(draw(st.sampled_from(bases)))) for key in keys}


def opened(data):
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / "x"
    path.write_bytes(data)
    with folder, checkpoints.open(path, container="") as checkpoint:
        yield checkpoint


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "stream"])
@steady
@given(state=state_dicts())
def test_files_from_torch_are_read_as_torch_reads_them(archive, state):
    written = io.BytesIO()
    torch.save(state, written, _use_new_zipfile_serialization=archive)
    written.seek(0)
    # torch cannot load all types that it writes in its older format
    loaded = torch.load(written, weights_only=True) if archive else state
    for checkpoint in opened(written.getvalue()):
        assert list(checkpoint.specs) == list(loaded)
        for key, tensor in loaded.items():
            spec = checkpoint.specs[key]
            assert spec.dtype == TORCH_DTYPES[str(tensor.dtype).removeprefix("torch.")]
            assert spec.shape == tuple(tensor.shape)
            assert checkpoint.read(key) == torch_bytes(tensor) == torch_bytes(state[key])
            if tensor.ndim:
                rows = [(0, len(tensor)), (len(tensor) // 2, len(tensor))]
                wanted = torch_bytes(tensor) + torch_bytes(tensor[len(tensor) // 2 :])
                assert b"".join(checkpoint.chunks(key, rows)) == wanted


@steady
@given(state=state_dicts())
def test_safetensors_files_are_read_and_written_as_by_safetensors(state):
    whole = {key: tensor.contiguous().clone() for key, tensor in state.items()}
    data = safetensors.torch.save(whole, metadata={"format": "pt"})
    for checkpoint in opened(data):
        assert checkpoint.specs.keys() == whole.keys()
        for key, tensor in whole.items():
            assert checkpoint.specs[key].shape == tuple(tensor.shape)
            assert checkpoint.read(key) == torch_bytes(tensor)
        with tempfile.TemporaryDirectory() as folder:
            again = Path(folder) / "again.safetensors"
            tensors = [checkpoint.tensor(key) for key in checkpoint.specs]
            checkpoints.write(again, "safetensors", tensors, metadata=checkpoint.metadata)
            assert again.read_bytes() == data


_NUMPY = st.sampled_from(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"])


@steady
@given(
    shape=st.lists(st.integers(0, 5), max_size=4),
    code=_NUMPY,
    order=st.sampled_from("<>"),
    protocol=st.integers(0, 5),
    axes=st.randoms(use_true_random=False),
    seed=st.integers(0, 2**32),
)
def test_numpy_pickles_are_read_as_numpy_reads_them(shape, code, order, protocol, axes, seed):
    count = int(np.prod(shape, dtype=int))
    data = np.random.default_rng(seed).bytes(8 * count)
    if code == "b1":
        data = bytes(byte & 1 for byte in data)
    array = np.frombuffer(data, order + code, count).reshape(shape)
    turned = array.transpose(axes.sample(range(array.ndim), array.ndim))
    for checkpoint in opened(pickle.dumps({"w": turned, "v": array}, protocol)):
        for key, one in {"w": turned, "v": array}.items():
            assert checkpoint.specs[key].shape == one.shape
            assert checkpoint.read(key) == one.astype("<" + code).tobytes()


def odd_tensors():
    """Valid tensors that careless readers lose: without elements, dimensions or numbers."""
    made = {}
    for name in TORCH_DTYPES:
        dtype = getattr(torch, name)
        one = torch.full((dtype.itemsize,), 1, dtype=torch.uint8).view(dtype)
        made |= {
            f"{name}.empty": one[:0],
            f"{name}.empty.inside": one[:0].reshape(2, 0, 3),
            f"{name}.scalar": one[0],
            f"{name}.ones": one.expand(2, 3).contiguous(),
        }
        if dtype.is_floating_point and dtype.itemsize > 1:
            made[f"{name}.not.a.number"] = torch.full((3,), torch.nan, dtype=dtype)
    return made


def _saved(path, format, tensors):
    if format == "safetensors":
        safetensors.torch.save_file(tensors, path)
    elif format == "pickle":
        path.write_bytes(pickle.dumps(tensors, 4))
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=format == "archive")


@pytest.mark.parametrize("format", ["archive", "stream", "pickle", "safetensors"])
def test_odd_tensors_keep_their_bytes_between_all_formats(tmp_path, format):
    tensors = odd_tensors()
    _saved(tmp_path / "source", format, tensors)
    with checkpoints.open(tmp_path / "source") as source:
        assert source.specs.keys() == tensors.keys()
        for written, fits in (("safetensors", True), ("pth", True), ("pkl", False)):
            path = tmp_path / f"again.{written}"
            kept = [key for key in tensors if fits or ("float8" not in key and "bfloat" not in key)]
            checkpoints.write(path, written, [source.tensor(key) for key in kept])
            with checkpoints.open(path) as again:
                for key in kept:
                    assert again.specs[key] == source.specs[key]
                    assert again.read(key) == source.read(key) == torch_bytes(tensors[key]), key
    loaded = torch.load(tmp_path / "again.pth", weights_only=True)["model"]
    for key, tensor in tensors.items():
        assert (loaded[key].dtype, loaded[key].shape) == (tensor.dtype, tensor.shape)
        assert torch_bytes(loaded[key]) == torch_bytes(tensor)
