"""Fetch from the Hub through huggingface_hub's cache, and verify the files.

huggingface_hub does not compare a download with its digest. Here every file is compared once: a
mark in the assets cache records a verified file, with its size and time of change. `large_files`
downloads large files and marks them; huggingface_hub then finds them in its cache.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from detrex_hub.errors import HubError
from detrex_hub.progress import Progress
from detrex_hub.records import MAX_BYTES
from detrex_hub.repositories import hub_cache, names
from detrex_hub.repositories.answers import about
from detrex_hub.repositories.client import LIBRARY, hub_api, set_limits
from detrex_hub.repositories.hub_cache import Mark
from detrex_hub.repositories.large_files import bring
from detrex_hub.repositories.payload import digest
from detrex_hub.repositories.refusals import damaged, plainly
from detrex_hub.repositories.result import Fetched
from detrex_hub.retrying import patiently

# in other projects' repositories: the index of shards, and descriptions of the weights
_LARGEST_INDEX = 16 * 2**20
_LARGEST_DOCUMENT = 2**20


def fetch_from_hub(
    repo_id: str,
    files: Sequence[str],
    optional: Sequence[str],
    revision: str | None,
    progress: Progress | None,
) -> Fetched:
    """See `detrex_hub.repositories.fetch`."""
    found = {}
    for name in files:
        found[name] = _fetch(repo_id, name, revision, progress)
        # all further files come from the commit of the first one
        folder = _snapshot(found[name], name)
        revision = folder.name
    for name in optional:
        path = _fetch_if_there(repo_id, name, revision, progress)
        if path is not None:
            found[name] = path
    return Fetched(folder, revision, found)


def _snapshot(path: Path, name: str) -> Path:
    """The folder of the commit that a cached file belongs to: ``.../snapshots/<commit>``.

    Raises:
        HubError: the cache names an invalid commit.
    """
    folder = path.parents[name.count("/")]
    if not names.is_commit(folder.name):
        raise HubError(
            f"{path} belongs to no commit", hint=f"Remove {folder.parent.parent} from the cache"
        )
    return folder


def _fetch_if_there(
    repo_id: str, name: str, revision: str | None, progress: Progress | None
) -> Path | None:
    from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    if try_to_load_from_cache(repo_id, name, revision=revision) is _CACHED_NO_EXIST:
        return None
    try:
        return _fetch(repo_id, name, revision, progress)
    except HubError as error:
        cause = error.__cause__
        if isinstance(cause, EntryNotFoundError) and not isinstance(cause, LocalEntryNotFoundError):
            return None
        raise


def is_checked(repo_id: str, name: str, commit: str) -> bool:
    """Whether the cache holds a verified file of a commit."""
    path = hub_cache.path(repo_id, name, commit)
    return path is not None and Mark(path).is_there()


def _cached(repo_id: str, name: str, revision: str | None) -> Path | None:
    """A verified file in the cache that cannot change on the Hub."""
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE and not names.is_commit(revision or "main"):
        return None
    path = hub_cache.path(repo_id, name, revision)
    return path if path is not None and Mark(path).is_there() else None


def _fetch(repo_id: str, name: str, revision: str | None, progress: Progress | None) -> Path:
    if (cached := _cached(repo_id, name, revision)) is not None:
        return cached
    path = _download(repo_id, name, revision, progress)
    mark = Mark(path)
    if mark.is_there():
        return path
    with mark.locked():
        commit = _snapshot(path, name).name
        for last in (False, True):
            if mark.is_there():
                return path
            expected = _hub_digest(path, repo_id, name, commit)
            if expected is None:
                # the digest is unknown now; not recorded, so that the next call requests it again
                return path
            if digest(path).matches(expected):
                mark.leave()
                return path
            # Remove a wrong file at once, so that no later step can return it.
            hub_cache.remove(path, repo_id)
            if not last:
                path = _download(repo_id, name, commit, progress)
    raise damaged(repo_id, name)


def _download(repo_id: str, name: str, revision: str | None, progress: Progress | None) -> Path:
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    # If the host has no address, there is no network. The client would try for half a minute
    # before it reads the cache.
    only_cached = not _has_address(constants.ENDPOINT)

    def download(only_cached: bool = only_cached) -> Path:
        set_limits()
        return Path(
            hf_hub_download(
                repo_id, name, revision=revision, local_files_only=only_cached, **LIBRARY
            )
        )

    with (
        plainly(repo_id, writing=False, file=name, revision=revision),
        about(f"{repo_id}/{name}", _limit(name)),
    ):
        set_limits()
        try:
            if not only_cached and not constants.HF_HUB_OFFLINE:
                bring(repo_id, name, revision, progress)
            return patiently(download)
        except httpx.TransportError as error:
            # after a broken connection the client does not read its cache
            try:
                return download(only_cached=True)
            except LocalEntryNotFoundError:
                raise error from None


def _limit(name: str) -> int | None:
    """The largest size of a file in bytes; None for weights, which have no limit."""
    if name in MAX_BYTES or not name.endswith(".json"):
        return MAX_BYTES.get(name)
    return _LARGEST_INDEX if name.endswith(".index.json") else _LARGEST_DOCUMENT


def _has_address(url: str) -> bool:
    from urllib.request import getproxies

    if getproxies():
        return True  # the proxy resolves it
    try:
        socket.getaddrinfo(urlsplit(url).hostname, None)
    except OSError:
        return False
    return True


def _hub_digest(path: Path, repo_id: str, name: str, commit: str) -> str | None:
    """The digest by which the Hub knows a file: a sha256, or git's id for small files.

    The cache names contents by it. If links do not work, or another server's etags are not
    digests, it is requested from the Hub; None if that fails.
    """
    if path.is_symlink():
        named = path.readlink().name
        if len(named) in (40, 64) and set(named) <= set("0123456789abcdef"):
            return named
    from huggingface_hub.hf_api import RepoFile

    def ask() -> list[Any]:
        return hub_api().get_paths_info(repo_id, name, revision=commit)

    with suppress(HubError), plainly(repo_id, writing=False, file=name, revision=commit):
        for entry in patiently(ask):
            if isinstance(entry, RepoFile):
                return entry.lfs.sha256 if entry.lfs else entry.blob_id
    return None
