"""The weights that detrex-hub knows by name, and where each is published."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache, lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from detrex_hub.catalogue.entry import CatalogueEntry, Metric, Source, file_name_of
from detrex_hub.errors import CatalogueError, UsageError, did_you_mean, refuse_special
from detrex_hub.messages import log

if TYPE_CHECKING:
    from detrex_hub.catalogue.lock import Lock

__all__ = [
    "BUILT_IN_LOCK",
    "CatalogueEntry",
    "Metric",
    "Source",
    "built_in",
    "by_lock",
    "find_entry",
    "is_built_in",
    "list_weights",
    "load_entries",
    "look_up",
    "of_file",
    "of_name",
    "variable_for",
]

CATALOGUE_VARIABLE = "DETREX_HUB_CATALOGUE"
BUILT_IN_LOCK = Path(__file__).with_name("built_in.lock.toml")
"""The lock of all built-in catalogue files."""


def load_entries(extra: Sequence[Path] = ()) -> Mapping[str, CatalogueEntry]:
    """All entries by name: the built-in ones, those of ``DETREX_HUB_CATALOGUE``, then ``extra``.

    A later file's entry replaces an earlier one of the same name. Aliases are no keys: see
    `look_up`.

    Args:
        extra: catalogue files of the user. The lock of ``my.toml`` is ``my.lock.toml`` beside it.

    Raises:
        CatalogueError: a file cannot be read, is malformed, or contradicts its lock.
    """
    return _merged(built_in(), _of_users(extra))


def _merged(
    ours: Mapping[str, CatalogueEntry], theirs: Mapping[Path, Mapping[str, CatalogueEntry]]
) -> dict[str, CatalogueEntry]:
    """Built-in entries, and those of the user's files."""
    entries = dict(ours)
    for path, own in theirs.items():
        for name, entry in own.items():
            _refuse_case_twin(name, entries, path)
            if name in ours:
                _warn_of_redefinition(name, path)
            entries[name] = entry
    return entries


def by_lock(extra: Sequence[Path] = ()) -> Mapping[Path, Mapping[str, CatalogueEntry]]:
    """The entries of each catalogue file of the user, by the file's lock; those of the built-in
    catalogue, which has one lock, where the user has no file. Entries that a later file replaces
    are left out.

    Args:
        extra: as for `load_entries`.

    Raises:
        CatalogueError: as `load_entries` does.
    """
    from detrex_hub.catalogue.lock import lock_path

    entries = load_entries(extra)
    files = {lock_path(path): own for path, own in _of_users(extra).items()}
    return {
        lock: {name: one for name, one in theirs.items() if entries[name] == one}
        for lock, theirs in (files or {BUILT_IN_LOCK: built_in()}).items()
    }


def _files_of_user(extra: Sequence[Path]) -> list[Path]:
    named = os.environ.get(CATALOGUE_VARIABLE, "").split(os.pathsep)
    return [Path(name).expanduser() for name in named if name] + [Path(path) for path in extra]


def variable_for(name: str, extra: Sequence[Path]) -> str | None:
    """The environment variable by which a process finds a name in these files, as an assignment
    for a shell. None if it finds the same entry without them.

    Args:
        name: a name or an alias.
        extra: as for `load_entries`.

    Raises:
        CatalogueError: as `load_entries` does.
    """
    if look_up(name, extra) == look_up(name):
        return None
    files = os.pathsep.join(str(path.absolute()) for path in _files_of_user(extra))
    return f"{CATALOGUE_VARIABLE}={shlex.quote(files)}"


@cache
def _warn_of_redefinition(name: str, path: Path) -> None:
    """Warn that a file of the user replaces a built-in entry, once in a process."""
    log(f"{path} redefines {name}: its sources and its pins apply", logging.WARNING)


def list_weights(
    text: str | None = None,
    *,
    arch: str | None = None,
    backbone: str | None = None,
    license: str | None = None,
    min_ap: float | None = None,
    extra_catalogues: Sequence[Path] = (),
) -> list[CatalogueEntry]:
    """List the weights that are known by name. Without arguments, list all of them.

    Args:
        text: words, each part of a name, an alias, the title or the architecture.
        arch: the architecture, such as ``dino``.
        backbone: the backbone or the beginning of its name: ``swin``, ``swin-l``, ``r50``.
        license: the identifier of a licence, such as ``apache-2.0``.
        min_ap: the least box AP on COCO, in 0..100.
        extra_catalogues: catalogue files in addition to the built-in ones.

    Raises:
        UsageError: there is no such architecture; the message names the nearest ones.
        CatalogueError: a file cannot be read or is malformed.

    Example:
        >>> from detrex_hub import list_weights
        >>> [entry.name for entry in list_weights(arch="swin", backbone="swin-s")][0]
        'swin_small_patch4_window7_224'
    """
    from detrex_hub.catalogue.selection import Selection

    wanted = Selection(text=text, arch=arch, backbone=backbone, license=license, min_ap=min_ap)
    return wanted.of([*load_entries(extra_catalogues).values()])


def look_up(name: str, extra: Sequence[Path] = ()) -> CatalogueEntry | None:
    """The entry of that name or alias, None where there is none. A name wins over an alias, and a
    later file's alias over an earlier one's.

    Of the built-in files, only those are read that mention the name, or one that the user's files
    may redefine.

    Raises:
        CatalogueError: a catalogue file is malformed.
    """
    theirs = _of_users(extra)
    entries = _merged(_mentioning([name, *chain(*theirs.values())]), theirs)
    if name in entries:
        return entries[name]
    return next((one for one in reversed([*entries.values()]) if name in one.aliases), None)


