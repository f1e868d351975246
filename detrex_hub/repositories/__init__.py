"""Push converted folders to the Hub, or into a folder laid out like it, and fetch from both."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from detrex_hub import card
from detrex_hub.errors import HubError, UsageError
from detrex_hub.progress import Progress, Silent
from detrex_hub.repositories import names, payload
from detrex_hub.repositories.fetching import fetch
from detrex_hub.repositories.repository import Repository
from detrex_hub.repositories.result import Fetched, PushResult

__all__ = ["Fetched", "PushResult", "Repository", "fetch", "push"]

# where a repository in a folder lies if no namespace is given
_FOLDER_NAMESPACE = "detrex"


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
    progress: Progress | None = None,
) -> PushResult:
    """Push a converted folder as one commit, then read it back and compare every sha256.

    Nothing is done where the repository holds the same content already. Only the weights,
    ``config.json``, ``conversion.json`` and ``README.md`` are pushed, whatever else the folder
    holds.

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
        license: the licence of the weights, an identifier of the Hub, where the card says none;
            without one nothing goes to the Hub.
        progress: reports uploads.

    Raises:
        HubError: the folder is not whole, or the Hub refuses; the message says what to do.
        VerificationError: the weights are not those that ``config.json`` describes, or they read
            back differently.
        UsageError: the arguments contradict each other.

    Example:
        >>> from detrex_hub import push
        >>> push("./r101_v2", "alice/r101_v2", private=True).url
        'https://huggingface.co/alice/r101_v2'
    """
    whole = payload.read(Path(folder))
    if license is not None:
        whole = whole.licensed(license)
    whole.check_license()
    said = card.license_of(whole.card())
    name = repo_id or whole.folder.resolve().name
    if to is not None:
        from detrex_hub.repositories.folders import push_to_folder

        if private or create_pr:
            raise UsageError("A folder has no --private and no --create-pr", hint="Leave them out")
        target = _target(name, namespace) or names.repo_id(f"{_FOLDER_NAMESPACE}/{name}")
        there = Path(to).expanduser()
        done = push_to_folder(whole.addressed_to(target), there, target, dry_run=dry_run)
        return replace(done, license=said, assumed=dict(whole.record.assumed))
    if whole.config.synthetic and not allow_synthetic:
        raise HubError(
            f"{folder} holds seeded numbers instead of weights (--synthetic), which should not be "
            "on the Hub",
            hint="Push it into a folder with --to DIR, or pass --allow-synthetic",
        )
    if said is None:
        raise HubError(
            f"no licence is stated for the weights in {folder}",
            hint="Ask their authors, then state it: --license apache-2.0",
        )
    from detrex_hub.repositories.client import logged_in_user
    from detrex_hub.repositories.upload import push_to_hub

    target = _target(name, namespace) or names.repo_id(f"{logged_in_user()}/{name}")
    shown = progress or Silent()
    try:
        done = push_to_hub(
            whole,
            target,
            private=private,
            create_pr=create_pr,
            dry_run=dry_run,
            message=message
            or f"Upload {whole.config.architecture} weights converted by detrex-hub",
            progress=shown,
        )
    finally:
        shown.finish()
    return replace(done, license=said, assumed=dict(whole.record.assumed))


def _target(name: str, namespace: str | None) -> str | None:
    """``owner/name``, or None where nothing says who the owner is."""
    owner, slash, rest = name.partition("/")
    if slash:
        if namespace is not None and namespace != owner:
            raise UsageError(f"{name} and the namespace {namespace} contradict each other")
        return names.repo_id(f"{owner}/{rest}")
    owner = namespace or os.environ.get("DETREX_HUB_NAMESPACE") or ""
    return names.repo_id(f"{owner}/{name}") if owner else None
