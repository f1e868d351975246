"""Fetch files of a repository, from a folder or from the Hub."""

from __future__ import annotations

import os
from collections.abc import Sequence

from detrex_hub.errors import UsageError
from detrex_hub.progress import Progress
from detrex_hub.repositories import folders, names
from detrex_hub.repositories.result import Fetched


def fetch(
    repo: str | os.PathLike[str],
    filenames: Sequence[str],
    *,
    revision: str | None = None,
    optional: Sequence[str] = (),
    progress: Progress | None = None,
) -> Fetched:
    """Files of a repository, all of one commit, each compared with its digest when it arrived.

    Cached files are used without the network if the revision is a commit, if the Hub cannot be
    reached, or if ``HF_HUB_OFFLINE`` is set.

    Args:
        repo: ``owner/name`` or ``owner/name@revision`` under ``DETREX_HUB_ROOT`` or on the Hub, or
            the path of a folder.
        filenames: at least one; all must exist.
        revision: branch, tag or commit.
        optional: files that may be missing.
        progress: reports the download of large files; huggingface_hub's own bar by default.

    Raises:
        HubError: the repository, a file or the network is missing; the message says what to do.
        VerificationError: a file arrived damaged twice.
        UsageError: a name is malformed.
    """
    if not filenames:
        raise UsageError("No file was asked for")
    for name in (*filenames, *optional):
        names.file_name(name)
    text = os.fspath(repo)
    folder = folders.find(text, revision)
    if folder is not None:
        return folders.fetch_from_folder(folder, filenames, optional)
    from detrex_hub.repositories.hub_download import fetch_from_hub

    repo_id, wanted = names.split(text, revision)
    return fetch_from_hub(repo_id, filenames, optional, wanted, progress)
