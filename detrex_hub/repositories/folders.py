"""Repositories that are plain folders: ``DIR/<namespace>/<name>/`` with the files in it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from detrex_hub.errors import HubError, UsageError, VerificationError, refuse_special
from detrex_hub.folder_files import find_file
from detrex_hub.records import (
    CARD,
    CONFIG,
    CONVERSION,
    PICTURES,
    SIGNATURE,
    WEIGHTS,
    convert_again,
    read_bytes,
)
from detrex_hub.repositories import names
from detrex_hub.repositories.payload import Payload, digest, instead_of
from detrex_hub.repositories.push_options import PushOptions
from detrex_hub.repositories.result import Fetched, PushResult
from detrex_hub.staging import copy_file, publish_files, remove_abandoned, staging_folder

_OURS = frozenset({*WEIGHTS.values(), CONFIG, CONVERSION, CARD, SIGNATURE, *PICTURES})


def push_to_folder(payload: Payload, root: Path, repo_id: str, options: PushOptions) -> PushResult:
    """See `detrex_hub.push`."""
    target = root / repo_id
    if not target.parent.resolve().is_relative_to(root.resolve()):
        raise HubError(
            f"{target.parent} is a symbolic link to a place outside of {root}",
            hint="Move it away, or choose another folder",
        )
    there = _there(target)
    signature = read_bytes(target / SIGNATURE) if SIGNATURE in there else None
    payload = payload.signed(repo_id, options.sign_key, signature)
    changed = tuple(
        name
        for name, expected in payload.digests.items()
        if name not in there or digest(target / name) != expected
    )
    result = PushResult(
        repo_id=repo_id,
        url=str(target),
        commit=None,
        changed=changed,
        created=not target.exists(),
        dry_run=options.dry_run,
    )
    if changed:
        payload.refuse_to_unsign(there, str(target))
    namesakes = _namesakes(target)
    if namesakes:
        raise HubError(
            f"{target} and {namesakes[0]} differ only in case, and are one folder on many machines",
            hint="Choose another name or namespace",
        )
    strays = sorted(there - _OURS)
    if changed and strays:
        raise HubError(
            f"{target} contains other files, which replacing the folder would delete: "
            f"{', '.join(strays[:5])}",
            hint="Move them away, or choose another folder",
        )
    if options.dry_run:
        return result
    if not changed:
        remove_abandoned(target)
        return result
    with staging_folder(target, option="--to") as staging:
        for name, expected in payload.digests.items():
            copy = staging / name
            content = payload.contents[name]
            if isinstance(content, bytes):
                copy.write_bytes(content)
            else:
                copy_file(content, copy)
            if digest(copy) != expected:
                raise VerificationError(
                    f"{target / name} differs from what was written",
                    hint="Check the disk; nothing was changed there",
                )
        publish_files(staging, target)
    return result


def _namesakes(target: Path) -> list[Path]:
    """The existing folders whose names differ only in case."""
    return [
        other
        for path in (target.parent, target)
        if path.parent.is_dir()
        for other in path.parent.iterdir()
        if other.name != path.name and other.name.casefold() == path.name.casefold()
    ]


def _there(target: Path) -> set[str]:
    """The names in a folder that may be replaced."""
    if not target.exists() and not target.is_symlink():
        return set()
    if target.is_symlink() or not target.is_dir():
        raise HubError(
            f"{target} is a symbolic link or a file, so it is not replaced",
            hint="Move it away, or choose another folder",
        )
    return {path.name for path in target.iterdir()}


def find(repo: str, revision: str | None) -> Path | None:
    """The folder that a repository's name means, or None if it means a repository on the Hub.

    A path (``./x``, ``/x``, ``~/x``) is a folder. ``owner/name`` is searched under
    ``DETREX_HUB_ROOT`` first, then here. With a revision it is only searched on the Hub.

    Raises:
        HubError: there is no such folder.
        UsageError: the name is malformed, or a folder was given a revision.
    """
    if is_path(repo):
        folder = Path(repo).expanduser()
        if folder.is_file():
            again = f"Convert it: detrex-hub convert {shlex.quote(repo)}"
            raise HubError(f"{repo} is a file, not a folder", hint=again)
        if not folder.is_dir():
            refuse_special(folder)
            raise HubError(f"there is no folder {repo}", hint=instead_of(repo))
        if revision is not None:
            raise UsageError(f"{repo} is a folder, and folders have no revision {revision!r}")
        return folder
    name, revision = names.split(repo, revision)
    if revision is None:
        if names.is_repo_id(name) and (found := _under_root(name)) is not None:
            return found
        if (Path(name) / CONFIG).is_file():
            return Path(name)
    names.repo_id(name)
    return None


def is_path(repo: str) -> bool:
    """Whether a name can only mean a folder."""
    return (
        repo in (".", "..", "~")
        or repo.startswith(("./", "../", "~/", ".\\", "..\\", "~\\"))
        or Path(repo).is_absolute()
    )


def _under_root(repo_id: str) -> Path | None:
    root = os.environ.get("DETREX_HUB_ROOT")
    if not root:
        return None
    place = Path(root).expanduser()
    if not place.is_dir():
        where, do = "", "Create it"
        if not place.is_absolute():
            where, do = f" in {Path.cwd()}", "Write an absolute path"
        raise HubError(
            f"DETREX_HUB_ROOT={root} is not a folder{where}",
            hint=f"{do}, or do without it: unset DETREX_HUB_ROOT",
        )
    folder = place / repo_id
    return folder if folder.is_dir() else None


def fetch_from_folder(folder: Path, files: Sequence[str], optional: Sequence[str]) -> Fetched:
    """See `detrex_hub.repositories.fetch`."""
    found = {}
    for name in (*files, *optional):
        path = find_file(folder, name)
        if path is not None:
            found[name] = path
        elif name in files:
            raise HubError(f"{folder} has no {name}", hint=convert_again(folder))
    return Fetched(folder, None, found)
