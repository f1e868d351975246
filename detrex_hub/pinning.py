"""Write a catalogue's lock: pull originals, convert them, and record the digests of both.

Conversions are reproducible, so that their results can be known in advance. The lock is compared
with every later pull and with every later conversion, on every machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from detrex_hub import catalogue
from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.catalogue.entry import hub_file
from detrex_hub.catalogue.lock import Lock, Pin, ResultPin, read_lock, write_lock
from detrex_hub.conversion import execute, prepare
from detrex_hub.errors import DetrexHubError, SourceError, UsageError
from detrex_hub.originals import sources
from detrex_hub.originals.conversion_options import ConversionOptions
from detrex_hub.originals.sources import MIRROR_VARIABLE
from detrex_hub.progress import Progress
from detrex_hub.redaction import public_url
from detrex_hub.resolving import KEEP_VARIABLE
from detrex_hub.staging import UnwritableError, scratch_folder


class Pinned(Struct, frozen=True, kw_only=True):
    """The pins of an entry's source and of its conversion, or the ``error`` that prevented them.

    ``changes`` are the differing lines of the lock, one for each value. ``lock`` is its path.
    """

    name: str
    lock: Path
    url: str | None = None
    source: Pin | None = None
    result: ResultPin | None = None
    changes: tuple[str, ...] = ()
    error: DetrexHubError | None = None

    @property
    def agrees(self) -> bool:
        """Whether the lock had these values already."""
        return self.error is None and not self.changes

    def to_json(self) -> dict[str, Any]:
        from msgspec import to_builtins

        return {
            "name": self.name,
            "lock": str(self.lock),
            "url": self.url,
            "source": to_builtins(self.source),
            "result": to_builtins(self.result),
            "changes": list(self.changes),
            "error": self.error and str(self.error),
        }


def pin_weights(
    names: Sequence[str] = (),
    *,
    check: bool = False,
    extra_catalogues: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Iterator[Pinned]:
    """Pull and convert entries, and write their digests into the lock of their catalogue.

    A source in the lock is never changed: a pull with other bytes is refused. Results are those of
    this version's mapper. The lock is written after each entry, so an interrupted call loses
    nothing.

    Args:
        names: of entries; all of the catalogue by default. If the user has catalogue files, the
            names are from these.
        check: write nothing, and report differences. The first source in the lock is asked again,
            even if the cache has its file: the Hub states the sha256, from other places the file
            is downloaded. A mirror is not asked.
        extra_catalogues: catalogue files in addition to the built-in ones and
            ``DETREX_HUB_CATALOGUE``.
        progress: reports downloads and copying.

    Yields:
        the result for each entry. A failing one does not stop the others.

    Raises:
        UsageError: a name is unknown, or is not in a catalogue file of the user.
        CatalogueError: a catalogue file or a lock is malformed.
        UnwritableError: the lock cannot be written.

    Example:
        >>> [one.changes for one in pin_weights(["r101_v2"], check=True)]
        [()]
    """
    for lock, entry in _wanted(names, extra_catalogues):
        try:
            found = _pinned(entry, lock, check, extra_catalogues, progress)
        except DetrexHubError as error:
            yield Pinned(name=entry.name, lock=lock, error=error)
            continue
        if found.changes and not check:
            _write(found)
        yield found


def _wanted(names: Sequence[str], extra: Sequence[Path]) -> list[tuple[Path, CatalogueEntry]]:
    """The wanted entries, each with the lock of its catalogue."""
    files = catalogue.by_lock(extra)
    every = {entry.name: (lock, entry) for lock, they in files.items() for entry in they.values()}
    if not names:
        return [*every.values()]
    found = []
    for name in names:
        entry = catalogue.find_entry(name, extra)
        if entry.name not in every:
            raise UsageError(
                f"{entry.name} is in the built-in catalogue, but the lock to be written is "
                f"{' or '.join(map(str, files))}",
                hint=f"Leave --catalogue out, and unset {catalogue.CATALOGUE_VARIABLE}",
            )
        found.append(every[entry.name])
    return found


def _pinned(
    entry: CatalogueEntry,
    lock: Path,
    check: bool,
    extra: Sequence[Path],
    progress: Progress | None,
) -> Pinned:
    had = sources.in_cache(entry)
    known = read_lock(lock)
    # another source that answers says nothing about the pinned one
    pinned = tuple(one for one in entry.sources if one.url in known.sources)[:1] if check else ()
    asked = replace(entry, sources=pinned) if pinned else entry
    pulled = sources.pull(asked, again=check, progress=progress)
    source = pulled.source
    on_hub = hub_file(source.url)
    if on_hub is None and pulled.url != public_url(source.url):
        sources.remove(entry)  # otherwise the next pull would take it from the cache
        raise SourceError(
            f"{entry.name} comes from {pulled.url}, but nothing proves that it is the file at "
            f"{public_url(source.url)}",
            hint=f"Unset {MIRROR_VARIABLE}, and lock it again",
        )
    came_from = hub_file(pulled.url) if on_hub else None
    options = ConversionOptions(extra_catalogues=tuple(extra))
    with (
        prepare(entry.name, options, progress=progress) as planned,
        scratch_folder() as scratch,
    ):
        made = execute(replace(planned, expected=None), scratch / entry.name, progress=progress)
        mapper = planned.mapper_sha256
    if os.environ.get(KEEP_VARIABLE) != "1":
        sources.remove(entry, keep=had)
    pin_of_source = Pin(
        size=pulled.size,
        sha256=pulled.sha256,
        commit=source.commit or (came_from[1] if came_from else None),
    )
    pin_of_result = ResultPin(sha256=made.sha256, mapper=mapper)
    return Pinned(
        name=entry.name,
        lock=lock,
        url=source.url,
        source=pin_of_source,
        result=pin_of_result,
        changes=(
            *_changes(public_url(source.url), known.sources.get(source.url), pin_of_source),
            *_changes("result", known.weights.get(entry.name), pin_of_result),
        ),
    )


def _changes(what: str, before: Pin | ResultPin | None, after: Pin | ResultPin) -> Iterator[str]:
    from msgspec import structs

    for name, value in structs.asdict(after).items():
        was = getattr(before, name, None)
        if was != value:
            yield f"{what}: {name} {'not pinned' if was is None else was} -> {value}"


def _write(found: Pinned) -> None:
    known = read_lock(found.lock)
    assert found.url is not None
    assert found.source is not None
    assert found.result is not None
    lock = Lock(
        sources={**known.sources, found.url: found.source},
        weights={**known.weights, found.name: found.result},
    )
    try:
        write_lock(found.lock, lock)
    except OSError as error:
        raise UnwritableError(found.lock, error, None) from None


def disagreement(found: Sequence[Pinned], *, check: bool) -> DetrexHubError | None:
    """The error of a call whose entries failed, or differ from the lock; None if all entries
    agree with the lock."""
    failed = [one for one in found if one.error is not None]
    if len(found) == 1 and failed:
        return failed[0].error
    wrong = [one for one in found if not one.agrees] if check else failed
    if not wrong:
        return None
    names = ", ".join(one.name for one in wrong[:8])
    more = f" and {len(wrong) - 8} more" if len(wrong) > 8 else ""
    if failed:
        return DetrexHubError(f"{len(wrong)} of {len(found)} entries are refused: {names}{more}")
    return DetrexHubError(
        f"the lock differs for {len(wrong)} of {len(found)} entries: {names}{more}",
        hint=f"Write it: detrex-hub lock {' '.join(one.name for one in wrong[:8])}",
    )
