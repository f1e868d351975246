"""The interface by which a long job reports progress. The caller decides how to show it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the stages of a job one after another. Each thread has its own stage."""

    def start(self, description: str, total: int | None) -> None:
        """Start a stage. It replaces an earlier stage that was not finished.

        Args:
            description: such as ``downloading r101_v2``.
            total: its number of bytes; None if it is not known.
        """

    def advance(self, count: int) -> None:
        """Report that ``count`` more bytes are done."""

    def finish(self) -> None:
        """End the stage, whether it succeeded or not."""


class Silent:
    """Discards all reports."""

    def start(self, description: str, total: int | None) -> None:
        return None

    def advance(self, count: int) -> None:
        return None

    def finish(self) -> None:
        return None
