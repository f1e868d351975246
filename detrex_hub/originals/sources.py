"""The original weights on this machine: from the cache, a mirror, or wherever they were published.

Every download is compared with a sha256: the catalogue's, the digits in the publisher's file name,
the Hub's, or the one of the first download from that address.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from detrex_hub.catalogue.entry import CatalogueEntry, Source, file_name_of, hub_file, url_problem
from detrex_hub.errors import (
    DetrexHubError,
    SourceError,
    UsageError,
    how_to_write,
    no_file,
)
from detrex_hub.locking import FileLock, Timeout
from detrex_hub.originals import drive, http_download
from detrex_hub.originals.pages import refuse_page
from detrex_hub.own_files import read_small, replace_text
from detrex_hub.progress import Progress, Silent
from detrex_hub.redaction import public_url
from detrex_hub.staging import assets_variable, copy_file, publish_file, staging_folder
from detrex_hub.transfer import forget

__all__ = ["Progress", "Pulled", "pull"]

MIRROR_VARIABLE = "DETREX_HUB_MIRROR"
# the most bytes of the record of a download
_LARGEST_RECORD = 2**16


class Pulled(Struct, frozen=True, kw_only=True):
    """Original weights on disk.

    ``url`` is the catalogue's address if a digest proves these bytes, else the address of the
    download, without credentials. It is ``file:///<name>`` for the user's own file, whose folder
    is private. ``size`` is in bytes. ``pinned_by`` names the digest that the sha256 was compared
    with.
    """

    path: Path
    source: Source
    url: str
    sha256: str
    size: int
    pinned_by: str

    def to_json(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "url": self.url,
            "size": self.size,
            "sha256": self.sha256,
            "pinned_by": self.pinned_by,
        }


def pull(
    entry: CatalogueEntry,
    *,
    source: str | None = None,
    to: str | os.PathLike[str] | None = None,
    again: bool = False,
    progress: Progress | None = None,
) -> Pulled:
    """Get the original weights of an entry from the first source that works.

    The cache comes first, then the mirror in ``DETREX_HUB_MIRROR``, then the entry's sources in
    order. An interrupted download is resumed.

    Args:
        entry: the weights.
        source: a file or a URL that replaces the entry's sources and their digests.
        to: the place of a copy: a file name, or a folder that exists or ends in ``/``.
        again: ask only the entry's sources, even if the cache has the file. The Hub states the
            sha256 of its files; from other places the file is downloaded again.
        progress: reports downloads.

    Raises:
        SourceError: no source works; the message names the reason for each.
        UsageError: ``source`` is neither a file nor a URL of a known kind.
    """
    reports = progress or Silent()
    if source is None:
        pulled = _pull_any(entry, reports, again)
    elif "://" in source and not source.startswith("file://"):
        pulled = _pull_given(entry, source, reports)
    else:
        pulled = _local(source, reports)
    return pulled if to is None else replace(pulled, path=_place(pulled, to))


def in_cache(entry: CatalogueEntry) -> frozenset[Path]:
    """The originals of an entry that the cache of downloads holds."""
    paths = (_Place.of(source).path for source in _kept_here(entry))
    return frozenset(path for path in paths if path.is_file())


def remove(entry: CatalogueEntry, *, keep: frozenset[Path] = frozenset()) -> None:
    """Remove the originals of an entry from the cache of downloads, except those in ``keep``.

    Their digests are kept. Files that another process uses stay, and the Hub's cache is not
    changed.
    """
    for source in _kept_here(entry):
        place = _Place.of(source)
        lock = FileLock(place.folder / "lock")
        with suppress(OSError, NotImplementedError):
            lock.acquire(timeout=0)
            if place.path not in keep:
                place.path.unlink(missing_ok=True)
            lock.release()


def in_hub_cache(entry: CatalogueEntry) -> frozenset[Path]:
    """The originals of an entry that huggingface_hub's own cache holds."""
    return frozenset(path for _, path in _on_hub(entry) if path.is_file())