def find_entry(name: str, extra: Sequence[Path] = ()) -> CatalogueEntry:
    """The entry of that name or alias.

    Raises:
        UsageError: there is none; the message names those that come nearest.
        CatalogueError: a catalogue file is malformed.
    """
    entry = look_up(name, extra)
    if entry is not None:
        return entry
    refuse_special(name)
    with suppress(OSError):
        if name and (path := Path(name)).exists():
            kind = "folder" if path.is_dir() else "file"
            raise UsageError(
                f"{name} is a {kind}, and not a name in the catalogue",
                hint=f"See what it is: detrex-hub inspect {shlex.quote(name)}",
            )
    known = (known for one in load_entries(extra).values() for known in (one.name, *one.aliases))
    raise UsageError(
        f"there are no weights named {name[:80]!r} in the catalogue",
        hint=did_you_mean(name, known, "See all names: detrex-hub list"),
    )


def of_file(
    path: Path, sha256: Callable[[], str], extra: Sequence[Path] = ()
) -> tuple[CatalogueEntry, ...]:
    """The entries that a file is the original of, by its content: several where one original is
    converted for several models.

    Args:
        path: the file. Its name and its size alone decide nothing: they say whether it is worth
            while to hash it.
        sha256: hashes it.
        extra: as for `load_entries`.
    """
    size = path.stat().st_size
    pinned = [
        (entry, source.sha256 or source.sha256_prefix or "")
        for entry in load_entries(extra).values()
        for source in entry.sources
        if source.size == size or file_name_of(source.url) == path.name
    ]
    if not any(digest for _, digest in pinned):
        return ()
    found = sha256()
    return tuple(
        {e.name: e for e, digest in pinned if digest and found.startswith(digest)}.values()
    )


def of_name(path: Path, extra: Sequence[Path] = ()) -> tuple[CatalogueEntry, ...]:
    """The entries with an original that has the name of a file, which may be another file."""
    return tuple(
        entry
        for entry in load_entries(extra).values()
        if any(file_name_of(source.url) == path.name for source in entry.sources)
    )


def is_built_in(entry: CatalogueEntry) -> bool:
    """Whether an entry is one of the built-in catalogue, and not one that replaces it."""
    return built_in().get(entry.name) == entry


@cache
def built_in() -> Mapping[str, CatalogueEntry]:
    """The entries of the built-in catalogue by name."""
    return _joined(_built_in_files())


def _mentioning(names: Iterable[str]) -> Mapping[str, CatalogueEntry]:
    """The entries of the built-in files that mention one of these names, whatever its case. Another
    file has no entry and no alias of that name."""
    wanted = [name.lower() for name in names]
    texts = {path: path.read_text(encoding="utf-8").lower() for path in _built_in_files()}
    return _joined(path for path, text in texts.items() if any(name in text for name in wanted))


def _joined(files: Iterable[Path]) -> Mapping[str, CatalogueEntry]:
    entries: dict[str, CatalogueEntry] = {}
    for path in files:
        for name, entry in _of_built_in_file(path).items():
            if name in entries:
                raise CatalogueError(f"{path}: [weights.{name}] is also in {entries[name].family}")
            _refuse_case_twin(name, entries, path)
            entries[name] = entry
    return entries


def _built_in_files() -> list[Path]:
    folder = Path(__file__).parent
    return sorted(path for path in folder.glob("*.toml") if path != BUILT_IN_LOCK)


@cache
def _of_built_in_file(path: Path) -> Mapping[str, CatalogueEntry]:
    """The entries of a built-in file."""
    # a conversion of a file asks for no entry
    from detrex_hub.catalogue.loader import read_catalogue

    return read_catalogue(path, _built_in_lock())


@cache
def _built_in_lock() -> Lock:
    from detrex_hub.catalogue.lock import read_lock

    return read_lock(BUILT_IN_LOCK)


def _of_users(extra: Sequence[Path]) -> Mapping[Path, Mapping[str, CatalogueEntry]]:
    """The entries of the user's files, by file."""
    return {path: _of_user(path) for path in _files_of_user(extra)}


def _of_user(path: Path) -> Mapping[str, CatalogueEntry]:
    """The entries of a file of the user."""
    from detrex_hub.catalogue.lock import lock_path
    from detrex_hub.catalogue.tables import content_sha256

    return _of_contents(path, content_sha256(path), content_sha256(lock_path(path)))


# a batch looks up each of its names several times
@lru_cache(maxsize=8)
def _of_contents(path: Path, *digests: str | None) -> Mapping[str, CatalogueEntry]:
    """The entries of a file of the user, which are read again if it or its lock has changed.

    Args:
        path: the file.
        digests: those of the file and of its lock, which only tell whether they have changed.
    """
    from detrex_hub.catalogue.loader import read_catalogue
    from detrex_hub.catalogue.lock import lock_path, read_lock
    from detrex_hub.catalogue.models import check_entry

    entries = read_catalogue(path, read_lock(lock_path(path)))
    for entry in entries.values():
        check_entry(entry, where=f"{path}: [weights.{entry.name}]")
    return entries


def _refuse_case_twin(name: str, entries: Mapping[str, CatalogueEntry], path: Path) -> None:
    """Names become folders, and many file systems ignore case."""
    if name in entries:
        return
    for other in entries:
        if other.lower() == name.lower():
            raise CatalogueError(
                f"{path}: [weights.{name}] differs from {other} of {entries[other].family}.toml "
                "only in case",
                hint="Use another name, or the same name to replace it",
            )
