"""List the weights in the caches of this machine, and remove them.

Conversions, ``.pth`` files and originals are in huggingface_hub's assets cache. Repositories of the
Hub are in its main cache, which its own functions list and clear.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from detrex_hub import catalogue
from detrex_hub.catalogue.entry import hub_file
from detrex_hub.errors import DetrexHubError, UsageError
from detrex_hub.locking import FileLock, Timeout
from detrex_hub.materialising import cache_key, roots
from detrex_hub.originals.sources import folder_name
from detrex_hub.records import CONFIG, RepositoryConfig
from detrex_hub.repositories import converted, hub_cache
from detrex_hub.resolving import default_namespace

StoredKind: TypeAlias = Literal["weights", ".pth", "original", "unfinished"]

CONVERTED_HERE = "converted here"
_DAY = 86400.0
# `from_hub` writes the keys of a backbone with this prefix or without it
_PREFIXES = ("", "backbone.")
_PARTIAL = ".*.partial-*"


class Stored(Struct, frozen=True, kw_only=True):
    """One thing in a cache.

    Args:
        name: of the weights: that of the catalogue, or ``owner/name``.
        origin: the commit of a repository, `CONVERTED_HERE`, or empty if unknown.
        kind: what it is.
        size: in bytes.
        last_use: when it was last read or written according to the file system, in seconds since
            1970.
        paths: the files and folders that a removal deletes.
        locks: files that a process locks while it uses it.
        commit: of a repository in huggingface_hub's cache, which removes it.
    """

    name: str
    origin: str
    kind: StoredKind
    size: int
    last_use: float
    paths: tuple[Path, ...] = ()
    locks: tuple[Path, ...] = ()
    commit: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "origin": self.origin or None,
            "kind": self.kind,
            "size": self.size,
            "last_use": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.last_use)),
        }


class Removal(Struct, frozen=True):
    """The result of a removal: ``removed``, or kept because another process uses it."""

    stored: Stored
    removed: bool

    def to_json(self) -> dict[str, Any]:
        return {**self.stored.to_json(), "removed": self.removed}


def contents(extra_catalogues: Sequence[Path] = ()) -> list[Stored]:
    """Everything in the caches that belongs to detrex-hub, by name.

    Args:
        extra_catalogues: catalogue files in addition to the built-in ones. Originals of their
            entries have the entries' names; others have the names of their files.

    Originals in huggingface_hub's main cache and repositories of other projects are left out.

    Example:
        >>> [(one.name, one.kind) for one in contents()]
        [('r101_v2', '.pth'), ('r101_v2', 'weights')]
    """
    described: dict[str, tuple[str, str]] = {}
    found = [*_conversions(described), *_repositories(described, extra_catalogues)]
    found += [*_materialised(described), *_originals(extra_catalogues), *_scratch()]
    return sorted(found, key=lambda one: (one.name, one.origin, one.kind))


def remove(
    names: Sequence[str] = (), *, extra_catalogues: Sequence[Path] = ()
) -> Iterator[Removal]:
    """Remove all kinds of weights from the caches.

    Args:
        names: of the catalogue, or ``owner/name``; everything by default.
        extra_catalogues: as for `contents`.

    Raises:
        UsageError: the cache holds nothing of that name.
        OSError: the cache cannot be written to.
    """
    stored = contents(extra_catalogues)
    wanted = {name: _names(name, extra_catalogues) for name in names}
    for name, called in wanted.items():
        if not any(one.name in called for one in stored):
            known = sorted({one.name for one in stored})
            raise UsageError(
                f"the cache has nothing named {name[:120]!r}",
                hint=f"It holds: {', '.join(known)}" if known else "It is empty",
            )
    for one in stored:
        if not names or any(one.name in called for called in wanted.values()):
            yield _removed(one)


def prune(
    older_than: float | None = None, *, extra_catalogues: Sequence[Path] = ()
) -> Iterator[Removal]:
    """Remove unfinished downloads and conversions.

    Args:
        older_than: also remove weights if no kind of them was used for this number of days.
        extra_catalogues: as for `contents`.

    Raises:
        OSError: the cache cannot be written to.
    """
    oldest = None if older_than is None else time.time() - older_than * _DAY
    stored = contents(extra_catalogues)
    # a `.pth` in use needs its weights, which describe it
    uses: dict[tuple[str, str], float] = {}
    for one in stored:
        uses[one.name, one.origin] = max(one.last_use, uses.get((one.name, one.origin), 0.0))
    for one in stored:
        last = uses[one.name, one.origin]
        if one.kind == "unfinished" or (oldest is not None and last <= oldest):
            yield _removed(one)


def _names(name: str, extra: Sequence[Path]) -> set[str]:
    """All names of the weights in the cache."""
    text = name.removeprefix("hf://").partition("@")[0]
    owner, slash, bare = text.rpartition("/")
    if slash and owner != default_namespace():
        return {text}
    entry = catalogue.look_up(bare, extra)
    called = {bare, entry.name} if entry else {bare}
    return called | {f"{default_namespace()}/{one}" for one in called}


# -- what is there --------------------------------------------------------------------------------


def _conversions(described: dict[str, tuple[str, str]]) -> Iterator[Stored]:
    for folder in _folders(converted.root(), "*/*"):
        if folder.match(_PARTIAL):
            yield _stored(_target(folder), "", "unfinished", (folder,), (folder / ".lock",))
        elif (folder / CONFIG).is_file():
            _note(described, folder / CONFIG, folder.name, CONVERTED_HERE)
            lock = folder.parent / ".lock"
            yield _stored(folder.name, CONVERTED_HERE, "weights", (folder,), (lock,))


def _repositories(described: dict[str, tuple[str, str]], extra: Sequence[Path]) -> Iterator[Stored]:
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    with suppress(CacheNotFound):
        for repo in scan_cache_dir(constants.HF_HUB_CACHE).repos:
            locks = tuple((Path(constants.HF_HUB_CACHE) / ".locks" / repo.repo_path.name).glob("*"))
            for revision in repo.revisions if repo.repo_type == "model" else ():
                commit = revision.commit_hash
                if not _note(described, revision.snapshot_path / CONFIG, repo.repo_id, commit):
                    continue
                weights = max(revision.files, key=lambda one: one.size_on_disk)
                yield Stored(
                    name=repo.repo_id,
                    origin=commit,
                    kind="weights",
                    size=revision.size_on_disk,
                    last_use=max(weights.blob_last_accessed, weights.blob_last_modified),
                    locks=locks,
                    commit=commit,
                )
    theirs = {name for name, origin in described.values() if origin != CONVERTED_HERE}
    theirs |= {
        named[0]
        for entry in catalogue.load_entries(extra).values()
        for source in entry.sources
        if (named := hub_file(source.url)) is not None
    }
    for repo_id in theirs:
        folder = hub_cache.repository(repo_id)
        for path in folder.glob("blobs/*.incomplete"):
            lock = folder.parent / ".locks" / folder.name / f"{path.stem}.lock"
            yield _stored(repo_id, "", "unfinished", (path,), (lock,))


def _materialised(described: Mapping[str, tuple[str, str]]) -> Iterator[Stored]:
    for root in roots():
        for folder in _folders(root, "*"):
            lock = folder / ".lock"
            for partial in _folders(folder, _PARTIAL):
                name = _target(partial).removesuffix(".pth")
                yield _stored(name, "", "unfinished", (partial,), (partial / ".lock",))
            for path in folder.glob("*.pth"):
                name, origin = described.get(folder.name, (path.stem, ""))
                # the seal is beside it
                paths = tuple(one for one in folder.glob(f"*{path.name}*") if one.is_file())
                yield _stored(name, origin, ".pth", paths, (lock,))


def _originals(extra: Sequence[Path]) -> Iterator[Stored]:
    known = {
        folder_name(source): entry.name
        for entry in catalogue.load_entries(extra).values()
        for source in entry.sources
    }
    for folder in _folders(converted.root().with_name("sources"), "*"):
        for path in folder.iterdir():
            if path.name in ("lock", "seen.json") or not path.is_file():
                continue
            kind: StoredKind = "unfinished" if ".part" in path.name else "original"
            name = known.get(folder.name, folder.name.rpartition("-")[0])
            yield _stored(name, "", kind, (path,), (folder / "lock",))


def _scratch() -> Iterator[Stored]:
    for folder in _folders(converted.root().with_name("converting"), _PARTIAL):
        yield _stored("scratch of a conversion", "", "unfinished", (folder,), (folder / ".lock",))


def _folders(root: Path, pattern: str) -> Iterator[Path]:
    return (one for one in root.glob(pattern) if one.is_dir() and not one.is_symlink())


def _target(partial: Path) -> str:
    return partial.name[1:].rpartition(".partial-")[0]


def _note(
    described: dict[str, tuple[str, str]], config: Path, name: str, origin: str
) -> RepositoryConfig | None:
    """Record the ``.pth`` files that belong to a config; None if it is not one of ours."""
    try:
        found = RepositoryConfig.load(config)
    except (DetrexHubError, OSError):
        return None
    for prefix in _PREFIXES:
        described.setdefault(cache_key(found, prefix), (name, origin))
    return found


def _stored(
    name: str, origin: str, kind: StoredKind, paths: tuple[Path, ...], locks: tuple[Path, ...]
) -> Stored:
    states = []
    for root in paths:
        for path in (root, *root.rglob("*")):
            with suppress(OSError):
                if not path.is_dir():
                    states.append(path.lstat())
    # small files are read by a listing too
    largest = max(states, key=lambda one: one.st_size, default=None)
    return Stored(
        name=name,
        origin=origin,
        kind=kind,
        size=sum(one.st_size for one in states),
        last_use=max(largest.st_atime, largest.st_mtime) if largest else 0.0,
        paths=paths,
        locks=locks,
    )


# -- removing -------------------------------------------------------------------------------------


def _removed(one: Stored) -> Removal:
    with ExitStack() as stack:
        for path in one.locks:
            lock = FileLock(path)
            try:
                if path.parent.is_dir():
                    lock.acquire(timeout=0)
                    stack.callback(lock.release)
            except Timeout:
                return Removal(one, removed=False)
            except NotImplementedError:
                pass  # a file system without locks
        if one.commit is not None:
            from huggingface_hub import constants, scan_cache_dir

            scan_cache_dir(constants.HF_HUB_CACHE).delete_revisions(one.commit).execute()
        for path in one.paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            _clear_away(path.parent)
    return Removal(one, removed=True)


def _clear_away(folder: Path) -> None:
    """Remove a folder that holds nothing but a lock."""
    if {one.name for one in folder.iterdir()} <= {".lock"}:
        shutil.rmtree(folder)
