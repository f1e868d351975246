"""Files that torch.save writes are read, in its archive format and in the older stream."""

import argparse
import collections
import struct
import warnings

import numpy as np
import pytest
import torch

from detrex_hub import checkpoints
from detrex_hub.errors import CheckpointError
from detrex_hub.specs import TORCH_DTYPES
from tests.checkpoints.crafted import torch_bytes

both_formats = pytest.mark.parametrize("archive", [True, False], ids=["archive", "stream"])


def every_dtype():
    generator = torch.Generator().manual_seed(0)
    made = {}
    for name in TORCH_DTYPES:
        dtype = getattr(torch, name)
        highest = 2 if dtype == torch.bool else 256
        data = torch.randint(0, highest, (6 * dtype.itemsize,), generator=generator)
        made[name] = data.to(torch.uint8).view(dtype).reshape(2, 3)
    return made


def views():
    base = torch.arange(2.0 * 3 * 5 * 7).reshape(2, 3, 5, 7)
    return {
        "whole": base,
        "transposed": base.t() if base.ndim == 2 else base.permute(3, 1, 0, 2),
        "channels_last": base.contiguous(memory_format=torch.channels_last),
        "slice": base[1, :, 1:4],
        "step": base.reshape(-1)[5:100:3],
        "expanded": torch.arange(4.0).expand(3, 4),
        "expanded_twice": torch.tensor(2.5).expand(2, 3),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "empty_inside": torch.zeros(4, 0, 2),
        "column": base.reshape(-1, 7)[:, 2],
        "parameter": torch.nn.Parameter(torch.ones(3)),
        "not_a_number": torch.full((3,), torch.nan),
    }


def save(path, content, archive=True):
    torch.save(content, path, _use_new_zipfile_serialization=archive)
    return path


@both_formats
@pytest.mark.parametrize("make", [every_dtype, views])
def test_every_tensor_is_read_as_torch_reads_it(tmp_path, archive, make):
    tensors = make()
    with checkpoints.open(save(tmp_path / "x.pth", tensors, archive)) as checkpoint:
        assert checkpoint.format == ("torch" if archive else "torch-legacy")
        assert list(checkpoint.specs) == list(tensors)
        for key, tensor in tensors.items():
            spec = checkpoint.specs[key]
            dtype = str(tensor.dtype).removeprefix("torch.")
            assert (spec.dtype, spec.shape) == (TORCH_DTYPES[dtype], tuple(tensor.shape))
            assert checkpoint.read(key) == torch_bytes(tensor), key


@both_formats
def test_rows_are_returned_in_the_requested_order(tmp_path, archive):
    table = torch.arange(91.0 * 4).reshape(91, 4)
    tensors = {"table": table, "turned": table.t().contiguous().t()}
    rows = [(40, 50), (0, 1), (90, 91), (3, 3), (0, 1)]
    wanted = torch.cat([table[a:b] for a, b in rows])
    with checkpoints.open(save(tmp_path / "x.pth", tensors, archive)) as checkpoint:
        for key in tensors:
            assert b"".join(checkpoint.chunks(key, rows)) == torch_bytes(wanted)
        for wrong in ([(0, 92)], [(-1, 2)], [(5, 4)]):
            with pytest.raises(ValueError, match="rows"):
                list(checkpoint.chunks("table", wrong))


@both_formats
def test_aliases_have_one_identity_and_views_do_not(tmp_path, archive):
    head = torch.randn(4, 4)
    other = torch.randn(4, 4)
    tensors = {
        "a": head,
        "b": head,
        "detached": head.detach(),
        "turned": head.t(),
        "half": head[:2],
        "flat": head.view(16),
        "equal": head.clone(),
        "row": other[:1],
        "row again": other[:1].t().t(),
        "empty": torch.zeros(0),
        "also empty": torch.zeros(0),
    }
    with checkpoints.open(save(tmp_path / "x.pth", tensors, archive)) as checkpoint:
        groups = collections.defaultdict(list)
        for key in checkpoint.specs:
            groups[checkpoint.identity(key)].append(key)
    shared = [keys for keys in groups.values() if len(keys) > 1]
    assert shared == [["a", "b", "detached"], ["row", "row again"]]


