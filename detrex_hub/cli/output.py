"""The one sink of all commands: data to stdout, progress and hints to stderr."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from detrex_hub.redaction import visible, visible_json

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from detrex_hub.originals.sources import Progress


class Output:
    """Where a command's words go.

    With ``json`` stdout holds one JSON document and nothing else; with ``quiet`` only the bare
    result, and stderr nothing but errors. Names come from strangers' files: whatever is printed
    stays the line that it is given as, and commands no terminal.
    """

    def __init__(self, *, json: bool, quiet: bool) -> None:
        self.json = json
        self.quiet = quiet
        # both are read when huggingface_hub is imported, which every command does later than this;
        # its warnings about tries that failed would bury the one line that says why
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")
        if not self._talkative:
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

    @property
    def _talkative(self) -> bool:
        heard = sys.stderr is not None and sys.stderr.isatty()
        return heard and not self.quiet and not self.json

    def show(self, document: Any, lines: Iterable[str], *, bare: Iterable[str] = ()) -> None:
        """Say the result: as JSON, as lines for people, or as bare lines where ``quiet``."""
        if self.json:
            print(visible_json(json.dumps(document, indent=2, ensure_ascii=False)))
        else:
            for line in bare if self.quiet else lines:
                print(visible(line))

    def hint(self, line: str) -> None:
        """Something worth knowing that is not the result."""
        if not self.quiet and not self.json:
            print(visible(line), file=sys.stderr)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A listener for long jobs: bars on a terminal, a line a stage elsewhere."""
        if self._talkative:
            with _bars() as bars:
                yield _Bar(bars)
        else:
            yield _Lines(silent=self.quiet or self.json)


class _Lines:
    def __init__(self, *, silent: bool) -> None:
        self._silent = silent

    def start(self, description: str, total: int | None) -> None:
        if not self._silent:
            size = f" ({human_size(total)})" if total else ""
            print(visible(f"{description}{size}"), file=sys.stderr)

    def advance(self, count: int) -> None:
        return None

    def finish(self) -> None:
        return None


class _Bar:
    """A bar for each thread that works, replaced by that of its next stage."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._own = threading.local()

    def start(self, description: str, total: int | None) -> None:
        self.finish()
        self._own.task = self._bars.add_task(visible(description), total=total)

    def advance(self, count: int) -> None:
        task: TaskID | None = getattr(self._own, "task", None)
        if task is not None:
            self._bars.advance(task, count)

    def finish(self) -> None:
        task: TaskID | None = getattr(self._own, "task", None)
        if task is not None:
            self._bars.remove_task(task)
            self._own.task = None


def _bars() -> Bars:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows in aligned columns. Where stdout is no terminal, columns are parted by tabs and have no
    head, so that `cut` and `awk` find them."""
    if sys.stdout is None or not sys.stdout.isatty():
        yield from ("\t".join(row) for row in rows)
        return
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def pairs(values: Mapping[str, Any]) -> Iterator[str]:
    """Names and values, one a line, aligned; what is None or empty is left out."""
    shown = {name: value for name, value in values.items() if value not in (None, "", (), [])}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        first, *rest = [str(one) for one in value] if isinstance(value, list) else [str(value)]
        yield f"{name:{width}}  {first}"
        yield from (f"{'':{width}}  {line}" for line in rest)


def human_size(size: int) -> str:
    """Bytes in the units that downloads are told in: 1 MB is 1,000,000 bytes."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError(size)
