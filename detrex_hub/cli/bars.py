"""Progress bars for a terminal, one for each file that is being worked on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

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

# characters of a description: in 80 columns they leave a bar of ten
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
    """Leaves room at the end of each line for the ``^C`` that a terminal echoes. After a full line
    that would be on a line of its own, and the first bar would not be removed."""

    def __init__(self, console: Console) -> None:
        self._terminal = console
        name = Column(no_wrap=True, overflow="ellipsis", max_width=_LONGEST)
        super().__init__(
            TextColumn("{task.description}", markup=False, table_column=name),
            BarColumn(bar_width=None),
            _OfBytes(DownloadColumn()),
            _OfBytes(TransferSpeedColumn()),
            _OfBytes(TimeRemainingColumn()),
            console=console,
            transient=True,
        )

    def get_renderables(self) -> Iterator[RenderableType]:
        yield Constrain(self.make_tasks_table(self.tasks), self._terminal.width - len("^C"))


class _OfBytes(ProgressColumn):
    """A column that is empty for a stage whose number of bytes is not known."""

    def __init__(self, column: ProgressColumn) -> None:
        super().__init__(Column(no_wrap=True))
        self._column = column

    def render(self, task: Task) -> RenderableType:
        return Text() if task.total is None else self._column.render(task)


class Bars:
    """A bar for each thread that works, replaced by the bar of its next stage."""

    def __init__(self, display: Progress) -> None:
        self.display = display
        self._own = threading.local()

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
