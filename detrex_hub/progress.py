"""How a long job reports what it does. The caller decides how that is shown."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the stages of a job, one after another. Each thread has a stage of its own."""

    def start(self, description: str, total: int | None) -> None:
        """Start a stage. It replaces an earlier stage that was not finished.

        Args:
            description: such as ``downloading r101_v2``.
            total: its number of bytes, None where that is not known.
        """

    def advance(self, count: int) -> None:
        """Report that ``count`` more bytes are done."""

    def finish(self) -> None:
        """End the stage, whether it succeeded or not."""


class Silent:
    """Discards what is reported."""

    def start(self, description: str, total: int | None) -> None:
        return None

    def advance(self, count: int) -> None:
        return None

    def finish(self) -> None:
        return None
