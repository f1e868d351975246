"""Key templates: the notation in which both sides of a rule are written.

``{i}`` is an integer, ``{stage+1}`` the same integer shifted, ``*`` exactly one segment and ``**``
one or more segments at the end. ``{_}`` is an integer that only a source has and a target loses, so
that there is no way back. Everything else is literal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property, lru_cache

from msgspec import Struct

_TOKEN = re.compile(r"\{(?P<name>[a-z_]+)(?P<shift>[+-]\d+)?\}|(?P<rest>\*\*)|(?P<one>\*)")
_INTEGER = r"(0|[1-9][0-9]{0,8})"
_NUMBER = re.compile(_INTEGER)
_LONGEST_KEY = 300
_MOST_SEGMENTS = 20

# the values that a template binds in a key: integers by name, wildcards by position ("*0", ...)
Bindings = dict[str, int | str]


class Template(Struct, frozen=True, dict=True):
    """One side of a rule."""

    text: str

    def __str__(self) -> str:
        return self.text

    @cached_property
    def _parts(self) -> tuple[tuple[str, str, int], ...]:
        """(kind, name or literal, shift) of every part, kind one of literal, integer, one, rest."""
        parts: list[tuple[str, str, int]] = []
        end = wildcards = 0
        for token in _TOKEN.finditer(self.text):
            if token.start() > end:
                parts.append(("literal", self.text[end : token.start()], 0))
            if token["name"]:
                parts.append(("integer", token["name"], int(token["shift"] or 0)))
            else:
                parts.append(("rest" if token["rest"] else "one", f"*{wildcards}", 0))
                wildcards += 1
            end = token.end()
        if end < len(self.text):
            parts.append(("literal", self.text[end:], 0))
        if any(kind == "rest" for kind, _, _ in parts[:-1]):
            raise ValueError(f"** must come last in {self.text!r}")
        return tuple(parts)

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        patterns = {"integer": _INTEGER, "one": r"([^.]+)", "rest": r"(.+)"}
        return re.compile(
            "".join(patterns.get(kind) or re.escape(text) for kind, text, _ in self._parts)
        )

    @cached_property
    def literal_prefix(self) -> str:
        """The text before the first variable: every matching key starts with it."""
        kind, text, _ = self._parts[0] if self._parts else ("", "", 0)
        return text if kind == "literal" else ""

    @cached_property
    def literal_suffix(self) -> str:
        """The text after the last variable: every matching key ends with it."""
        kind, text, _ = self._parts[-1] if self._parts else ("", "", 0)
        return text if kind == "literal" else ""

    @cached_property
    def variables(self) -> frozenset[str]:
        """Names of the integers and wildcards that a match binds."""
        return frozenset(name for _, name, _ in self._bound)

    @property
    def loses(self) -> bool:
        """Whether it binds an integer that the target lacks."""
        return "_" in self.variables

    @cached_property
    def _bound(self) -> tuple[tuple[str, str, int], ...]:
        """The parts that a match binds."""
        return tuple(part for part in self._parts if part[0] != "literal")

    def match(self, key: str) -> Bindings | None:
        """The values that the template binds in a key; None if it does not match the whole key."""
        if not key.startswith(self.literal_prefix):
            return None
        found = self._regex.fullmatch(key)
        if found is None:
            return None
        bound: Bindings = {}
        for (kind, name, shift), text in zip(self._bound, found.groups(), strict=True):
            value = int(text) - shift if kind == "integer" else text
            if isinstance(value, int) and value < 0:
                return None
            if bound.setdefault(name, value) != value:
                return None
        return bound

    def fill(self, bound: Bindings) -> str:
        """The key for the given bindings."""
        return "".join(
            text
            if kind == "literal"
            else str(int(bound[text]) + shift)
            if kind == "integer"
            else str(bound[text])
            for kind, text, shift in self._parts
        )


# a conversion needs up to 1400, and a batch converts hundreds of names
@lru_cache(maxsize=2048)
def template(text: str) -> Template:
    """The template of this text. Those that were used last are kept."""
    return Template(text)


def indices(keys: Iterable[str], text: str, variable: str = "i") -> tuple[int, ...]:
    """The sorted integers of ``{variable}`` of a template over some keys."""
    compiled = template(text)
    found = set()
    for key in keys:
        bound = compiled.match(key)
        if bound is not None:
            found.add(int(bound[variable]))
    return tuple(sorted(found))


def collapse(keys: Iterable[str]) -> list[str]:
    """Keys with their indices folded for reading: ``layers.{0..5}.norm.weight``.

    Keys that differ in one integer segment are folded, again and again until nothing folds.
    """
    folded = sorted(set(keys))
    # a key longer than any real one is shown as it is
    monstrous = [key for key in folded if _is_monstrous(key)]
    folded = [key for key in folded if not _is_monstrous(key)]
    changed = True
    while changed:
        changed = False
        width = max((key.count(".") + 1 for key in folded), default=0)
        for position in reversed(range(width)):
            groups: dict[tuple[str, ...], list[int]] = {}
            others: list[str] = []
            for key in folded:
                segments = key.split(".")
                if len(segments) > position and _NUMBER.fullmatch(segments[position]):
                    frame = (*segments[:position], "\0", *segments[position + 1 :])
                    groups.setdefault(frame, []).append(int(segments[position]))
                else:
                    others.append(key)
            for frame, numbers in groups.items():
                label = numbers_in_short(numbers)
                changed = changed or len(numbers) > 1
                others.append(".".join(label if part == "\0" else part for part in frame))
            folded = others
    return sorted(folded + monstrous)


def _is_monstrous(key: str) -> bool:
    return len(key) > _LONGEST_KEY or key.count(".") > _MOST_SEGMENTS


def numbers_in_short(numbers: Iterable[int]) -> str:
    """``{0..3,5}`` for 0, 1, 2, 3, 5; ``7`` for 7. The numbers are distinct."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = ",".join(str(a) if a == b else f"{a}..{b}" for a, b in runs)
    return shown if shown.isdigit() else f"{{{shown}}}"
