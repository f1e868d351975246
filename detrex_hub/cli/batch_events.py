"""The events of a batch on stderr: lines above bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from detrex_hub.cli.output import Display, Output, human_size

if TYPE_CHECKING:
    from detrex_hub.publishing.events import Events
    from detrex_hub.publishing.outcomes import Forecast, Published


@contextmanager
def batch_events(out: Output, names: int) -> Iterator[Events]:
    """Show the events of a batch with a number of names, and its totals at the end. A single name
    shows only its stages."""
    with out.progress(of_batch=names > 1) as display:
        shown = _Shown(out, display)
        yield shown
    shown.total()


class _Shown:
    """Counts finished work. The stages of the jobs go to ``display``."""

    def __init__(self, out: Output, display: Display) -> None:
        self._out = out
        self._display = display
        self._done: list[Published] = []
        self._sizes: dict[str, int] = {}
        self._start = time.monotonic()

    def planned(self, forecasts: Sequence[Forecast]) -> None:
        if len(forecasts) == 1:
            return
        self._start = time.monotonic()
        self._sizes = {one.name: one.size for one in forecasts if one.is_work}
        self._display.batch(len(self._sizes), sum(self._sizes.values()))

    def finished(self, published: Published) -> None:
        self._done.append(published)
        if not self._sizes:
            return
        self._display.one_done(self._sizes[published.name])
        count = f"[{len(self._done)}/{len(self._sizes)}]"
        # how long a job on another machine took for each name is not known
        took = f" after {duration(published.seconds)}" if published.seconds else ""
        why = f": {published.error}" if published.error is not None else ""
        self._out.event(f"{count} {published.name} {published.status}{took}{why}")

    def logged(self, line: str) -> None:
        self._out.event(line)

    def total(self) -> None:
        """The totals of a batch."""
        if not self._sizes:
            return
        counts = Counter(one.status for one in self._done)
        said = ", ".join(f"{counts[status]} {status}" for status in sorted(counts))
        size = sum(self._sizes[one.name] for one in self._done if one.error is None)
        took = duration(time.monotonic() - self._start)
        self._out.event(f"{len(self._done)} names in {took}: {said}; {human_size(size)} converted")

    def start(self, description: str, total: int | None) -> None:
        self._display.start(description, total)

    def advance(self, count: int) -> None:
        self._display.advance(count)

    def finish(self) -> None:
        self._display.finish()


def duration(seconds: float) -> str:
    """Such as ``4.2 s``, ``12:34`` or ``1:02:03``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
