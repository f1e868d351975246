"""PNG files that every reader takes, with the same bytes everywhere."""

import hashlib
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detrex_hub.pictures.png import png


def decoded(content):
    """Width, height, the palette and the bytes of each row, by the standard alone."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack_from(">I", content, at + 8 + length)
        assert checksum == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + length
    width, height, depth, kind, *rest = struct.unpack(">2I5B", chunks[b"IHDR"])
    assert (depth, rest) == (8, [0, 0, 0])
    size = {2: 3, 3: 1}[kind]
    raw = zlib.decompress(chunks[b"IDAT"])
    rows, above = [], bytes(size * width)
    for y in range(height):
        line = raw[y * (size * width + 1) : (y + 1) * (size * width + 1)]
        row = bytearray()
        for x, byte in enumerate(line[1:]):
            before = {1: row[x - size] if x >= size else 0, 2: above[x]}[line[0]]
            row.append((byte + before) & 255)
        rows.append(bytes(row))
        above = rows[-1]
    return width, height, chunks.get(b"PLTE"), rows


@st.composite
def images(draw):
    width = draw(st.integers(1, 12))
    row = st.one_of(
        st.binary(min_size=3 * width, max_size=3 * width),
        st.integers(0, 255).map(lambda shade: bytes([shade]) * (3 * width)),
    )
    return draw(st.lists(row, min_size=1, max_size=6))


@given(images())
def test_an_image_is_read_as_it_was_written(rows):
    assert decoded(png(rows)) == (len(rows[0]) // 3, len(rows), None, rows)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 10, 11, 12, 258, 259, 260, 261, 600, 5000])
def test_runs_of_every_length(length):
    rows = [b"\1" * length + b"\2" + b"\1" * length]
    assert decoded(png(rows, [b"abc", b"def", b"ghi"])) == (
        2 * length + 1,
        1,
        b"abcdefghi",
        rows,
    )


def test_the_bytes_are_the_same_on_every_machine():
    rows = [bytes((x * y) & 255 for x in range(90)) for y in range(30)]
    found = hashlib.sha256(png(rows)).hexdigest()
    assert found == "a8c99ef71f719b65f2837624f47d2ad39da2879eff5089bdfc8c555c61dd43e2"
