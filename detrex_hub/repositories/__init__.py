"""Push converted folders to the Hub or into a folder with its layout, and fetch from both."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from detrex_hub.repositories.fetching import fetch
from detrex_hub.repositories.push_options import PushOptions
from detrex_hub.repositories.pushing import push_folder
from detrex_hub.repositories.repository import Repository
from detrex_hub.repositories.result import Fetched, PushResult

if TYPE_CHECKING:
    from detrex_hub.progress import Progress

__all__ = ["Fetched", "PushOptions", "PushResult", "Repository", "fetch", "push", "push_folder"]


def push(
    folder: str | os.PathLike[str],
    repo_id: str | None = None,
    *,
    namespace: str | None = None,
    to: str | os.PathLike[str] | None = None,
    private: bool = False,
    create_pr: bool = False,
    dry_run: bool = False,
    message: str | None = None,
    allow_synthetic: bool = False,
    license: str | None = None,
    collection: str | None = None,
    sign_key: str | os.PathLike[str] | None = None,
    extra_catalogues: Sequence[Path] = (),
    progress: Progress | None = None,
) -> PushResult:
    """Push a converted folder as one commit, then read it back and compare every sha256.

    Nothing is done if the repository already holds the same content. Only the weights,
    ``config.json``, ``conversion.json``, ``README.md``, its pictures and a ``model.sig`` over these
    files are pushed. Other files in the folder are ignored.

    Args:
        folder: what `convert` made.
        repo_id: ``owner/name`` or ``name``; the folder's own name if not given.
        namespace: the owner, if ``repo_id`` has none; else ``DETREX_HUB_NAMESPACE``, else the
            logged-in user, or ``detrex`` in a folder.
        to: a folder to push into instead of the Hub, as ``to/owner/name/``.
        private: make a new repository private.
        create_pr: open a pull request instead of committing to the main branch.
        dry_run: check everything and change nothing.
        message: the commit's title.
        allow_synthetic: let a conversion of seeded numbers go to the Hub.
        license: the licence of the weights, an identifier of the Hub, if the card states none;
            without a licence nothing is pushed to the Hub.
        collection: the slug of a collection that lists the repository, ``owner/words``. It is
            created if there is none.
        sign_key: a private elliptic-curve key as PEM, with which the files are signed.
        extra_catalogues: catalogue files in addition to the built-in ones, which may know the
            licence of
            the original.
        progress: reports uploads.

    Raises:
        HubError: the folder is incomplete, or the Hub refuses; the message says what to do.
        VerificationError: the weights are not those that ``config.json`` describes, or they read
            back differently.
        UsageError: the arguments contradict each other.

    Example:
        >>> from detrex_hub import push
        >>> push("./r101_v2", "alice/r101_v2", private=True).url
        'https://huggingface.co/alice/r101_v2'
    """
    options = PushOptions(
        namespace=namespace,
        to=None if to is None else Path(to),
        private=private,
        create_pr=create_pr,
        dry_run=dry_run,
        message=message,
        allow_synthetic=allow_synthetic,
        license=license,
        collection=collection,
        sign_key=None if sign_key is None else Path(sign_key),
    )
    return push_folder(
        folder, repo_id, options, extra_catalogues=extra_catalogues, progress=progress
    )