def remove_from_hub_cache(entry: CatalogueEntry, *, keep: frozenset[Path] = frozenset()) -> None:
    """Remove the originals of an entry from huggingface_hub's own cache, except those in
    ``keep``."""
    from detrex_hub.repositories import hub_cache

    for repo, path in _on_hub(entry):
        if path not in keep:
            with suppress(OSError):
                hub_cache.remove(path, repo)


def _on_hub(entry: CatalogueEntry) -> Iterator[tuple[str, Path]]:
    from detrex_hub.repositories import hub_cache

    for source in entry.sources:
        if (named := hub_file(source.url)) is not None:
            repo, revision, name = named
            path = hub_cache.path(repo, name, revision or source.commit)
            if path is not None:
                yield repo, path


def folder_name(source: Source) -> str:
    """The name of a source's folder in the cache of downloads."""
    key = hashlib.sha256(source.url.encode()).hexdigest()[:12]
    return f"{source.file[:100]}-{key}"


def _kept_here(entry: CatalogueEntry) -> tuple[Source, ...]:
    return tuple(one for one in entry.sources if one.scheme not in ("hf", "gdrive-folder"))


def _pull_any(entry: CatalogueEntry, progress: Progress, again: bool) -> Pulled:
    for source in () if again else entry.sources:
        cached = _cached(source, progress)
        if cached is not None:
            return cached
    failures = []
    asked = ((one, one.url) for one in entry.sources) if again else candidates(entry.sources)
    for source, url in asked:
        try:
            return _fetch(source, url, progress, again)
        except SourceError as error:
            failures.append(f"{public_url(url)}: {error}")
    raise SourceError(
        f"{entry.name} could not be downloaded from {'; '.join(failures)}",
        hint="Give a file or another address: "
        f"detrex-hub convert {entry.name} --source FILE_OR_URL",
        choices=["--source FILE_OR_URL"],
    )


def candidates(sources: Sequence[Source]) -> Iterator[tuple[Source, str]]:
    """Each source with an address, in the order of the requests."""
    mirror = os.environ.get(MIRROR_VARIABLE, "").rstrip("/")
    if mirror:
        for source in sources:
            # many files on the Hub have the same name, so a mirror cannot identify them by name
            if source.scheme != "hf":
                yield source, f"{mirror}/{quote(source.file)}"
    for source in sources:
        yield source, source.url


def _pull_given(entry: CatalogueEntry, url: str, progress: Progress) -> Pulled:
    problem = url_problem(url)
    if problem is not None:
        raise UsageError(
            f"{public_url(url)} is not a valid source", hint=f"Give {problem}, or a file"
        )
    file = f"{entry.name}.pth" if url.startswith("gdrive") else file_name_of(url)
    source = Source(layout="given", url=url, file=file)
    try:
        return _cached(source, progress) or _fetch(source, url, progress)
    except SourceError as error:
        raise SourceError(f"{public_url(url)}: {error.message}", hint=error.hint) from None


def _local(source: str, progress: Progress) -> Pulled:
    """The user's own file, in its place."""
    path = Path(unquote(urlsplit(source).path)) if source.startswith("file://") else Path(source)
    path = path.expanduser()
    if not path.is_file():
        raise no_file(str(path), "--source takes a file or a URL")
    try:
        sha256 = _hash(path, progress)
        with path.open("rb") as file:
            refuse_page(file.read(512), path.stat().st_size)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from None
    given = Source(layout="given", url=f"file:///{quote(path.name)}", file=path.name)
    return Pulled(
        path=path,
        source=given,
        url=given.url,
        sha256=sha256,
        size=path.stat().st_size,
        pinned_by="nothing: a file of the user's",
    )


def refuse_unreachable(url: str) -> None:
    """Refuse an address without a request.

    Raises:
        SourceError: it names no file, or downloads are turned off.
    """
    if url.startswith("gdrive-folder://"):
        folder, _, file = url.partition("://")[2].partition("/")
        raise SourceError(
            f"only the folder is known{f' that {file} lies in' if file else ''}, whose files have "
            f"no addresses; open https://drive.google.com/drive/folders/{folder}"
        )
    if _offline():
        raise SourceError("HF_HUB_OFFLINE forbids downloading")


