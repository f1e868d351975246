"""Progress bars for a terminal, one for each file that is being worked on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Display

from detrex_hub.redaction import visible


@contextmanager
def bars() -> Iterator[Bars]:
    """Bars on stderr, which are removed at the end."""
    display = Display(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with display:
        yield Bars(display)


class Bars:
    """A bar for each thread that works, replaced by the bar of its next stage."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._own = threading.local()

    def start(self, description: str, total: int | None) -> None:
        self.finish()
        self._own.task = self._display.add_task(visible(description), total=total)

    def advance(self, count: int) -> None:
        task: TaskID | None = getattr(self._own, "task", None)
        if task is not None:
            self._display.advance(task, count)

    def finish(self) -> None:
        task: TaskID | None = getattr(self._own, "task", None)
        if task is not None:
            self._display.remove_task(task)
            self._own.task = None
