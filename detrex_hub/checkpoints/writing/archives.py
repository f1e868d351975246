"""Torch archives that ``torch.load(weights_only=True)`` reads, written without torch.

Stored members with data descriptors, aligned to 64 bytes by padding in the extra field, as torch
writes them; but with a fixed date and without a serialization id, so that bytes are reproducible.

Source: caffe2/serialize/inline_container.cc; PKWARE's APPNOTE.TXT 6.3, sections 4.3 to 4.5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from detrex_hub.checkpoints import zip_directory as zip
from detrex_hub.checkpoints.arrays import row_major
from detrex_hub.checkpoints.checkpoint import Tensor
from detrex_hub.checkpoints.known_globals import STORAGE_DTYPES
from detrex_hub.checkpoints.writing.opcodes import Opcodes
from detrex_hub.checkpoints.writing.sink import Buffer, Sink, checked_chunks
from detrex_hub.specs import TORCH_DTYPES

_ROOT = "archive/"
_ALIGNMENT = 64
_FLAGS = 0x0808  # sizes follow the data; names are UTF-8
_TIME, _DATE = 0, 0x0021  # 1980-01-01, the first date of zip
_VERSION, _WIDE_VERSION = 20, 45
_WIDE = 0xFFFFFFFF
"""Sizes and positions from this value need zip64."""

_TORCH_NAMES = {ours: theirs for theirs, ours in TORCH_DTYPES.items()}
_STORAGES = {
    TORCH_DTYPES[dtype]: name
    for name, dtype in STORAGE_DTYPES.items()
    if dtype in TORCH_DTYPES and "Untyped" not in name
}


def write(
    sink: Sink,
    tensors: Sequence[Tensor],
    ties: Mapping[str, str],
    extra: Mapping[str, Any] | None,
) -> None:
    """Write ``{"model": {key: tensor}, **extra}``, or ``{key: tensor}`` where extra is None."""
    archive = _Archive(sink)
    index = _index(tensors, ties, extra)
    archive.add("data.pkl", [index], len(index))
    archive.add("byteorder", [b"little"], 6)
    for i, tensor in enumerate(tensors):
        archive.add(f"data/{i}", checked_chunks(tensor), tensor.spec.nbytes)
    archive.add("version", [b"3\n"], 2)
    archive.close()


def _index(
    tensors: Sequence[Tensor], ties: Mapping[str, str], extra: Mapping[str, Any] | None
) -> bytes:
    data = bytearray()
    opcodes = Opcodes(data.extend, protocol=2)
    numbers = {tensor.key: i for i, tensor in enumerate(tensors)}
    names = {tensor.key: tensor.key for tensor in tensors} | dict(ties)
    if extra is not None:
        data += b"}("
        opcodes.text("model")
    data += b"}("
    for name, key in names.items():
        opcodes.text(name)
        _tensor(data, opcodes, tensors[numbers[key]], str(numbers[key]))
    data += b"u"
    if extra is not None:
        for name, value in extra.items():
            opcodes.text(name)
            opcodes.plain(value)
        data += b"u"
    return bytes(data + b".")


def _tensor(data: bytearray, opcodes: Opcodes, tensor: Tensor, storage: str) -> None:
    spec = tensor.spec
    typed = _STORAGES.get(spec.dtype)
    opcodes.global_("torch._utils", "_rebuild_tensor_v2" if typed else "_rebuild_tensor_v3")
    data += b"(("
    opcodes.text("storage")
    if typed:
        opcodes.global_("torch", typed)
    else:
        # types that torch added after it had dropped typed storages
        opcodes.global_("torch.storage", "UntypedStorage")
    opcodes.text(storage)
    opcodes.text("cpu")
    opcodes.integer(spec.numel if typed else spec.nbytes)
    data += b"tQK\0"
    opcodes.integers(spec.shape)
    opcodes.integers(row_major(spec.shape))
    data += b"\x89"
    opcodes.global_("collections", "OrderedDict")
    data += b")R"
    if not typed:
        opcodes.global_("torch", _TORCH_NAMES[spec.dtype])
    data += b"tR"


class _Archive:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._directory = bytearray()
        self._count = 0

    def add(self, name: str, pieces: Iterable[Buffer], nbytes: int) -> None:
        raw_name = (_ROOT + name).encode()
        begin = self._sink.position
        wide = nbytes >= _WIDE
        version, size = (_WIDE_VERSION, zip.NARROW) if wide else (_VERSION, 0)
        extra = struct.pack("<2H2Q", zip.ZIP64_EXTRA, 16, nbytes, nbytes) if wide else b""
        padding = -(begin + zip.LOCAL.size + len(raw_name) + len(extra) + 4) % _ALIGNMENT
        extra += struct.pack("<2sH", b"FB", padding) + b"Z" * padding
        lengths = len(raw_name), len(extra)
        header = zip.LOCAL.pack(
            b"PK\3\4", version, _FLAGS, 0, _TIME, _DATE, 0, size, size, *lengths
        )
        self._sink.write(header + raw_name + extra)
        crc = 0
        for piece in pieces:
            crc = zlib.crc32(piece, crc)
            self._sink.write(piece)
        sizes = struct.pack("<2Q" if wide else "<2L", nbytes, nbytes)
        self._sink.write(struct.pack("<4sL", b"PK\7\10", crc) + sizes)
        self._list(raw_name, crc, nbytes, begin)

    def _list(self, raw_name: bytes, crc: int, nbytes: int, begin: int) -> None:
        values = (nbytes, nbytes, begin)
        wide = [value for value in values if value >= _WIDE]
        extra = struct.pack(f"<2H{len(wide)}Q", zip.ZIP64_EXTRA, 8 * len(wide), *wide)
        version = _WIDE_VERSION if wide else _VERSION
        size, packed, header = (zip.NARROW if value >= _WIDE else value for value in values)
        lengths = len(raw_name), len(extra) if wide else 0, 0
        self._directory += zip.CENTRAL.pack(
            b"PK\1\2", version, version, _FLAGS, 0, _TIME, _DATE, crc, packed, size,
            *lengths, 0, 0, 0, header,
        )  # fmt: skip
        self._directory += raw_name + (extra if wide else b"")
        self._count += 1

    def close(self) -> None:
        start, nbytes, count = self._sink.position, len(self._directory), self._count
        versions = _WIDE_VERSION, _WIDE_VERSION
        # the zip64 end record is always written, as in torch's own archives
        wide_end = zip.END_64.pack(
            b"PK\6\6", 44, *versions, 0, 0, count, count, nbytes, start
        ) + zip.LOCATOR_64.pack(b"PK\6\7", 0, start + nbytes, 1)
        count, nbytes, start = min(count, 0xFFFF), min(nbytes, zip.NARROW), min(start, zip.NARROW)
        end = zip.END.pack(b"PK\5\6", 0, 0, count, count, nbytes, start, 0)
        self._sink.write(bytes(self._directory) + wide_end + end)
