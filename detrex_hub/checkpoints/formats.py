"""Find the format of a file by its first bytes, never by its name."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TypeAlias

from detrex_hub.checkpoints import (
    foreign,
    numpy_pickle,
    safetensors,
    torch_legacy,
    torch_zip,
)
from detrex_hub.checkpoints.checkpoint import Checkpoint
from detrex_hub.checkpoints.containers import ContainerChoice
from detrex_hub.checkpoints.files import File, HashedFile, Window
from detrex_hub.checkpoints.pickle_machine import Machine
from detrex_hub.checkpoints.zip_directory import members
from detrex_hub.errors import CheckpointError

Reader: TypeAlias = Callable[[File, ContainerChoice], Checkpoint]

_HEAD = 512
_ELSEWHERE = "Download the file itself"
# beginnings of files that are often mistaken for checkpoints
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
)
# torch/export/pt2_archive/constants.py, and before torch 2.7
_OF_EXPORT = ("archive_format", "serialized_exported_program.json")
# the module of the first class that `.metadata` names
_DISTRIBUTED = b"torch.distributed.checkpoint.metadata"
_TAR = "is a tar archive; torch before 0.1.10 wrote such checkpoints"


def reader(file: File) -> Reader:
    """The function that opens this file.

    Raises:
        CheckpointError: it is not a checkpoint; the message says what it looks like.
    """
    head = file.read(0, min(file.size, _HEAD))
    if not head.strip(b"\0"):
        what = "holds only zeros at its beginning" if head else "is empty"
        raise file.error(what, hint="Get the file again")
    if (read := _reader(file, head)) is not None:
        return read
    if (other := foreign.found_in(file, head)) is not None:
        raise foreign.refusal(file, other)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"{") and _is_index(file, text):
        return _shards
    for begin, what, hint in _OTHERS:
        if text.startswith(begin.lower()):
            raise file.error(what, hint=hint)
    if head[257:262] == b"ustar":
        raise file.error(_TAR, hint="Save it again with a newer torch")
    # protocols 0 and 1 have no mark; their dicts begin so
    if head[:1] in b"(}c":
        return torch_legacy.read if _is_legacy(file) else numpy_pickle.read
    raise file.error(
        "has no known format: it is not a torch checkpoint, a pickle or a safetensors file"
    )


def _reader(file: File, head: bytes) -> Reader | None:
    """The function that opens a file whose first bytes are a mark."""
    if head.startswith(b"PK\3\4"):
        return _archive
    # a header length below a terabyte, and the header's first character
    if head[5:9] == b"\0\0\0{":
        return safetensors.read
    if head[0] == 0x80 and _DISTRIBUTED in head[:128]:
        return _distributed
    if head[0] == 0x80:
        return torch_legacy.read if _is_legacy(file) else numpy_pickle.read
    return None


def _archive(file: File, container: ContainerChoice) -> Checkpoint:
    """Open a zip archive: torch's, or one around a checkpoint."""
    if file.path.suffix == ".distcp":
        # nothing shows that several archives were concatenated
        folder = file.path.parent
        into = f"{folder.resolve().name}_detrex"
        raise file.error(
            "is a part of a distributed checkpoint",
            hint="Give its folder: "
            + shlex.join(["detrex-hub", "convert", str(folder), "-o", into]),
        )
    found = members(file)
    if torch_zip.is_torch(found):
        return torch_zip.read(file, found, container)
    if found and all(name.endswith(".npy") for name in found):
        raise foreign.refusal(file, foreign.NUMPY)
    if any(name.rpartition("/")[2] in _OF_EXPORT for name in found):
        raise foreign.refusal(file, foreign.EXPORTED)
    if "model.weights.h5" in found:
        raise foreign.refusal(file, foreign.KERAS)
    _refuse_hashed(file)
    from detrex_hub.checkpoints import zipped

    inner = zipped.only_checkpoint(file, found, _begins_checkpoint, _HEAD)
    try:
        opened = _opened_inside(inner, container)
    except BaseException:
        inner.close()
        raise
    opened.format += " in a zip archive"
    return opened


def _opened_inside(file: File, container: ContainerChoice) -> Checkpoint:
    """Open the checkpoint in a zip archive."""
    head = file.read(0, min(file.size, _HEAD))
    if head.startswith(b"PK\3\4"):
        found = members(file)
        if not torch_zip.is_torch(found):
            raise file.error("is a zip archive around a zip archive", hint="Unpack it first")
        return torch_zip.read(file, found, container)
    read = _reader(file, head)
    assert read is not None
    return read(file, container)


# rare formats are imported when needed, so that opening other files stays fast


def _is_index(file: File, text: bytes) -> bool:
    from detrex_hub.checkpoints import shards

    return shards.is_index(file, text)


def _shards(file: File, container: ContainerChoice) -> Checkpoint:
    """Open the files of an index. They must not be indexes themselves."""
    from detrex_hub.checkpoints import shards

    def opened(part: File, container: ContainerChoice) -> Checkpoint:
        head = part.read(0, min(part.size, _HEAD))
        read = _reader(part, head) if head else None
        if read is None:
            raise part.error("is neither a safetensors file nor a torch checkpoint")
        return read(part, container)

    _refuse_hashed(file)
    return shards.read(file, container, opened)


def _distributed(file: File, container: ContainerChoice) -> Checkpoint:
    """Open the metadata of a distributed checkpoint."""
    from detrex_hub.checkpoints import torch_distributed

    _refuse_hashed(file)
    return torch_distributed.read(file, container)


def _refuse_hashed(file: File) -> None:
    if isinstance(file, HashedFile):
        raise file.error("does not contain the weights itself, but a single file is needed")


def _begins_checkpoint(head: bytes) -> bool:
    return head.startswith(b"PK\3\4") or head[5:9] == b"\0\0\0{" or head[:1] == b"\x80"


def _is_legacy(file: File) -> bool:
    """Whether the first pickle is the magic number of torch's stream format."""
    try:
        first = Machine(Window(file, 0, min(file.size, _HEAD)), {}, {}).load()
    except CheckpointError:
        return False
    return bool(first == torch_legacy.MAGIC)
