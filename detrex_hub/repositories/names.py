"""Names of repositories, revisions and files. They become parts of paths and addresses, so each is
checked before its first use."""

from __future__ import annotations

import re

from detrex_hub.errors import UsageError

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.\-]*[A-Za-z0-9_])?"
_REPO_ID = re.compile(rf"{_PART}/{_PART}")
_REVISION_PART = re.compile(r"[A-Za-z0-9_+\-][A-Za-z0-9_.+\-]*")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+\-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_repo_id(text: str) -> bool:
    """Whether this is a valid ``owner/name`` of the Hub."""
    return (
        _REPO_ID.fullmatch(text) is not None
        and len(text) <= 96
        and "--" not in text
        and ".." not in text
        and not text.endswith(".git")
    )


def repo_id(text: str) -> str:
    """``owner/name``.

    Raises:
        UsageError: it has another form.
    """
    if not is_repo_id(text):
        raise UsageError(
            f"{text[:120]!r} is not the name of a repository",
            hint="Write OWNER/NAME in letters, digits, '-', '_' and '.', or ./NAME for a folder",
        )
    return text


def revision(text: str) -> str:
    """A branch, a tag, a pull request's ref or a commit.

    Raises:
        UsageError: git would not allow it.
    """
    parts = text.split("/")
    if ".." in text or len(text) > 200 or not all(map(_REVISION_PART.fullmatch, parts)):
        raise UsageError(
            f"{text[:120]!r} is not a revision", hint="Give a branch, a tag or a commit"
        )
    return text


def is_commit(text: str) -> bool:
    """Whether a revision is a full commit hash, which always means the same files."""
    return _COMMIT.fullmatch(text) is not None


def file_name(text: str) -> str:
    """A file in a repository, its folders separated by ``/``.

    Raises:
        UsageError: it could be a path out of the repository.
    """
    if len(text) > 400 or not all(map(_FILE.fullmatch, text.split("/"))):
        raise UsageError(f"{text[:120]!r} is not the name of a file in a repository")
    return text


def split(text: str, given: str | None = None) -> tuple[str, str | None]:
    """Split ``owner/name@revision``.

    Args:
        text: a repository, with or without its revision.
        given: the revision, if it is given separately.

    Raises:
        UsageError: the revision is malformed, or two different ones are given.
    """
    name, at, inside = text.partition("@")
    if at and given is not None and inside != given:
        raise UsageError(f"{text[:120]} and the revision {given!r} contradict each other")
    wanted = inside if at else given
    return name, None if wanted is None else revision(wanted)
