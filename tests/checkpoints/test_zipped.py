"""A checkpoint inside a zip archive is read."""

import json
import pickle
import re
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from detrex_hub import checkpoints
from detrex_hub.errors import CheckpointError

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


def _pickle(state, path):
    with path.open("wb") as file:
        pickle.dump({"model": {key: value.numpy() for key, value in state.items()}}, file)


WRITERS = {
    "torch": torch.save,
    "torch-legacy": lambda state, path: torch.save(
        state, path, _use_new_zipfile_serialization=False
    ),
    "pickle": _pickle,
    "safetensors": save_file,
}


def pack(path, *members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def content(tmp_path, write=torch.save):
    write(STATE, tmp_path / "inner")
    return (tmp_path / "inner").read_bytes()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("format", WRITERS)
def test_the_checkpoint_is_found_among_other_files(tmp_path, format, method):
    path = pack(
        tmp_path / "x.zip",
        ("folder/", b""),
        ("folder/README.md", b"Focus-DETR"),
        ("__MACOSX/folder/._model.pth", b"PK\3\4"),
        ("folder/model.pth", content(tmp_path, WRITERS[format])),
        method=method,
    )
    with checkpoints.open(path) as opened:
        assert opened.path == path
        assert opened.format == f"{format} in a zip archive"
        for key, value in STATE.items():
            assert opened.read(key) == value.numpy().tobytes()
            assert opened.specs[key].shape == tuple(value.shape)


@pytest.mark.parametrize("beyond", [0, 1, 100, 257, 1000])
def test_the_last_buffered_bytes_of_deflate_are_read(tmp_path, beyond):
    # zeros up to the given number of bytes after two pieces of output
    size = 2 * checkpoints.PIECE + beyond
    numel = size - 8 - 100
    header = json.dumps({"a": {"dtype": "U8", "shape": [numel], "data_offsets": [0, numel]}})
    file = (100).to_bytes(8, "little") + header.ljust(100).encode() + bytes(numel)
    with checkpoints.open(pack(tmp_path / "x.zip", ("m.safetensors", file))) as opened:
        assert opened.read("a") == bytes(numel)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([("a.txt", b"x")], "no file in it is a checkpoint"),
        ([("a.pth", b"\x80\2}."), ("b.pth", b"\x80\2}.")], "holds 2 checkpoints: 'a.pth', 'b.pth'"),
        ([("a.zip", b"PK\3\4")], "truncated"),
    ],
)
def test_an_archive_without_one_checkpoint_is_refused(tmp_path, members, says):
    path = pack(tmp_path / "x.zip", *members)
    with pytest.raises(CheckpointError, match=re.escape(says)):
        checkpoints.open(path)


def test_a_zip_archive_in_a_zip_archive_is_refused(tmp_path):
    inner = pack(tmp_path / "inner.zip", ("m.pth", content(tmp_path)))
    path = pack(tmp_path / "x.zip", ("inner.zip", inner.read_bytes()))
    with pytest.raises(CheckpointError, match="a zip archive around a zip archive"):
        checkpoints.open(path)


def test_a_member_that_would_become_too_large_is_refused_before_it_is_unpacked(tmp_path):
    path = pack(tmp_path / "x.zip", ("m.pth", b"PK\3\4" + bytes(200 << 20)))
    with pytest.raises(CheckpointError, match=r"'m.pth' of .* would become 210 MB"):
        checkpoints.open(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_bit_is_found(tmp_path, method):
    written = content(tmp_path, WRITERS["torch-legacy"])
    path = pack(tmp_path / "x.zip", ("m.pth", written), method=method)
    damaged = bytearray(path.read_bytes())
    # in the tensors, or in the compressed bytes
    damaged[damaged.rindex(b"PK\1\2") - 10] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoints.open(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_wrong_checksum_is_refused(tmp_path, method):
    # a format without its own checksums
    written = content(tmp_path, WRITERS["pickle"])
    path = pack(tmp_path / "x.zip", ("m.pkl", written), method=method)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.rindex(b"PK\1\2") + 16] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError, match=r"damaged: archive member 'm.pkl'"):
        checkpoints.open(path)


def test_a_wrong_size_in_the_directory_is_refused(tmp_path):
    path = pack(tmp_path / "x.zip", ("m.pth", content(tmp_path)))
    damaged = bytearray(path.read_bytes())
    damaged[damaged.rindex(b"PK\1\2") + 24] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError, match="cannot be unpacked"):
        checkpoints.open(path)


def test_an_npz_archive_is_not_a_checkpoint(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(2))
    with pytest.raises(CheckpointError, match="npz"):
        checkpoints.open(tmp_path / "x.npz")
