"""Write PNG files without zlib, whose versions compress to different bytes.

Rows are filtered by the difference to the row above, or to the pixel before. What remains of a
drawing is mostly runs of zeros. Those are the only matches that the compressor makes, with the
fixed Huffman codes of RFC 1951.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from functools import cache

_SUB, _UP = 1, 2
_LONGEST = 258
# zeros, which are most of all bytes, are found faster by themselves
_RUNS = re.compile(rb"\0+|(.)\1*", re.DOTALL)


def png(rows: Sequence[bytes], palette: Sequence[bytes] = ()) -> bytes:
    """Encode an image.

    Args:
        rows: from top to bottom: three bytes for each pixel (red, green and blue in 0..255), or
            with a palette one byte, the index of its colour.
        palette: the colours, three bytes each, 256 at most.

    Returns:
        the content of the file.
    """
    size = 1 if palette else 3
    kind = 3 if palette else 2
    header = struct.pack(">2I5B", len(rows[0]) // size, len(rows), 8, kind, 0, 0, 0)
    chunks = [(b"IHDR", header)]
    if palette:
        chunks.append((b"PLTE", b"".join(palette)))
    chunks += [(b"IDAT", _deflated(_filtered(rows, size))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*one) for one in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def _filtered(rows: Sequence[bytes], size: int) -> bytes:
    """The rows as differences, each with the filter that gives more zeros."""
    found = bytearray()
    above = bytes(len(rows[0]))
    for row in rows:
        before = bytes(size) + row[:-size]
        up = row == above or _same(row, above) >= _same(row, before)
        found.append(_UP if up else _SUB)
        found += _minus(row, above if up else before)
        above = row
    return bytes(found)


def _same(row: bytes, other: bytes) -> int:
    """How many bytes of two rows are the same."""
    differ = int.from_bytes(row, "little") ^ int.from_bytes(other, "little")
    return differ.to_bytes(len(row), "little").count(0)


def _minus(row: bytes, other: bytes) -> bytes:
    """Differences of bytes, modulo 256."""
    one, two = int.from_bytes(row, "little"), int.from_bytes(other, "little")
    # all bytes at once: the highest bit of each is set, so that none borrows from the next
    high = int.from_bytes(b"\x80" * len(row), "little")
    differences = ((one | high) - (two & ~high)) ^ ((one ^ two ^ high) & high)
    return differences.to_bytes(len(row), "little")


def _deflated(content: bytes) -> bytes:
    """A zlib stream of one block."""
    coded = cache(_coded)
    # the last block, with fixed codes; 256 ends it
    bits = "".join(["110", *(coded(run[0]) for run in _RUNS.finditer(content)), _CODES[256]])
    packed = int(bits[::-1], 2).to_bytes((len(bits) + 7) // 8, "little")
    return b"\x78\x01" + packed + struct.pack(">I", zlib.adler32(content))


def _coded(run: bytes) -> str:
    """The bits of one byte and its repetitions, in the order in which they are sent."""
    one = _CODES[run[0]]
    full, left = divmod(len(run) - 1, _LONGEST)
    bits = one + (_CODES[285] + _BEFORE) * full
    while left >= 3:
        length = min(left, 10)
        bits += _CODES[254 + length] + _BEFORE
        left -= length
    return bits + one * left


def _codes() -> list[str]:
    """The fixed codes of RFC 1951, section 3.2.6."""
    found = []
    for symbol in range(288):
        if symbol < 144:
            code, length = 0b00110000 + symbol, 8
        elif symbol < 256:
            code, length = 0b110010000 + symbol - 144, 9
        elif symbol < 280:
            code, length = symbol - 256, 7
        else:
            code, length = 0b11000000 + symbol - 280, 8
        found.append(f"{code:0{length}b}")
    return found


_CODES = _codes()
# the distance 1
_BEFORE = "00000"
