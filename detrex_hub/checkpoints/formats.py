"""Which format a file is in, by its first bytes; never by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from detrex_hub.checkpoints import numpy_pickle, safetensors, torch_legacy, torch_zip
from detrex_hub.checkpoints.base import Checkpoint
from detrex_hub.checkpoints.containers import Choice
from detrex_hub.checkpoints.files import File, Window
from detrex_hub.checkpoints.pickle_machine import Machine
from detrex_hub.errors import CheckpointError

Reader: TypeAlias = Callable[[File, Choice], Checkpoint]

_HEAD = 512
_ELSEWHERE = "Download the file itself"
# beginnings of files that are taken for checkpoints now and then
_OTHERS = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file", "Run git lfs pull"),
    (b"<!doctype html", "is an HTML page", _ELSEWHERE),
    (b"<html", "is an HTML page", _ELSEWHERE),
    (b"<?xml", "is an XML document, maybe a server's error message", _ELSEWHERE),
    (b"{", "is JSON text", _ELSEWHERE),
    (b"\x1f\x8b", "is compressed with gzip", "Decompress it first"),
    (b"BZh", "is compressed with bzip2", "Decompress it first"),
    (b"\xfd7zXZ", "is compressed with xz", "Decompress it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd", "Decompress it first"),
    (b"7z\xbc\xaf", "is a 7-Zip archive", "Unpack it first"),
    (b"Rar!", "is a RAR archive", "Unpack it first"),
    (b"\x93numpy", "is a single NumPy array (.npy)", None),
    (b"\x89hdf", "is an HDF5 file", None),
    (b"gguf", "is a GGUF file", None),
)
_TAR = "is a tar archive; torch before 0.1.10 wrote such checkpoints"


def reader(file: File) -> Reader:
    """The function that opens this file.

    Raises:
        CheckpointError: it is no checkpoint; the message says what it looks like.
    """
    head = file.read(0, min(file.size, _HEAD))
    if not head.strip(b"\0"):
        what = "holds only zeros at its beginning" if head else "is empty"
        raise file.error(what, hint="Get the file again")
    if head.startswith(b"PK\3\4"):
        return torch_zip.read
    # a header length below a terabyte, and the header's first character
    if head[5:9] == b"\0\0\0{":
        return safetensors.read
    if head[0] == 0x80:
        return torch_legacy.read if _is_legacy(file) else numpy_pickle.read
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for begin, what, hint in _OTHERS:
        if text.startswith(begin.lower()):
            raise file.error(what, hint=hint)
    if head[257:262] == b"ustar":
        raise file.error(_TAR, hint="Save it again with a newer torch")
    # protocols 0 and 1 have no mark; their dicts begin so
    if head[:1] in b"(}c":
        return torch_legacy.read if _is_legacy(file) else numpy_pickle.read
    raise file.error("is of no known format: no torch checkpoint, pickle or safetensors file")


def _is_legacy(file: File) -> bool:
    """Whether the first pickle is the magic number of torch's stream format."""
    try:
        first = Machine(Window(file, 0, min(file.size, _HEAD)), {}, {}).load()
    except CheckpointError:
        return False
    return bool(first == torch_legacy.MAGIC)