@both_formats
def test_a_training_checkpoint_shows_weights_and_plain_values_only(tmp_path, archive):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.zeros(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    args = argparse.Namespace(
        lr=1e-4,
        masks=False,
        device=torch.device("cuda:0"),
        names=["a", "b"],
        nested=argparse.Namespace(dtype=torch.float16, size=torch.Size([2, 3])),
        seed=None,
    )
    content = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": {"last_epoch": 3},
        "epoch": 11,
        "args": args,
        "best": np.float64(0.5),
        "rng_state": torch.get_rng_state(),
        "mean": np.zeros(3),
    }
    with checkpoints.open(save(tmp_path / "x.pth", content, archive)) as checkpoint:
        assert checkpoint.container == "model"
        assert "optimizer" not in str(checkpoint.containers)
        assert checkpoint.containers["model"] == len(model.state_dict())
        assert list(checkpoint.specs) == list(model.state_dict())
        assert checkpoint.metadata == {
            "epoch": 11,
            "args": {
                "lr": 1e-4,
                "masks": False,
                "device": "cuda:0",
                "names": ["a", "b"],
                "nested": {"dtype": "<torch.float16>", "size": [2, 3]},
                "seed": None,
            },
            "best": 0.5,
        }
        assert checkpoint.placeholders == ("argparse.Namespace",)


def test_parameters_with_hooks_and_attributes_are_read(tmp_path):
    hooked = torch.nn.Parameter(torch.arange(3.0))
    hooked.register_hook(lambda gradient: None)
    marked = torch.nn.Parameter(torch.arange(4.0))
    marked.weight_decay = 0.1
    tagged = torch.arange(5.0)
    tagged.tag = "kept"
    buffer = torch.nn.Buffer(torch.arange(6.0))
    tensors = {"hooked": hooked, "marked": marked, "tagged": tagged, "buffer": buffer}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save(tmp_path / "x.pth", tensors)
    with checkpoints.open(tmp_path / "x.pth") as checkpoint:
        for key, tensor in tensors.items():
            assert checkpoint.read(key) == torch_bytes(tensor)


def sparse():
    return torch.eye(3).to_sparse()


def quantized():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (sparse, "sparse"),
        (quantized, "quantized"),
        (lambda: torch.zeros(2, dtype=torch.complex128), "complex128"),
        (lambda: torch.zeros(2, device="meta"), "meta"),
        (lambda: torch.zeros(2, dtype=torch.complex64).conj(), "conjugated"),
        (lambda: torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]), "nested"),
    ],
)
def test_tensors_of_other_kinds_are_refused_by_name(tmp_path, make, named):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save(tmp_path / "x.pth", {"fine": torch.zeros(1), "odd": make()})
    with pytest.raises(CheckpointError, match=rf"'odd' is .*{named}"):
        checkpoints.open(tmp_path / "x.pth")


def test_a_whole_pickled_module_is_named(tmp_path):
    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.linear\.Linear.*state_dict"):
        checkpoints.open(tmp_path / "x.pth")


def test_a_scripted_module_is_named(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="TorchScript"):
        checkpoints.open(tmp_path / "x.pt")


def test_numpy_arrays_saved_by_torch_are_read(tmp_path):
    arrays = {"a": np.arange(6, dtype="f4").reshape(2, 3), "b": np.arange(1000, dtype="i8")}
    torch.save({"model": arrays}, tmp_path / "x.pth")
    with checkpoints.open(tmp_path / "x.pth") as checkpoint:
        assert {key: checkpoint.read(key) for key in arrays} == {
            key: array.tobytes() for key, array in arrays.items()
        }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@both_formats
def test_every_pickle_protocol_is_read(tmp_path, archive, protocol):
    tensors = {"model": {"w": torch.randn(300)}, "note": "x" * 3000}
    torch.save(
        tensors,
        tmp_path / "x.pth",
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=archive,
    )
    with checkpoints.open(tmp_path / "x.pth") as checkpoint:
        assert checkpoint.read("w") == torch_bytes(tensors["model"]["w"])
        assert checkpoint.metadata == {"note": "x" * 3000}


def test_an_archive_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.arange(3.0)}, tmp_path / "x.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    with checkpoints.open(tmp_path / "x.pth") as checkpoint:
        assert checkpoint.read("w") == struct.pack("<3f", 0, 1, 2)


def test_large_strided_tensors_are_gathered_in_small_pieces(tmp_path):
    # larger than a piece in every dimension, in a storage that no read may load as a whole
    base = torch.randint(0, 1000, (1500, 1700), dtype=torch.int32)
    tensors = {
        "turned": base.t(),
        "wide": base[:, ::2],
        "tall": base[::3].t()[::5],
        "repeated": base[:1].expand(1000, 1700),
    }
    with checkpoints.open(save(tmp_path / "x.pth", tensors)) as checkpoint:
        for key, tensor in tensors.items():
            pieces = list(checkpoint.chunks(key))
            assert max(map(len, pieces)) <= checkpoints.PIECE
            assert b"".join(pieces) == torch_bytes(tensor), key