def _fetch(source: Source, url: str, progress: Progress, again: bool = False) -> Pulled:
    """Get a file from one address, ``again`` even if the cache has it.

    Raises:
        SourceError: the download fails; the message does not repeat the address.
    """
    refuse_unreachable(url)
    if url.startswith("hf://"):
        return _from_hub(source, progress, again)
    place = _Place.of(source)
    with place.locked(progress) as part:
        found = None if again else _cached(source, progress)
        if found is not None:
            return found
        digest, resumed = _download(source, url, part, progress)
        try:
            pinned_by = place.judge(digest, part.stat().st_size)
        except SourceError:
            part.unlink(missing_ok=True)
            if not resumed:
                raise
            # the parts may come from two files, so the whole is downloaded again
            digest, _ = _download(source, url, part, progress)
            pinned_by = place.judge(digest, part.stat().st_size)
        finally:
            forget(part)
        place.keep(part, digest, url)
    proven = bool(source.sha256 or source.sha256_prefix)
    return Pulled(
        path=place.path,
        source=source,
        url=public_url(source.url if proven else url),
        sha256=digest,
        size=place.path.stat().st_size,
        pinned_by=pinned_by,
    )


def _download(source: Source, url: str, part: Path, progress: Progress) -> tuple[str, bool]:
    """The sha256 of the file at ``part``, and whether it comes from several answers."""
    if url.startswith("gdrive://"):
        drive.download(url.partition("://")[2], part, source.size, progress)
        return _hash(part, progress), False
    return http_download.download(url, part, size=source.size, name=source.file, progress=progress)


def _from_hub(source: Source, progress: Progress, again: bool) -> Pulled:
    from detrex_hub import repositories
    from detrex_hub.repositories.client import file_on_hub

    named = hub_file(source.url)
    assert named is not None
    repo, revision, path = named
    try:
        if again:
            # a cached file of a commit would be used without a request
            size, digest = file_on_hub(repo, path, revision=revision or source.commit)
            if size is not None and digest is not None:
                _compare_with_pin(source, digest, size)
        fetched = repositories.fetch(
            repo, [path], revision=revision or source.commit, progress=progress
        )
    except DetrexHubError as error:
        raise SourceError(error.message) from None
    file = fetched.files[path]
    sha256 = _hash(file, progress)
    _compare_with_pin(source, sha256, file.stat().st_size)
    return Pulled(
        path=file,
        source=source,
        url=f"hf://{repo}@{fetched.commit}/{path}" if fetched.commit else source.url,
        sha256=sha256,
        size=file.stat().st_size,
        pinned_by="the sha256 in the catalogue"
        if source.sha256
        else "the sha256 that the Hub reports",
    )


def _cached(source: Source, progress: Progress) -> Pulled | None:
    """The file of an earlier download, if its bytes are unchanged."""
    if source.scheme in ("hf", "gdrive-folder"):
        return None
    place = _Place.of(source)
    seen = place.seen()
    if seen is None or not place.path.is_file():
        return None
    sha256 = _hash(place.path, progress)
    if sha256 != seen["sha256"]:
        return None
    try:
        pinned_by = place.judge(sha256, place.path.stat().st_size)
    except SourceError:
        return None
    return Pulled(
        path=place.path,
        source=source,
        url=seen["url"],
        sha256=sha256,
        size=place.path.stat().st_size,
        pinned_by=pinned_by,
    )


