"""Progress bars for a terminal, one for each file in progress."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console, RenderableType
from rich.constrain import Constrain
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column
from rich.text import Text

from detrex_hub.redaction import visible

# characters of a description, which leave a bar of ten in 80 columns
_LONGEST = 34


@contextmanager
def bars(console: Console | None = None) -> Iterator[Bars]:
    """Bars on stderr, which are removed at the end.

    Args:
        console: the terminal; that of stderr by default.
    """
    with _Display(console or Console(stderr=True)) as display:
        yield Bars(display)


class _Display(Progress):
    """Keeps space at the end of each line for the ``^C`` that a terminal echoes. After a full line
    the echo would start a new line, and the first bar would not be removed."""

    def __init__(self, console: Console) -> None:
        self._terminal = console
        name = Column(no_wrap=True, overflow="ellipsis", max_width=_LONGEST)
        super().__init__(
            TextColumn("{task.description}", markup=False, table_column=name),
            BarColumn(bar_width=None),
            _OfBytes(DownloadColumn()),
            _OfBytes(TransferSpeedColumn()),
            _OfBytes(_TimeLeft()),
            console=console,
            transient=True,
        )

    def get_renderables(self) -> Iterator[RenderableType]:
        yield Constrain(self.make_tasks_table(self.tasks), self._terminal.width - len("^C"))


class _OfBytes(ProgressColumn):
    """A column that is empty for stages of unknown size."""

    def __init__(self, column: ProgressColumn) -> None:
        super().__init__(Column(no_wrap=True))
        self._column = column

    def render(self, task: Task) -> RenderableType:
        return Text() if task.total is None else self._column.render(task)


class _TimeLeft(TimeRemainingColumn):
    """The remaining time. For a batch it follows from all finished work."""

    def render(self, task: Task) -> Text:
        if "names" not in task.fields or not task.completed or task.total is None:
            return super().render(task)
        per_byte = (task.elapsed or 0.0) / task.completed
        seconds = round(per_byte * (task.total - task.completed))
        return Text(str(timedelta(seconds=seconds)), style="progress.remaining")


class Bars:
    """A bar for each working thread, which the bar of its next stage replaces. A batch has one
    more bar above them."""

    def __init__(self, display: Progress) -> None:
        self.display = display
        self._own = threading.local()
        self._batch: TaskID | None = None
        self._done = 0

    def batch(self, names: int, size: int) -> None:
        """Show the bar of a batch with the given number of names and bytes."""
        self._done = 0
        self._batch = self.display.add_task(f"0/{names} names", total=size or None, names=names)

    def one_done(self, size: int) -> None:
        """One name of the batch, with the given number of bytes, is done."""
        assert self._batch is not None
        self._done += 1
        names = self.display.tasks[0].fields["names"]
        self.display.update(self._batch, advance=size, description=f"{self._done}/{names} names")

    def start(self, description: str, total: int | None) -> None:
        self.finish()
        self._own.task = self.display.add_task(visible(description), total=total)

    def advance(self, count: int) -> None:
        task: TaskID | None = getattr(self._own, "task", None)
        if task is not None:
            self.display.advance(task, count)

    def finish(self) -> None:
        task: TaskID | None = getattr(self._own, "task", None)
        if task is not None:
            self.display.remove_task(task)
            self._own.task = None
