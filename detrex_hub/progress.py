"""How a long job tells what it does, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told of one stage of work after another."""

    def start(self, description: str, total: int | None) -> None:
        """A stage begins; ``total`` is its number of bytes, where that is known. A stage that is
        begun before the last one is finished replaces it."""

    def advance(self, count: int) -> None:
        """So many bytes more are done."""

    def finish(self) -> None:
        """The stage is over, done or not."""


class Silent:
    """Nobody listens."""

    def start(self, description: str, total: int | None) -> None:
        return None

    def advance(self, count: int) -> None:
        return None

    def finish(self) -> None:
        return None
