"""From catalogue names to repositories: convert each, push it, and read it back."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from detrex_hub.errors import DetrexHubError
from detrex_hub.progress import Progress, Silent
from detrex_hub.repositories import PushResult

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """The outcome of one name: either ``result`` or ``error``."""

    name: str
    result: PushResult | None = None
    error: DetrexHubError | None = None

    def to_json(self) -> dict[str, Any]:
        if self.result is None:
            return {"name": self.name, "error": str(self.error)}
        return {"name": self.name, **self.result.to_json()}


def convert_and_push_all(
    names: Sequence[str],
    one: Callable[..., PushResult],
    *,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Iterator[Published]:
    """Publish several names; a refused one does not stop the others.

    An interruption, or closing the iterator, ends each job when it next reports progress. What was
    done until then is still yielded. A second interruption waits for nothing.

    Args:
        names: catalogue names.
        one: what to do with each, such as `convert_and_push` with its options bound. It is called
            with the name and ``progress``.
        jobs: how many at once, so that downloads, conversions and uploads overlap.
        progress: reports downloads, copying and uploads.

    Yields:
        the outcome of each name, as soon as it is known.
    """
    listener = progress or Silent()
    if jobs <= 1:
        # not in a thread, for which an interruption would have to wait
        yield from (_publish(name, one, listener) for name in names)
        return
    running = _Jobs(names, one, listener, min(jobs, len(names)))
    try:
        yield from running.results()
    except GeneratorExit:
        running.stop()
        raise
    except BaseException:
        log.warning("stopping what runs; interrupt again to leave it as it is")
        running.stop()
        yield from running.results()
        raise


def _publish(name: str, one: Callable[..., PushResult], progress: Progress) -> Published:
    try:
        return Published(name, result=one(name, progress=progress))
    except DetrexHubError as error:
        return Published(name, error=error)
    except Exception as error:
        # an unforeseen error does not stop the others either
        unforeseen = DetrexHubError(f"{name}: {type(error).__name__}: {error}")
        unforeseen.__cause__ = error
        return Published(name, error=unforeseen)


class _Jobs:
    """Threads that publish one name after another, until none is left or they are stopped.

    They end with the process, whatever they do: no unfinished result has its final name.
    """

    def __init__(
        self, names: Sequence[str], one: Callable[..., PushResult], progress: Progress, count: int
    ) -> None:
        self._left = iter(names)
        self._one = one
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._progress = _Stoppable(progress, self._stopped)
        # None from each thread that ends
        self._done: queue.SimpleQueue[Published | None] = queue.SimpleQueue()
        self._running = count
        for _ in range(count):
            threading.Thread(target=self._work, daemon=True).start()

    def stop(self) -> None:
        """Start no other name, and end each job when it next reports progress."""
        self._stopped.set()

    def results(self) -> Iterator[Published]:
        """What became of the names, until all threads have ended."""
        while self._running:
            done = self._done.get()
            if done is None:
                self._running -= 1
            else:
                yield done

    def _work(self) -> None:
        try:
            while (name := self._next()) is not None:
                self._done.put(_publish(name, self._one, self._progress))
        except _StoppedError:
            pass
        finally:
            self._done.put(None)

    def _next(self) -> str | None:
        with self._lock:
            return None if self._stopped.is_set() else next(self._left, None)


class _StoppedError(BaseException):
    """Ends a job that was stopped. Not an Exception, since the job did not fail."""


class _Stoppable:
    """Passes on what a job reports, and ends the job there if it was stopped."""

    def __init__(self, progress: Progress, stopped: threading.Event) -> None:
        self._progress = progress
        self._stopped = stopped

    def start(self, description: str, total: int | None) -> None:
        self._check()
        self._progress.start(description, total)

    def advance(self, count: int) -> None:
        self._check()
        self._progress.advance(count)

    def finish(self) -> None:
        self._progress.finish()

    def _check(self) -> None:
        if self._stopped.is_set():
            raise _StoppedError
