"""Every part of an archive that is used is compared with its CRC-32 once, however it is read."""

import struct
import zipfile
import zlib

import numpy as np
import pytest
import torch

from detrex_hub import checkpoints
from detrex_hub.checkpoints import torch_zip
from detrex_hub.comparison import diff
from detrex_hub.conversion import convert
from detrex_hub.errors import CheckpointError
from detrex_hub.exporting import export
from tests import reference
from tests.checkpoint_files import tensors

LARGE = 3 << 20
"""Elements of a tensor that is read in several pieces."""


def flip(path, member, at=0.5):
    """Flip one bit of a member, at a fraction of its length."""
    with zipfile.ZipFile(path) as archive:
        info = next(one for one in archive.infolist() if one.filename.endswith(f"/{member}"))
    data = bytearray(path.read_bytes())
    name, extra = struct.unpack_from("<2H", data, info.header_offset + 26)
    start = info.header_offset + 30 + name + extra
    data[start + int(at * (info.file_size - 1))] ^= 0x40
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() == info.filename


def numbers(*shape):
    return torch.arange(float(np.prod(shape))).reshape(shape)


# a tensor in each form of storage, and the rows that are read from it
WAYS = {
    "whole": (lambda: numbers(LARGE), None),
    "channels last": (
        lambda: numbers(64, 256, 8, 8).to(memory_format=torch.channels_last),
        None,
    ),
    "transposed": (lambda: numbers(1024, LARGE // 1024).t(), None),
    "every other column": (lambda: numbers(300, 200)[:, ::2], None),
    "a view of a shared storage": (lambda: numbers(LARGE)[1000:2000], None),
    "one element of a shared storage": (lambda: numbers(1000)[500], None),
    "repeated": (lambda: numbers(1, 1000).expand(5, 1000), None),
    "its first rows": (lambda: numbers(92, 256), [(0, 81)]),
    "rows between others": (lambda: numbers(92, 256), [(91, 92), (3, 5)]),
    "rows of a transposed one": (lambda: numbers(256, 92).t(), [(3, 5)]),
}


@pytest.mark.parametrize("at", [0, 0.5, 1])
@pytest.mark.parametrize("way", WAYS)
def test_a_flipped_bit_is_found_however_a_tensor_is_read(tmp_path, way, at):
    make, rows = WAYS[way]
    path = tmp_path / "x.pth"
    torch.save({"w": make()}, path)
    flip(path, "data/0", at)
    with (
        checkpoints.open(path) as checkpoint,
        pytest.raises(CheckpointError, match=r"x/data/0': its checksum does not match"),
    ):
        list(checkpoint.chunks("w", rows))


@pytest.mark.parametrize("way", WAYS)
def test_each_byte_is_checked_once_and_reads_as_before(tmp_path, way, monkeypatch):
    make, rows = WAYS[way]
    tensor = make()
    path = tmp_path / "x.pth"
    torch.save({"w": tensor, "same": tensor}, path)
    checked, crc32 = [], zlib.crc32

    def counted(data, start=0):
        checked.append(len(data))
        return crc32(data, start)

    expected = (
        tensor.contiguous()
        if rows is None
        else torch.cat([tensor[start:stop] for start, stop in rows])
    )
    with checkpoints.open(path) as checkpoint:
        before = checkpoint.bytes_read
        monkeypatch.setattr(zlib, "crc32", counted)
        for key in ("w", "same", "w"):
            read = b"".join(checkpoint.chunks(key, rows))
            assert read == expected.numpy().tobytes()
        assert sum(checked) == tensor.untyped_storage().nbytes()
        if way in ("whole", "channels last"):
            # the check needs no extra read; only the header of the member is added
            assert checkpoint.bytes_read - before < 3 * tensor.nbytes + 1000


def test_views_are_checked_while_they_are_read_in_turns(tmp_path):
    whole = numbers(LARGE)
    path = tmp_path / "x.pth"
    torch.save({"a": whole[: LARGE // 2], "b": whole[LARGE // 2 :]}, path)
    with checkpoints.open(path) as checkpoint:
        pairs = [*zip(checkpoint.chunks("b"), checkpoint.chunks("a"), strict=True)]
        assert b"".join(a for _, a in pairs) == whole[: LARGE // 2].numpy().tobytes()


def test_unread_bytes_are_not_checked(tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"model": {"w": numbers(5)}, "ema": {"v": numbers(7)}}, path)
    flip(path, "data/1")
    with checkpoints.open(path, container="model") as checkpoint:
        assert checkpoint.read("w") == numbers(5).numpy().tobytes()
    with (
        checkpoints.open(path, container="ema") as checkpoint,
        pytest.raises(CheckpointError, match="checksum"),
    ):
        checkpoint.read("v")


@pytest.mark.parametrize("kept", [torch_zip._KEPT_INDEX, 1000])
def test_an_index_that_holds_arrays_is_checked(tmp_path, monkeypatch, kept):
    monkeypatch.setattr(torch_zip, "_KEPT_INDEX", kept)
    path = tmp_path / "x.pth"
    torch.save({"w": numbers(5000).numpy()}, path)
    with checkpoints.open(path) as checkpoint:
        assert checkpoint.read("w") == numbers(5000).numpy().tobytes()
    flip(path, "data.pkl")
    with pytest.raises(CheckpointError, match=r"data\.pkl': its checksum does not match"):
        checkpoints.open(path)


def test_the_byte_order_is_checked(tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"w": numbers(5)}, path)
    flip(path, "byteorder")
    with pytest.raises(CheckpointError, match="byteorder': its checksum does not match"):
        checkpoints.open(path)


def test_a_zeroed_checksum_does_not_turn_checking_off(tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"w": numbers(5)}, path)
    with zipfile.ZipFile(path) as archive:
        info = next(one for one in archive.infolist() if one.filename.endswith("data/0"))
    data = path.read_bytes()
    at = data.rindex(b"PK\1\2", 0, data.rindex(info.filename.encode()))
    path.write_bytes(data[: at + 16] + bytes(4) + data[at + 20 :])
    with (
        checkpoints.open(path) as checkpoint,
        pytest.raises(CheckpointError, match="checksum"),
    ):
        checkpoint.read("w")


@pytest.fixture(scope="module")
def state():
    """An original DETR, whose class heads are cut; its convolutions are channels last."""
    state = tensors(reference.load("detr_r50").source)
    return {
        key: value.to(memory_format=torch.channels_last) if value.dim() == 4 else value
        for key, value in state.items()
    }


@pytest.mark.parametrize("key", ["class_embed.weight", "backbone.0.body.layer4.2.conv2.weight"])
def test_a_damaged_archive_gives_no_output(tmp_path, state, key):
    good, bad = tmp_path / "good.pth", tmp_path / "bad.pth"
    torch.save({"model": state}, bad)
    torch.save({"model": {name: value.contiguous() for name, value in state.items()}}, good)
    convert(good, tmp_path / "exportable.pth", facts={"classes": "keep"})
    flip(bad, f"data/{[*state].index(key)}")
    with pytest.raises(CheckpointError, match="checksum"):
        convert(bad, tmp_path / "out")
    with pytest.raises(CheckpointError, match="checksum"):
        diff(good, bad)
    exportable = tmp_path / "exportable.pth"
    with checkpoints.open(exportable) as checkpoint:
        last = len(checkpoint.specs) - 1
    flip(exportable, f"data/{last}")
    with pytest.raises(CheckpointError, match="checksum"):
        export(exportable, tmp_path / "back.pth")
    assert {path.name for path in tmp_path.iterdir()} == {"good.pth", "bad.pth", "exportable.pth"}
