"""Push a converted folder: check it, choose the target, and read it back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from detrex_hub import card
from detrex_hub.errors import HubError, UsageError, what_is
from detrex_hub.repositories import names, payload
from detrex_hub.repositories.push_options import PushOptions
from detrex_hub.repositories.result import PushResult

if TYPE_CHECKING:
    from detrex_hub.progress import Progress

# the default namespace of repositories in a folder
FOLDER_NAMESPACE = "detrex"


def push_folder(
    folder: str | os.PathLike[str],
    repo_id: str | None,
    options: PushOptions,
    *,
    extra_catalogues: Sequence[Path] = (),
    progress: Progress | None = None,
) -> PushResult:
    """Push a converted folder. See `detrex_hub.push` for arguments, result and errors."""
    check_place(options)
    whole = payload.read(Path(folder))
    if options.license is not None:
        whole = whole.licensed(options.license)
    whole.check_license(extra_catalogues)
    said = card.license_of(whole.card())
    name = repo_id or whole.folder.resolve().name
    if options.to is not None:
        from detrex_hub.repositories.folders import push_to_folder

        target = repo_id_of(name, options.namespace) or names.repo_id(f"{FOLDER_NAMESPACE}/{name}")
        done = push_to_folder(whole.addressed_to(target), options.to.expanduser(), target, options)
        return replace(done, license=said, assumed=dict(whole.record.assumed))
    if whole.config.synthetic and not options.allow_synthetic:
        raise HubError(
            f"{folder} contains seeded numbers instead of weights (--synthetic), which should not "
            "be on the Hub",
            hint="Push it into a folder with --to DIR, or pass --allow-synthetic",
        )
    if said is None:
        raise HubError(
            f"no licence is stated for the weights in {folder}",
            hint="Ask their authors, then state it: --license apache-2.0",
        )
    from detrex_hub.repositories.client import logged_in_user
    from detrex_hub.repositories.upload import push_to_hub

    target = repo_id_of(name, options.namespace) or names.repo_id(f"{logged_in_user()}/{name}")
    done = push_to_hub(
        whole,
        target,
        options,
        message=f"Upload {whole.config.architecture} weights converted by detrex-hub",
        progress=progress,
    )
    return replace(done, license=said, assumed=dict(whole.record.assumed))


def check_place(options: PushOptions) -> None:
    """Refuse options that do not fit the target of the push.

    Raises:
        UsageError: an option needs the Hub, the slug of the collection is malformed, or the place
            is a pipe, a socket or a device.
    """
    if options.to is not None and (kind := what_is(options.to)) is not None:
        raise UsageError(f"{options.to} is {kind}, not a folder", hint="Name a folder with --to")
    if options.to is not None and (options.private or options.create_pr or options.collection):
        raise UsageError(
            "--private, --create-pr and --collection need a repository, not a folder",
            hint="Leave them out",
        )
    if options.collection is not None:
        from detrex_hub.repositories.collections import check_slug

        check_slug(options.collection)


def repo_id_of(name: str, namespace: str | None) -> str | None:
    """``owner/name``, or None if the owner is unknown."""
    owner, slash, rest = name.partition("/")
    if slash:
        if namespace is not None and namespace != owner:
            raise UsageError(f"{name} and the namespace {namespace} contradict each other")
        return names.repo_id(f"{owner}/{rest}")
    owner = namespace or os.environ.get("DETREX_HUB_NAMESPACE") or ""
    return names.repo_id(f"{owner}/{name}") if owner else None
