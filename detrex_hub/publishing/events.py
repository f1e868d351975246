"""The events of a running batch. The caller decides how to show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from detrex_hub.progress import Progress
from detrex_hub.publishing.outcomes import Forecast, Published


class Events(Progress, Protocol):
    """Receives the stages of each job, as `Progress` does, and the events of the batch."""

    def planned(self, forecasts: Sequence[Forecast]) -> None:
        """The work begins. These are the forecasts."""

    def finished(self, published: Published) -> None:
        """One name is done."""

    def logged(self, line: str) -> None:
        """A job on another machine printed a line."""


class Named:
    """Passes on the stages of a job with the name of the weights instead of the file's. The last
    stage stays until the next one, so that a working job is always shown."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self._name = name

    def start(self, description: str, total: int | None) -> None:
        # such as `downloading resnet101-cd907fc2.pth`
        verb = description.partition(" ")[0]
        self._progress.start(f"{verb} {self._name}", total)

    def advance(self, count: int) -> None:
        self._progress.advance(count)

    def finish(self) -> None:
        """The batch finishes it when the job is done."""
