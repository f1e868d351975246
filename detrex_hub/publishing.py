"""From catalogue names to repositories: convert each, push it, and read it back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from detrex_hub import training_run
from detrex_hub.conversion import convert, prepare
from detrex_hub.errors import DetrexHubError
from detrex_hub.hub import PushResult, push
from detrex_hub.sources import Progress
from detrex_hub.staging import scratch_folder


@dataclass(frozen=True)
class Published:
    """What became of one name: either ``result`` or ``error``."""

    name: str
    result: PushResult | None = None
    error: DetrexHubError | None = None


def convert_and_push(
    name: str,
    *,
    to: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    conversion: Mapping[str, Any] | None = None,
    **options: Any,
) -> PushResult:
    """Convert weights and push them; nothing is left behind but the repository.

    Args:
        name: a catalogue name, or a checkpoint.
        to: a folder to push into instead of the Hub.
        progress: told of downloads and copying.
        conversion: options of `prepare`.
        options: further ones of `push`.

    Raises:
        DetrexHubError: as `prepare`, `convert` and `push` do; nothing was pushed.
    """
    with (
        prepare(name, progress=progress, **(conversion or {})) as planned,
        scratch_folder() as scratch,
    ):
        done = convert(planned, scratch / planned.name, progress=progress)
        assert done.folder is not None
        return push(done.folder, to=to, **options)


def push_trained(
    checkpoint: str | os.PathLike[str],
    repo_id: str | None = None,
    *,
    config: str | os.PathLike[str],
    metrics: str | os.PathLike[str] | None = None,
    ema: bool = False,
    license: str | None = None,
    facts: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> PushResult:
    """Push what a training run with detrex left: its weights alone, with a card that has the
    config's overrides and the accuracy that was measured.

    Args:
        checkpoint: what detectron2's checkpointer wrote.
        repo_id: ``owner/name`` or ``name``; the config's name if not given.
        config: the config that it was trained with.
        metrics: the ``metrics.json`` of the run.
        ema: take the averaged weights.
        license: of the weights, an identifier of the Hub.
        facts: what no shape shows, over what the config says.
        progress: told of copying.
        options: further ones of `push`.

    Raises:
        DetrexHubError: as `training_run.prepared`, `convert` and `push` do; nothing was pushed.
    """
    name = repo_id.rpartition("/")[2] if repo_id else None
    with (
        training_run.prepared(
            checkpoint, config, metrics=metrics, name=name, ema=ema, license=license, facts=facts
        ) as planned,
        scratch_folder() as scratch,
    ):
        done = convert(planned, scratch / planned.name, progress=progress)
        assert done.folder is not None
        return push(done.folder, repo_id or planned.name, license=license, **options)


def convert_and_push_all(
    names: Sequence[str], one: Callable[[str], PushResult], *, jobs: int = 1
) -> Iterator[Published]:
    """Publish several names; a refused one does not stop the others.

    Args:
        names: catalogue names.
        one: what is done with each, such as a `convert_and_push` with its options bound.
        jobs: how many at once, so that downloads, conversions and uploads overlap.

    Yields:
        what became of each, in the order of the names.
    """

    def publish(name: str) -> Published:
        try:
            return Published(name, result=one(name))
        except DetrexHubError as error:
            return Published(name, error=error)
        except Exception as error:
            # one that nobody foresaw does not stop the others either
            unforeseen = DetrexHubError(f"{name}: {type(error).__name__}: {error}")
            unforeseen.__cause__ = error
            return Published(name, error=unforeseen)

    if jobs <= 1:
        # not in a thread: whoever interrupts would wait for it
        yield from map(publish, names)
        return
    with ThreadPoolExecutor(jobs) as threads:
        yield from threads.map(publish, names)
