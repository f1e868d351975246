"""The one sink of a command: data goes to stdout, progress and hints go to stderr."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TextIO

from detrex_hub.cli.wrapping import columns_of, on_terminal
from detrex_hub.progress import Progress
from detrex_hub.redaction import visible, visible_json

# the least columns of the first cell of a row in a narrow terminal
_LEAST_FIRST = 20

_NO_BARS = "HF_HUB_DISABLE_PROGRESS_BARS"


class Output:
    """The output of a command. It is open while the command runs.

    With ``json`` stdout holds one JSON document and nothing else, and stderr errors and the events
    of a batch. With ``quiet`` stdout holds the bare result and stderr nothing but errors.
    Everything else that prints while it is open, such as a model that is being built, prints to
    stderr; log records of this package are hints.

    Text may come from an untrusted file: a line stays one line, and no character controls the
    terminal.
    """

    def __init__(self, *, json: bool, quiet: bool) -> None:
        self.json = json
        self.quiet = quiet
        self._stdout = sys.stdout
        self._bars = os.environ.get(_NO_BARS, "").upper() not in ("1", "ON", "YES", "TRUE")
        self._open = ExitStack()

    def __enter__(self) -> Output:
        # huggingface_hub reads both when it is imported, which happens later. Its warnings about
        # failed attempts would hide our one line with the reason, and its bars would be drawn over
        # ours.
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")
        os.environ[_NO_BARS] = "1"
        self._open.enter_context(redirect_stdout(self._beside()))
        self._open.enter_context(_handling(_Hints(self)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()

    def _beside(self) -> TextIO:
        """The stream for all other output to stdout."""
        if self.quiet or sys.stderr is None:
            return self._open.enter_context(Path(os.devnull).open("w"))
        return sys.stderr

    @property
    def _silent(self) -> bool:
        return self.json or self.quiet or sys.stderr is None

    def show(self, document: Any, lines: Iterable[str], *, bare: Iterable[str] = ()) -> None:
        """Print the result: as JSON, as lines for people, or as bare lines with ``quiet``. Bare
        lines, such as a path, are never wrapped."""
        if self.json:
            self._print(visible_json(json.dumps(document, indent=2, ensure_ascii=False)))
            return
        whole = [visible(line) for line in bare]
        shown = whole if self.quiet else [visible(line) for line in lines]
        for line in shown:
            self._print(line if shown == whole else on_terminal(line, self._stdout))

    def _print(self, text: str) -> None:
        if self._stdout is not None:
            print(text, file=self._stdout)

    def hint(self, line: str) -> None:
        """Print information that is not the result."""
        if not self._silent:
            print(on_terminal(visible(line), sys.stderr), file=sys.stderr)

    def event(self, line: str) -> None:
        """Print what a batch has just done. A batch takes hours, so that ``json`` shows it too."""
        if not self.quiet and sys.stderr is not None:
            print(on_terminal(visible(line), sys.stderr), file=sys.stderr)

    def problem(self, line: str) -> None:
        """Print an error of one of several jobs, also with ``json`` or ``quiet``."""
        if sys.stderr is not None:
            print(on_terminal(visible(line), sys.stderr), file=sys.stderr)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
        """Rows in aligned columns, in the width of the terminal. A first cell that is too long has
        its own line. No rows give no lines. If stdout is not a terminal, tabs separate the columns
        and the head is left out, so that ``cut`` and ``awk`` can read them."""
        columns = columns_of(self._stdout)
        if not rows or columns is None:
            yield from ("\t".join(row) for row in rows)
            return
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        free = columns - sum(width + 2 for width in widths[1:])
        if free >= _LEAST_FIRST:
            widths[0] = min(widths[0], free)
        for first, *rest in (head, *rows):
            if len(first) > widths[0]:
                yield first
                first = ""
            cells = (cell.ljust(width) for cell, width in zip((first, *rest), widths, strict=True))
            yield "  ".join(cells).rstrip()

    @contextmanager
    def progress(self, *, of_batch: bool = False) -> Iterator[Display]:
        """Show the progress of long jobs: bars on a terminal, one line per stage elsewhere.

        Args:
            of_batch: the stages are events of a batch.
        """
        if self._bars and not self._silent and sys.stderr.isatty():
            from detrex_hub.cli.bars import bars

            with bars() as shown:
                yield shown
        else:
            yield _Stages(self.event if of_batch else self.hint)


class Display(Progress, Protocol):
    """Shows the stages of jobs, and the progress of a batch."""

    def batch(self, names: int, size: int) -> None:
        """A batch with the given number of names and bytes begins."""

    def one_done(self, size: int) -> None:
        """One name of the batch, of so many bytes, is done."""


class _Stages:
    """A line for each stage that starts."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def start(self, description: str, total: int | None) -> None:
        self._say(f"{description} ({human_size(total)})" if total else description)

    def advance(self, count: int) -> None:
        return None

    def finish(self) -> None:
        return None

    def batch(self, names: int, size: int) -> None:
        return None

    def one_done(self, size: int) -> None:
        return None


class _Hints(logging.Handler):
    """Prints log records as hints."""

    def __init__(self, out: Output) -> None:
        super().__init__()
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        self._out.hint(self.format(record))


@contextmanager
def _handling(handler: logging.Handler) -> Iterator[None]:
    logger = logging.getLogger("detrex_hub")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def pairs(values: Mapping[str, Any]) -> Iterator[str]:
    """Names and values, one per line, aligned. None and empty values are left out."""
    shown = {name: value for name, value in values.items() if value not in (None, "", (), [])}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        first, *rest = [str(one) for one in value] if isinstance(value, list) else [str(value)]
        yield f"{name:{width}}  {first}"
        yield from (f"{'':{width}}  {line}" for line in rest)


def human_size(size: int) -> str:
    """Bytes in decimal units: 1 MB is 1,000,000 bytes."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError(size)
