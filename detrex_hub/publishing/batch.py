"""From catalogue names to repositories: convert each, push it, and read it back."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from detrex_hub.errors import DetrexHubError
from detrex_hub.heap import give_back
from detrex_hub.originals.conversion_options import ConversionOptions
from detrex_hub.originals.opening import catalogued
from detrex_hub.progress import Progress, Silent
from detrex_hub.publishing.events import Events, Named
from detrex_hub.publishing.last_batch import Memory, last_batch
from detrex_hub.publishing.outcomes import Forecast, Published
from detrex_hub.publishing.shared_originals import Originals
from detrex_hub.publishing.single import publish
from detrex_hub.repositories import PushOptions, PushResult
from detrex_hub.repositories.collections import add_to_collection, open_collection
from detrex_hub.staging import clear_scratch, remove_abandoned

log = logging.getLogger(__name__)


def publish_all(
    forecasts: Sequence[Forecast],
    conversion: ConversionOptions,
    push: PushOptions,
    *,
    jobs: int = 1,
    events: Events,
) -> Iterator[Published]:
    """Publish the names for which a `preflight` found work, and report all names.

    The disk holds at most ``jobs`` originals and results at a time. Failed names are recorded for
    `last_batch.what_failed`.

    Args:
        forecasts: of the names.
        conversion, push: the options that the forecasts were made with.
        jobs: the number of names at once.
        events: receives the events.

    Yields:
        the outcome of each name, as soon as it is known.
    """
    last = last_batch()
    work = [one.name for one in forecasts if one.is_work]
    entries = {name: catalogued(name, conversion) for name in work}
    downloads = not conversion.synthetic and conversion.source is None
    originals = Originals(
        [one for one in entries.values() if one is not None] if downloads else (),
        last.running if last else (),
    )
    memory = Memory(conversion, push)
    push = with_collection(forecasts, push)
    events.planned(forecasts)

    def one(name: str, *, progress: Progress) -> PushResult:
        memory.started(name)
        try:
            result = publish(name, conversion=conversion, push=push, progress=Named(progress, name))
        except Exception:
            originals.release(entries[name])
            raise
        # after an interruption the original stays for the next batch
        originals.release(entries[name])
        return result

    _clear_away(forecasts, push)
    for published in (without_work(one, push) for one in forecasts if not one.is_work):
        memory.finished(published)
        yield published
    forecast = {one.name: one.status for one in forecasts}
    for published in convert_and_push_all(work, one, jobs=jobs, progress=events):
        if published.status in ("new", "changed"):
            published = replace(published, status=forecast[published.name])
        memory.finished(published)
        events.finished(published)
        yield published


def with_collection(forecasts: Sequence[Forecast], push: PushOptions) -> PushOptions:
    """The same options with the id of the collection, which is created if there is none.

    Raises:
        HubError: the Hub refuses.
    """
    if push.collection is None or all(one.status == "refused" for one in forecasts):
        return push
    return replace(push, collection=open_collection(push.collection, private=push.private))


def without_work(forecast: Forecast, push: PushOptions) -> Published:
    """The outcome of a name that is unchanged or refused. An unchanged one is still listed in the
    collection of the push."""
    published = Published.without_work(forecast)
    if push.collection is None or published.result is None:
        return published
    try:
        slug = add_to_collection(push.collection, published.result.repo_id, private=push.private)
    except DetrexHubError as error:
        return Published(name=forecast.name, status="failed", error=error)
    return replace(published, result=replace(published.result, collection=slug))


def _clear_away(forecasts: Sequence[Forecast], push: PushOptions) -> None:
    """Remove files that a killed run left of finished names."""
    clear_scratch()
    for one in forecasts:
        if push.to is not None and one.status == "unchanged" and one.url is not None:
            remove_abandoned(Path(one.url))


def convert_and_push_all(
    names: Sequence[str],
    one: Callable[..., PushResult],
    *,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Iterator[Published]:
    """Publish several names; a refused one does not stop the others.

    An interruption, or closing the iterator, ends each job when it next reports progress. Finished
    names are still yielded. A second interruption ends the process at once.

    Args:
        names: catalogue names.
        one: the function for each name, such as `convert_and_push` with bound options. It is called
            with the name and ``progress``.
        jobs: the number of names at once, so that downloads, conversions and uploads overlap.
        progress: reports downloads, copying and uploads.

    Yields:
        the outcome of each name, as soon as it is known.
    """
    listener = progress or Silent()
    if jobs <= 1:
        # not in a thread, because an interruption would have to wait for it
        yield from (_publish(name, one, listener) for name in names)
        return
    running = _Jobs(names, one, listener, min(jobs, len(names)))
    try:
        yield from running.results()
    except GeneratorExit:
        running.stop()
        raise
    except BaseException:
        log.warning("stopping the running jobs; interrupt again to quit at once")
        running.stop()
        yield from running.results()
        raise


def _publish(name: str, one: Callable[..., PushResult], progress: Progress) -> Published:
    start = time.monotonic()
    try:
        result = one(name, progress=progress)
    except DetrexHubError as error:
        failure = error
    except Exception as error:
        # an unexpected error does not stop the others either
        failure = DetrexHubError(f"{name}: {type(error).__name__}: {error}")
        failure.__cause__ = error
    else:
        return Published.of(name, result, time.monotonic() - start)
    finally:
        progress.finish()
        give_back()
    return Published(name=name, status="failed", error=failure, seconds=time.monotonic() - start)


class _Jobs:
    """Threads that publish one name after another, until none is left or they are stopped.

    They end with the process, even in the middle of their work. This is safe: no unfinished result
    has its final name.
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
        """The results for the names, until all threads have ended."""
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
    """Ends a stopped job. It is not an Exception, because the job did not fail."""


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