class _Place(Struct, frozen=True):
    """The path of a source's file in the cache, with the record of its first download."""

    source: Source
    folder: Path

    @classmethod
    def of(cls, source: Source) -> _Place:
        from huggingface_hub import cached_assets_path, constants

        try:
            folder = cached_assets_path(
                library_name="detrex-hub",
                namespace="sources",
                subfolder=folder_name(source),
                assets_dir=constants.HF_ASSETS_CACHE,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise _unwritable(Path(constants.HF_ASSETS_CACHE), error) from None
        return cls(source, folder)

    @property
    def path(self) -> Path:
        return self.folder / self.source.file

    @contextmanager
    def locked(self, progress: Progress) -> Iterator[Path]:
        """The path to download to. No other process writes to it."""
        part = self.folder / f"{self.source.file}.part"
        lock = FileLock(self.folder / "lock")
        try:
            try:
                lock.acquire(timeout=0)
            except Timeout:
                progress.start("waiting for another process that downloads the same file", None)
                lock.acquire()
                progress.finish()
        except PermissionError as error:
            raise _unwritable(self.folder, error) from None
        except (OSError, NotImplementedError):
            # a file system without locks: a separate download, which cannot be resumed
            part = self.folder / f"{self.source.file}.{os.getpid()}.part"
        try:
            yield part
        except OSError as error:
            raise _unwritable(self.folder, error) from None
        finally:
            lock.release()

    def seen(self) -> dict[str, Any] | None:
        """The record of the first download: ``url`` and ``sha256``."""
        try:
            found = json.loads(read_small(self.folder / "seen.json", _LARGEST_RECORD))
        except (OSError, ValueError):
            return None
        if not isinstance(found, dict):
            return None
        right = re.fullmatch("[0-9a-f]{64}", str(found.get("sha256"))) and "url" in found
        return found if right else None

    def judge(self, sha256: str, size: int) -> str:
        """Compare digest and size of a file with the known ones.

        Returns:
            a phrase that names what the digest was compared with.

        Raises:
            SourceError: the digest or the size differs.
        """
        source, seen = self.source, self.seen()
        expected = source.sha256 or source.sha256_prefix
        _compare_with_pin(source, sha256, size)
        if source.sha256:
            return "the sha256 in the catalogue"
        if seen is not None and seen["sha256"] != sha256:
            raise SourceError(
                f"has sha256 {sha256[:16]}…, and had {seen['sha256'][:16]}… when first seen; "
                f"if its publisher replaced it, remove {self.folder / 'seen.json'}"
            )
        if expected is not None:
            return f"the first {len(expected)} digits of the sha256, in the catalogue"
        return "the sha256 seen first"

    def keep(self, part: Path, sha256: str, url: str) -> None:
        """Give a verified download its final name, and record it."""
        record = {"sha256": sha256, "url": public_url(url if self._unproven else self.source.url)}
        replace_text(self.folder / "seen.json", json.dumps(record, indent=2) + "\n")
        part.replace(self.path)

    @property
    def _unproven(self) -> bool:
        return not (self.source.sha256 or self.source.sha256_prefix)


def _compare_with_pin(source: Source, sha256: str, size: int) -> None:
    """
    Raises:
        SourceError: a file differs from the one in the catalogue or its lock.
    """
    expected = source.sha256 or source.sha256_prefix
    if expected is not None and not sha256.startswith(expected):
        raise SourceError(
            f"has sha256 {sha256[: len(expected)]} instead of {expected}: damaged or replaced"
        )
    if source.size is not None and size != source.size:
        raise SourceError(f"has {size} bytes instead of {source.size}: damaged or replaced")


def _place(pulled: Pulled, to: str | os.PathLike[str]) -> Path:
    """Write a complete copy to the user's path, or nothing."""
    target = Path(to)
    if target.is_dir() or os.fspath(to).endswith(os.sep):
        target /= pulled.source.file
    if target.exists() and target.samefile(pulled.path):
        return target
    with staging_folder(target.absolute(), option="-o") as staging:
        staged = staging / target.name
        copy_file(pulled.path, staged)
        publish_file(staged, target.absolute())
    return target


def _hash(path: Path, progress: Progress) -> str:
    digest = hashlib.sha256()
    progress.start(f"checking {path.name}", path.stat().st_size)
    try:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
                progress.advance(len(chunk))
    finally:
        progress.finish()
    return digest.hexdigest()


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _unwritable(folder: Path, error: Exception) -> DetrexHubError:
    refusal = error if isinstance(error, OSError) else OSError(str(error))
    # not a SourceError, because another source would fail in the same way
    return DetrexHubError(
        f"the cache {folder} cannot be written: {refusal.strerror or refusal}",
        hint=how_to_write(refusal, f"choose another place with {assets_variable()}"),
    )
