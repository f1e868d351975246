"""Kinds of values of facts, overrides and options.

A kind checks a value, describes the accepted values, and parses the text of a command line. Values
from untrusted records, from users and from architectures are checked by the same kinds.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from typing import Any

from msgspec import Struct


class Kind(Struct, frozen=True):
    """A set of plain values: numbers, strings, booleans, and lists of them."""

    @property
    @abstractmethod
    def meaning(self) -> str:
        """The accepted values in words: ``true or false``."""

    @property
    @abstractmethod
    def example(self) -> Any:
        """A value that is accepted."""

    @abstractmethod
    def accepts(self, value: object) -> bool:
        """Whether a value is of this kind. Values are not coerced: 1 is not a flag, True not a
        number."""

    def parse(self, text: str) -> Any:
        """Parse a text.

        Raises:
            ValueError: it is not a value of this kind.

        Example:
            >>> THREE_CHANNELS.parse("1,1,1") == THREE_CHANNELS.parse("[1,1,1]")
            True
        """
        value = self._read(text.strip())
        if not self.accepts(value):
            raise ValueError(f"{text!r} is not {self.meaning}")
        return value

    def _read(self, text: str) -> Any:
        return json.loads(text)


class Integer(Kind, frozen=True):
    """An integer in a range, both ends included."""

    least: int = 1
    most: int = 65536

    @property
    def meaning(self) -> str:
        return f"an integer from {self.least} to {self.most}"

    @property
    def example(self) -> int:
        return self.least

    def accepts(self, value: object) -> bool:
        return isinstance(value, int) and type(value) is int and self.least <= value <= self.most


class Number(Kind, frozen=True):
    """A number from -1e6 to 1e6; with ``positive``, above 0."""

    positive: bool = False

    @property
    def meaning(self) -> str:
        return f"a number {'above 0' if self.positive else 'from -1e6'} to 1e6"

    @property
    def example(self) -> float:
        return 1.0

    def accepts(self, value: object) -> bool:
        if type(value) not in (int, float) or not isinstance(value, int | float):
            return False
        return -1e6 <= value <= 1e6 and (value > 0 or not self.positive)


class Share(Kind, frozen=True):
    """A share: above 0, at most 1."""

    @property
    def meaning(self) -> str:
        return "a number above 0, at most 1"

    @property
    def example(self) -> float:
        return 0.5

    def accepts(self, value: object) -> bool:
        return isinstance(value, int | float) and type(value) is not bool and 0 < value <= 1


class Flag(Kind, frozen=True):
    """True or false."""

    @property
    def meaning(self) -> str:
        return "true or false"

    @property
    def example(self) -> bool:
        return True

    def accepts(self, value: object) -> bool:
        return isinstance(value, bool)

    def _read(self, text: str) -> Any:
        return {"true": True, "false": False}.get(text.lower())


class Choice(Kind, frozen=True):
    """One of a few strings or integers."""

    values: tuple[str | int, ...]

    @property
    def meaning(self) -> str:
        return either(map(str, self.values))

    @property
    def example(self) -> str | int:
        return self.values[0]

    def accepts(self, value: object) -> bool:
        return any(type(value) is type(one) and value == one for one in self.values)

    def _read(self, text: str) -> Any:
        word = text.strip('"').lower()
        return next((one for one in self.values if str(one).lower() == word), None)


class Text(Kind, frozen=True):
    """A string that is not empty."""

    most: int = 256

    @property
    def meaning(self) -> str:
        return f"a text of 1 to {self.most} characters"

    @property
    def example(self) -> str:
        return "text"

    def accepts(self, value: object) -> bool:
        return isinstance(value, str) and 0 < len(value) <= self.most

    def _read(self, text: str) -> Any:
        return text


class ListOf(Kind, frozen=True):
    """A list whose items are of one kind. ``words`` is a clearer description, if given."""

    item: Kind
    least: int = 1
    most: int = 64
    words: str | None = None

    @property
    def meaning(self) -> str:
        number = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
        return self.words or f"a list of {number} items, each {self.item.meaning}"

    @property
    def example(self) -> list[Any]:
        return [self.item.example] * max(self.least, 1)

    def accepts(self, value: object) -> bool:
        return (
            isinstance(value, list | tuple)
            and self.least <= len(value) <= self.most
            and all(map(self.item.accepts, value))
        )

    def _read(self, text: str) -> Any:
        if text.startswith("["):
            return json.loads(text)
        return [self.item.parse(part) for part in text.split(",")]


def text(value: Any) -> str:
    """A value as text for `Kind.parse`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(text, value))
    return f"{value:g}" if isinstance(value, float) and value == int(value) else str(value)


def either(words: Any) -> str:
    """``a, b or c``."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else str(last)


COUNT = Integer(least=0)
SIZE = Integer()
NUMBER = Number()
FLAG = Flag()
SIZES = ListOf(SIZE)
COUNTS = ListOf(COUNT)
IMAGE_FORMAT = Choice(("RGB", "BGR"))
THREE_CHANNELS = ListOf(NUMBER, 3, 3, "three numbers, one per channel")
THREE_DEVIATIONS = ListOf(Number(positive=True), 3, 3, "three numbers above 0, one per channel")
FEATURES = ListOf(Choice(tuple(f"{kind}{i}" for kind in ("res", "p") for i in range(7))))
