"""Conversions that this machine made, because it found no repository that has them.

They lie in huggingface_hub's assets cache. Each is a folder like a repository: the same four files,
with the bytes that the published repository has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from detrex_hub import card
from detrex_hub.catalogue import CatalogueEntry, Source
from detrex_hub.catalogue.entry import same_address
from detrex_hub.catalogue.models import model_of
from detrex_hub.conversion import convert
from detrex_hub.errors import DetrexHubError
from detrex_hub.locking import FileLock, Timeout
from detrex_hub.messages import log
from detrex_hub.originals import sources
from detrex_hub.progress import Progress
from detrex_hub.records import (
    CARD,
    CONFIG,
    CONVERSION,
    ConversionRecord,
    RecordedSource,
    RepositoryConfig,
)
from detrex_hub.repositories.converted import root
from detrex_hub.staging import assets_variable, publish_files, staging_folder

# part of every key: raised when a folder is laid out in another way
_VERSION = 2


def find(entry: CatalogueEntry) -> Path | None:
    """The conversion of an entry as the catalogue and the mapper are now; None if there is none, or
    the lock pins another original or another result.

    Raises:
        ConfigError: its records are damaged.
    """
    folder = _folder(entry)
    return folder if _is_pinned_by(entry, folder) else None


def make(
    entry: CatalogueEntry,
    repo_id: str,
    *,
    extra_catalogues: Sequence[Path] = (),
    keep_original: bool = False,
    progress: Progress | None = None,
) -> tuple[Path, str]:
    """Pull the original of an entry, convert it, and prove the result.

    Processes that ask for the same entry at the same time convert it once; the others wait.

    Args:
        entry: the weights.
        repo_id: the repository that the card names.
        extra_catalogues: catalogue files in addition to the built-in ones, which have the entry.
        keep_original: keep the original in the cache. Otherwise it is removed, unless it was there
            before or lies in the Hub's own cache.
        progress: reports downloads and copying.

    Returns:
        the folder, and the address that the original came from; empty where another process has
        made the conversion in the meantime.

    Raises:
        DetrexHubError: the original could not be downloaded or converted; nothing is left behind.
    """
    folder = _folder(entry)
    with locked(folder, entry.name):
        if _is_pinned_by(entry, folder):
            return folder, ""
        had = sources.in_cache(entry)
        with staging_folder(folder, option=assets_variable()) as staging:
            made = convert(
                entry.name,
                staging / entry.name,
                extra_catalogues=extra_catalogues,
                progress=progress,
            )
            assert made.folder is not None
            text = (made.folder / CARD).read_text(encoding="utf-8")
            addressed = card.addressed(text, entry.name, repo_id)
            (made.folder / CARD).write_text(addressed, encoding="utf-8", newline="\n")
            publish_files(made.folder, folder)
        if not keep_original:
            sources.remove(entry, keep=had)
        return folder, made.conversion.provenance.url or ""


def _folder(entry: CatalogueEntry) -> Path:
    """The folder of an entry's conversion. Pins are no part of the key: a lock that pins what is
    there must find it again."""
    try:
        made = model_of(entry)
        rules = [made.rules(source.layout) for source in entry.sources]
    except DetrexHubError:
        rules = []  # an entry of a user may leave its hyper-parameters to the file
    sources = tuple(
        replace(one, sha256=None, sha256_prefix=None, size=None, commit=None)
        for one in entry.sources
    )
    contents = repr((_VERSION, replace(entry, sources=sources, result=None), rules)).encode()
    return root() / hashlib.sha256(contents).hexdigest()[:16] / entry.name


def _is_pinned_by(entry: CatalogueEntry, folder: Path) -> bool:
    """Whether a conversion is there, and nothing that the lock pins contradicts it."""
    if not (folder / CONFIG).is_file():
        return False
    if entry.result is not None:
        stored = RepositoryConfig.load(folder / CONFIG).checkpoint
        return stored.sha256 == entry.result.sha256
    found = ConversionRecord.load(folder / CONVERSION).source
    theirs = [one for one in entry.sources if same_address(one.url, found.url or "")]
    # a mirror's address is none of the catalogue's
    return any(_agrees(one, found) for one in theirs or entry.sources)


def _agrees(source: Source, found: RecordedSource) -> bool:
    """Whether the original of a conversion may be the file that a source pins."""
    digest = source.sha256 or source.sha256_prefix
    if digest is not None and not (found.sha256 or "").startswith(digest):
        return False
    if digest is None and source.commit is not None and source.commit not in (found.url or ""):
        return False
    return source.size in (None, found.size)


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock of a conversion. Without locks on a file system each process makes its own."""
    lock = FileLock(folder.parent / ".lock")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log(f"{name}: waiting for another process that converts it")
            lock.acquire()
    except (OSError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        lock.release()
