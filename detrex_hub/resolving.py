"""From a name to a repository.

A name of the catalogue works whether it is published or not. It is searched under
``DETREX_HUB_ROOT``, in the cache and on the Hub. If it is not found, its original is converted on
this machine. Any other repository is a folder, or is on the Hub.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from detrex_hub import card, catalogue, local_conversions
from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.errors import (
    DetrexHubError,
    HubError,
    MissingRepositoryError,
    UnreachableHubError,
    UsageError,
    VerificationError,
)
from detrex_hub.messages import log
from detrex_hub.originals.availability import available
from detrex_hub.progress import Progress
from detrex_hub.records import CONFIG, convert_again
from detrex_hub.repositories import Repository, folders, hub_cache, names
from detrex_hub.repositories.hub_download import is_checked

CONVERT_VARIABLE = "DETREX_HUB_CONVERT"
KEEP_VARIABLE = "DETREX_HUB_KEEP_ORIGINALS"


def default_namespace() -> str:
    """The owner of the catalogue's names on the Hub."""
    return os.environ.get("DETREX_HUB_NAMESPACE") or "detrex"


def resolve(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    convert: bool | None = None,
    keep_original: bool | None = None,
    extra_catalogues: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Repository:
    """Open the repository that a name means.

    Args:
        name: a name of the catalogue or ``owner/name``, each with ``@revision`` if wanted, or the
            path of a folder. ``hf://`` may stand before it.
        revision: branch, tag or commit. With one, a name is only searched on the Hub, because a
            conversion has none.
        convert: whether an unpublished name is converted on this machine; by default unless
            ``DETREX_HUB_CONVERT`` is 0.
        keep_original: whether the original stays in the cache after a conversion; by default only
            if ``DETREX_HUB_KEEP_ORIGINALS`` is 1.
        extra_catalogues: catalogue files in addition to the built-in ones.
        progress: reports downloads and copying.

    Raises:
        UsageError: the name is malformed, or unknown; the nearest names are shown.
        HubError: the repository is damaged, gated or refused, or does not exist.
        SourceError: the original could not be downloaded.
        VerificationError: the weights differ from those of this name in the catalogue's lock.

    Example:
        >>> resolve("r101_v2").config.architecture
        'resnet'
    """
    text = os.fspath(name).removeprefix("hf://")
    entry = _entry(text, extra_catalogues)
    if entry is None:
        return Repository.open(text, revision)
    wanted = names.split(text, revision)[1]
    repo_id = names.repo_id(f"{default_namespace()}/{entry.name}")
    found = Repository.open(repo_id, wanted) if wanted else _look_up(entry, repo_id)
    if found is None:
        allowed = _converts() if convert is None else convert
        keep = os.environ.get(KEEP_VARIABLE) == "1" if keep_original is None else keep_original
        try:
            found = Repository.open(repo_id)
        except (MissingRepositoryError, UnreachableHubError) as error:
            if not allowed:
                raise _not_converted(error) from None
            found = _convert(entry, repo_id, error, keep, extra_catalogues, progress)
    found.name = text
    _check_lock(entry, found)
    return found


def exists(name: str) -> bool:
    """Whether `resolve` would open a repository of this name. Nothing is converted: an unpublished
    name exists if one of its sources answers and conversions are allowed.

    Args:
        name: as for `resolve`.
    """
    try:
        try:
            resolve(name, convert=False)
        except (MissingRepositoryError, UnreachableHubError):
            text = name.removeprefix("hf://")
            entry = _entry(text, ())
            if entry is None or names.split(text)[1] is not None or not _converts():
                return False
            available(entry)
    except DetrexHubError:
        return False
    return True


def card_of(name: str, *, repo_id: str | None = None, extra_catalogues: Sequence[Path] = ()) -> str:
    """The card of a name of the catalogue or of a converted folder. If this machine has not
    converted the name, the card has the data that is known before a conversion.

    Args:
        name: as for `resolve`; nothing is downloaded.
        repo_id: the repository that the card's commands name.
        extra_catalogues: catalogue files in addition to the built-in ones.

    Raises:
        UsageError: the name is unknown.
        ConfigError: a record of the folder is absent or malformed.
    """
    text = name.removeprefix("hf://")
    entry = None if Path(text).is_dir() and "/" in text else _entry(text, extra_catalogues)
    if entry is None:
        folder = folders.find(text, None) or Path(text)
        return card.render_folder(folder, catalogue.load_entries(extra_catalogues), repo_id=repo_id)
    made = local_conversions.find(entry)
    if made is None:
        return card.render_for(entry, repo_id=repo_id)
    return card.render_folder(made, {entry.name: entry}, repo_id=repo_id)


def folder_of(
    name: str, *, extra_catalogues: Sequence[Path] = (), progress: Progress | None = None
) -> Path:
    """The folder of a name, for a push. If there is none yet, the name is converted here.

    Args:
        name: a folder, or as for `resolve`.
        extra_catalogues: catalogue files in addition to the built-in ones.
        progress: reports downloads and copying.

    Raises:
        UsageError: the name means a repository on the Hub.
        DetrexHubError: as `resolve` does.
    """
    if folders.is_path(name) or Path(name).is_dir():
        return Path(name)
    found = resolve(name, extra_catalogues=extra_catalogues, progress=progress)
    if found.commit is not None:
        raise UsageError(
            f"{found.address} is on the Hub already",
            hint=f"To push it elsewhere, make a folder first. {_again(found)}",
        )
    return found.folder


def _again(repository: Repository) -> str:
    record = None
    with suppress(DetrexHubError):
        record = repository.record
    return convert_again(repository.address, record)


def _converts() -> bool:
    """Whether this machine may convert an unpublished name."""
    return os.environ.get(CONVERT_VARIABLE) != "0"


def _entry(text: str, extra: Sequence[Path]) -> CatalogueEntry | None:
    """The catalogue's entry of a name; None for a folder and for the names of other owners."""
    if folders.is_path(text):
        return None
    bare = text.partition("@")[0]
    if "/" in bare:
        # no name of the catalogue has a slash, so that names of other owners are not in it
        return catalogue.look_up(bare.removeprefix(f"{default_namespace()}/"), extra)
    if (Path(bare) / CONFIG).is_file():
        return catalogue.look_up(bare, extra)
    return catalogue.find_entry(bare, extra)


def _look_up(entry: CatalogueEntry, repo_id: str) -> Repository | None:
    """Search this machine for a folder, a conversion or a cached repository."""
    folder = folders.find(repo_id, None)
    if folder is not None:
        return Repository.open(repo_id)
    converted = local_conversions.find(entry)
    if converted is not None:
        return Repository.open(converted)
    commit = hub_cache.commit(repo_id)
    if commit is None or not is_checked(repo_id, CONFIG, commit):
        return None
    cached = Repository.open(repo_id, commit)
    return cached if is_checked(repo_id, cached.config.checkpoint.file, commit) else None


def _convert(
    entry: CatalogueEntry,
    repo_id: str,
    why: HubError,
    keep: bool,
    extra: Sequence[Path],
    progress: Progress | None,
) -> Repository:
    try:
        path, url = local_conversions.make(
            entry, repo_id, extra_catalogues=extra, keep_original=keep, progress=progress
        )
    except DetrexHubError as error:
        raise type(error)(
            f"{repo_id} {_reason(why)}, and it cannot be converted here: {error.message}",
            hint=error.hint,
        ) from None
    if url:
        log(f"{repo_id} {_reason(why)}: converted on this machine from {url}")
    found = Repository.open(path)
    # without an address, another process has converted it in the meantime
    found.proven = bool(url)
    return found


def _reason(why: HubError) -> str:
    if isinstance(why, MissingRepositoryError):
        return "is not published (not found, or private)"
    return "could not be looked up on the Hub"


def _not_converted(error: HubError) -> HubError:
    hint = (
        f"To convert it on this machine, leave out --no-convert and unset {CONVERT_VARIABLE}. "
        "Such a conversion has no signature"
    )
    return type(error)(error.message, hint=hint)


def _check_lock(entry: CatalogueEntry, found: Repository) -> None:
    """Refuse weights that differ from the catalogue's lock. The publisher does not matter.

    Seeded numbers in a folder are the user's own, and are clearly marked.
    """
    if entry.result is None or (found.config.synthetic and found.commit is None):
        return
    sha256 = found.config.checkpoint.sha256
    if sha256 != entry.result.sha256:
        raise VerificationError(
            f"{found.name}: the weights have the sha256 {sha256}, but the catalogue's lock pins "
            f"{entry.name} to {entry.result.sha256}",
            hint=f"Do not use them. Convert the original: detrex-hub convert {entry.name}",
        )
