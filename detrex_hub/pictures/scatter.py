"""A plot of accuracy against parameters. Its text is numbers alone; the card says what they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache

from msgspec import Struct

from detrex_hub.pictures.png import png

_WIDTH, _HEIGHT = 720, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 20, 44
_WHITE, _GRID, _INK = bytes((255, 255, 255)), bytes((226, 230, 236)), bytes((91, 100, 114))
_OTHER, _MARKED = bytes((148, 163, 184)), bytes((31, 95, 214))
# sample points of a pixel
_WHOLE = 16
# round numbers of millions, and the least distance of their lines in pixels
_SIZES = (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 7, 15, 30, 70, 150, 300, 700, 1500, 40, 60, 80)
_NEAR = 70

# five columns of seven pixels for a digit, one row per line
_DIGITS = {
    "0": "01110 10001 10011 10101 11001 10001 01110",
    "1": "00100 01100 00100 00100 00100 00100 01110",
    "2": "01110 10001 00001 00010 00100 01000 11111",
    "3": "11111 00010 00100 00010 00001 10001 01110",
    "4": "00010 00110 01010 10010 11111 00010 00010",
    "5": "11111 10000 11110 00001 00001 10001 01110",
    "6": "00110 01000 10000 11110 10001 10001 01110",
    "7": "11111 00001 00010 00100 01000 01000 01000",
    "8": "01110 10001 10001 01110 10001 10001 01110",
    "9": "01110 10001 10001 01111 00001 00010 01100",
    ".": "00000 00000 00000 00000 00000 01100 01100",
    "M": "10001 11011 10101 10101 10001 10001 10001",
}


class Point(Struct, frozen=True):
    """A model: its parameters, its accuracy, and whether it is the one that the plot is about."""

    parameters: int
    accuracy: float
    marked: bool = False


def scatter(points: Sequence[Point]) -> bytes:
    """Draw the points, the marked one last and larger.

    Args:
        points: at least one. The horizontal axis is logarithmic, in million parameters.

    Returns:
        a PNG file.
    """
    canvas = _Canvas()
    sizes = [one.parameters / 1e6 for one in points]
    values = [one.accuracy for one in points]
    small, large = min(sizes) / 1.3, max(sizes) * 1.3
    pad = max(0.5, (max(values) - min(values)) * 0.1)
    low, high = min(values) - pad, max(values) + pad

    def x(size: float) -> int:
        share = math.log(size / small) / math.log(large / small)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT))

    def y(value: float) -> int:
        return round(_TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM))

    for value in _steps(low, high):
        canvas.line(_LEFT, y(value), _WIDTH - _RIGHT, y(value))
        text = f"{value:g}"
        canvas.text(text, _LEFT - 10 - 12 * len(text), y(value) - 7)
    lines: list[int] = []
    for size in _SIZES:
        if small <= size <= large and all(abs(x(size) - one) >= _NEAR for one in lines):
            lines.append(x(size))
            canvas.line(x(size), _TOP, x(size), _HEIGHT - _BOTTOM)
            text = f"{size}M"
            canvas.text(text, x(size) - 6 * len(text), _HEIGHT - _BOTTOM + 12)
    for one in sorted(points, key=lambda one: (one.marked, one.parameters, one.accuracy)):
        at = x(one.parameters / 1e6), y(one.accuracy)
        canvas.disc(*at, 10 if one.marked else 7, _WHITE)
        canvas.disc(*at, 8 if one.marked else 5, _MARKED if one.marked else _OTHER)
    return png([bytes(row) for row in canvas.rows], canvas.palette)


def _steps(low: float, high: float) -> Iterator[float]:
    """Round numbers within bounds, four or so."""
    step = next(one for one in (0.5, 1, 2, 5, 10, 20, 50, math.inf) if (high - low) / one <= 5)
    if step == math.inf:
        return
    count = math.ceil(low / step)
    while count * step <= high:
        yield count * step
        count += 1


class _Canvas:
    """Pixels that are places in a palette, which grows."""

    def __init__(self) -> None:
        self.palette = [_WHITE]
        self.rows = [bytearray(_WIDTH) for _ in range(_HEIGHT)]

    def _paint(self, x: int, y: int, colour: bytes, share: int = _WHOLE) -> None:
        """Paint a pixel. A half-covered pixel is mixed only with white, which limits the number of
        colours."""
        if share < _WHOLE:
            if self.rows[y][x]:
                if share < _WHOLE // 2:
                    return
            else:
                colour = bytes(255 - (255 - part) * share // _WHOLE for part in colour)
        if colour not in self.palette:
            self.palette.append(colour)
        self.rows[y][x] = self.palette.index(colour)

    def line(self, x: int, y: int, to_x: int, to_y: int) -> None:
        """A line along an axis."""
        for across in range(x, to_x + 1):
            for down in range(y, to_y + 1):
                self._paint(across, down, _GRID)

    def text(self, text: str, x: int, y: int) -> None:
        for place, character in enumerate(text):
            for down, line in enumerate(_DIGITS[character].split()):
                for across, on in enumerate(line):
                    if on == "1":
                        for more in range(4):
                            at = x + 12 * place + 2 * across + more % 2
                            self._paint(at, y + 2 * down + more // 2, _INK)

    def disc(self, x: int, y: int, radius: int, colour: bytes) -> None:
        """A disc with a soft edge."""
        for across, down, share in _covered(radius):
            self._paint(x + across, y + down, colour, share)


@cache
def _covered(radius: int) -> list[tuple[int, int, int]]:
    """The pixels of a disc, with the number of their 16 sample points inside it."""
    found = []
    for down in range(-radius, radius + 1):
        for across in range(-radius, radius + 1):
            inside = sum(
                (8 * across + i) ** 2 + (8 * down + j) ** 2 <= (8 * radius) ** 2
                for i in (-3, -1, 1, 3)
                for j in (-3, -1, 1, 3)
            )
            if inside:
                found.append((across, down, inside))
    return found
