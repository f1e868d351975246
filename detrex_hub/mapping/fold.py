"""Fold hundreds of moves into a few patterns that a reader can check by eye."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TypeAlias

from msgspec import Struct

from detrex_hub.mapping.templates import numbers_in_short

_NUMBER = re.compile(r"(?<![0-9])(0|[1-9][0-9]{0,8})(?![0-9])")
_LONGEST_KEY = 300
# last segments of modules that have no others, so that "*" is clear
_PARAMETERS = re.compile(r"(\w*_)?(weight|bias|mean|var|num_batches_tracked)")
_WORD = re.compile(r"\w{1,40}", re.ASCII)
_MOST_TAILS = 4
_MOST_NUMBERS = 16

# the text between the numbers in each source and in the target
Frame: TypeAlias = tuple[tuple[str, ...], ...]


class Pair(Struct, frozen=True):
    """The source of a target tensor: keys whose tensors are concatenated.

    ``note`` is a remark on the pair; only pairs with the same note are folded together.
    """

    sources: tuple[str, ...]
    target: str
    note: str = ""


class Pattern(Struct, frozen=True):
    """``tensors`` pairs in one line, such as ``layer{1..4}.*`` -> ``res{2..5}.*``."""

    sources: tuple[str, ...]
    target: str
    note: str
    tensors: int

    @property
    def same_name(self) -> bool:
        return self.sources == (self.target,)


class _Parsed(Struct, frozen=True):
    """A pair without its numbers, and the numbers. ``tail`` is the last segment, if it is the same
    in source and target."""

    frame: Frame
    numbers: tuple[int, ...]
    in_sources: int  # the number of numbers
    tail: str


def fold(pairs: Iterable[Pair]) -> list[Pattern]:
    """Fold pairs that differ in numbers and in their common last segment.

    Numbers are folded only if each number of the target is constant or has a constant distance to a
    number of the source, so that ``norm{1..3}`` -> ``norms.{0..2}`` never hides a swap.
    """
    groups: dict[tuple[str, Frame], list[_Parsed]] = {}
    for pair in pairs:
        parsed = _parse(pair)
        groups.setdefault((pair.note, parsed.frame), []).append(parsed)
    patterns = [
        _pattern(members, note)
        for (note, _), group in groups.items()
        for members in _consistent(group)
    ]
    return sorted(patterns, key=lambda pattern: (pattern.target, pattern.sources, pattern.note))


def fold_keys(keys: Iterable[str]) -> list[Pattern]:
    """Fold keys that differ in numbers and in their last segment."""
    return fold(Pair((key,), key) for key in keys)


def _parse(pair: Pair) -> _Parsed:
    keys = [*pair.sources, pair.target]
    tail = pair.target.rpartition(".")[2]
    if all(key.endswith(f".{tail}") for key in keys):
        keys = [key.removesuffix(tail) for key in keys]
    else:
        tail = ""
    # a key longer than any real one is shown as it is
    parts = [_split(key) if len(key) <= _LONGEST_KEY else ((key,), ()) for key in keys]
    numbers = [number for _, found in parts for number in found]
    in_sources = len(numbers) - len(parts[-1][1])
    return _Parsed(tuple(texts for texts, _ in parts), tuple(numbers), in_sources, tail)


# the parameters of a module differ only in their last segment, and follow each other
@lru_cache(maxsize=64)
def _split(key: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The text between a key's numbers, and the numbers."""
    parts = _NUMBER.split(key)
    if len(parts) > 2 * _MOST_NUMBERS:
        # so is a key of numbers only
        parts = [key]
    return tuple(parts[::2]), tuple(map(int, parts[1::2]))


def _consistent(group: Sequence[_Parsed]) -> list[Sequence[_Parsed]]:
    """Split a group of one frame until the target's numbers follow from the source's."""
    columns = list(zip(*(one.numbers for one in group), strict=True))
    split = group[0].in_sources
    sources = [column for column in columns[:split] if len(set(column)) > 1]
    if not sources or all(_follows(column, sources) for column in columns[split:]):
        return [group]
    by = min(sources, key=lambda column: len(set(column)))
    parts: dict[int, list[_Parsed]] = {}
    for value, one in zip(by, group, strict=True):
        parts.setdefault(value, []).append(one)
    return [found for part in parts.values() for found in _consistent(part)]


def _follows(column: Sequence[int], sources: Sequence[Sequence[int]]) -> bool:
    if len(set(column)) == 1:
        return True
    return any(
        len({one - other for one, other in zip(column, source, strict=True)}) == 1
        for source in sources
    )


def _pattern(group: Sequence[_Parsed], note: str) -> Pattern:
    labels = (
        numbers_in_short(set(column))
        for column in zip(*(one.numbers for one in group), strict=True)
    )
    tails = {one.tail for one in group}
    tail = tails.pop() if len(tails) == 1 else _tail(tails)
    *sources, target = (
        "".join([first, *(next(labels) + part for part in parts)]) + tail
        for first, *parts in group[0].frame
    )
    return Pattern(tuple(sources), target, note, len(group))


def _tail(tails: set[str]) -> str:
    """``*`` if the segments are parameters of a module, otherwise ``{rel_pos_h,rel_pos_w}``."""
    few = len(tails) <= _MOST_TAILS and all(map(_WORD.fullmatch, tails))
    if not few or all(map(_PARAMETERS.fullmatch, tails)):
        return "*"
    return "{" + ",".join(sorted(tails)) + "}"
