"""The filters of a backbone's first layer, as one picture.

People know these pictures: edges, colours and gratings. Swapped channels, noise, and weights that
were scaled are visible in them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from detrex_hub.pictures.png import png
from detrex_hub.specs import TensorSpec

_COLUMNS = 8
# the most pixels across a filter, because an untrusted file may have any number
_LARGEST = 64
# pixels: of the weights side by side, and of the picture, about
_WEIGHTS, _WIDTH = 80, 400
_GAP = 1
# element types by the codes of `struct`; BF16 is the upper half of an F32
_CODES = {"F64": "d", "F32": "f", "F16": "e", "BF16": "f"}
_GROUND = bytes((255, 255, 255))
# filters that are nearly zero stay gray
_LEAST = 0.02


def first_layer(specs: Mapping[str, TensorSpec]) -> str | None:
    """The key of the convolution that reads the images; None unless exactly one has floating-point
    weights of 16 bits or more."""
    found = [
        key
        for key, spec in specs.items()
        if spec.dtype in _CODES
        and len(spec.shape) == 4
        and spec.shape[1] == 3
        and 1 < spec.shape[2] == spec.shape[3] <= _LARGEST
    ]
    return found[0] if len(found) == 1 else None


def shown_filters(spec: TensorSpec) -> int:
    """The number of drawn filters of a convolution: the first 64, or fewer large ones."""
    return min(spec.shape[0], _columns(spec) ** 2)


def _columns(spec: TensorSpec) -> int:
    return max(1, min(_COLUMNS, _WEIGHTS // (spec.shape[3] + _GAP)))


def draw_filters(content: bytes, spec: TensorSpec, image_format: str) -> bytes:
    """Draw the first filters of a convolution.

    Each filter is scaled by its largest weight: 0 is gray, and a positive weight of a channel is
    more of its colour.

    Args:
        content: the bytes of the weights, at least those of the `shown_filters` filters.
        spec: their type and their shape, (filters, 3, height, width).
        image_format: ``RGB`` or ``BGR``, the order of the channels.

    Returns:
        a PNG file.
    """
    _, _, height, width = spec.shape
    size = height * width
    number = shown_filters(spec)
    values = _numbers(content[: number * 3 * size * spec.itemsize], spec.dtype)
    order = (2, 1, 0) if image_format == "BGR" else (0, 1, 2)
    largest = max(map(abs, values), default=0.0)
    tiles = []
    for first in range(0, number * 3 * size, 3 * size):
        tile = values[first : first + 3 * size]
        scale = max(*map(abs, tile), _LEAST * largest)
        shades = bytes(int(127.5 + 127.5 * (value / scale)) if scale else 127 for value in tile)
        planes = [shades[channel * size : (channel + 1) * size] for channel in order]
        pixels = bytes(shade for pixel in zip(*planes, strict=True) for shade in pixel)
        tiles.append([pixels[3 * row * width : 3 * (row + 1) * width] for row in range(height)])
    return png(_mosaic(tiles, width))


def _mosaic(tiles: Sequence[Sequence[bytes]], width: int) -> list[bytes]:
    """Square tiles side by side, enlarged, with gaps between them."""
    columns = next(n for n in range(1, len(tiles) + 1) if n * n >= len(tiles))
    times = max(1, _WIDTH // (columns * (width + _GAP)))
    gap = _GROUND * times * _GAP
    blank = [_GROUND * width] * width
    across = times * (columns * (width + _GAP) + _GAP)
    line = [_GROUND * across] * (times * _GAP)
    rows = [*line]
    for first in range(0, len(tiles), columns):
        several = [*tiles[first : first + columns]]
        several += [blank] * (columns - len(several))
        for parts in zip(*several, strict=True):
            row = gap + gap.join(_wide(part, times) for part in parts) + gap
            rows += [row] * times
        rows += line
    return rows


def _wide(row: bytes, times: int) -> bytes:
    return b"".join(row[at : at + 3] * times for at in range(0, len(row), 3))


def _numbers(content: bytes, dtype: str) -> list[float]:
    """Little-endian elements as numbers; what is not finite counts as 0."""
    if dtype == "BF16":
        halves = (content[at : at + 2] for at in range(0, len(content), 2))
        content = b"".join(b"\0\0" + half for half in halves)
    code = _CODES[dtype]
    count = len(content) // struct.calcsize(f"<{code}")
    found: tuple[float, ...] = struct.unpack(f"<{count}{code}", content)
    return [value if value - value == 0 else 0.0 for value in found]
