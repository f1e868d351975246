"""Read huggingface_hub's cache without its client, and mark verified files.

Importing the client takes longer than the rest of a load. The folders follow the documented layout:
``snapshots/<commit>/<file>`` of a repository are links to its ``blobs/<etag>``, and
``refs/<branch>`` holds the commit of a branch at its last request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from detrex_hub.locking import FileLock
from detrex_hub.own_files import read_small, replace_text
from detrex_hub.repositories import names

# the most bytes of a ref or a mark
_SMALL = 200


def repository(repo_id: str) -> Path:
    """The folder of a model repository, which may not exist."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / "--".join(("models", *repo_id.split("/")))


def commit(repo_id: str, revision: str | None = None) -> str | None:
    """The commit of a revision at its last request; None if it was never requested."""
    wanted = revision or "main"
    if names.is_commit(wanted):
        return wanted
    try:
        found = read_small(repository(repo_id) / "refs" / wanted, _SMALL).decode().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return found if names.is_commit(found) else None


def path(repo_id: str, name: str, revision: str | None) -> Path | None:
    """The path of a file in the cache, which may not exist; None if the commit is unknown."""
    meant = commit(repo_id, revision)
    return None if meant is None else repository(repo_id) / "snapshots" / meant / name


def remove(path: Path, repo_id: str) -> None:
    """Remove a file of a repository: its name in the snapshot, and its content. Another name may
    link to the same content. A link out of the repository was planted, and its target stays."""
    if path.is_symlink():
        blob = path.parent / path.readlink()
        if blob.parent.resolve() == (repository(repo_id) / "blobs").resolve():
            blob.unlink(missing_ok=True)
    path.unlink(missing_ok=True)


class Mark:
    """Records that a cached file was compared with its digest. A cache that cannot be written has
    no
    marks: its files are hashed every time, and so are files that another user marked."""

    def __init__(self, path: Path) -> None:
        from huggingface_hub import constants

        self._path = path
        # the file itself may be a link, and may not exist yet
        place = path.parent.resolve() / path.name
        key = hashlib.sha256(str(place).encode()).hexdigest()[:32]
        self._mark = Path(constants.HF_ASSETS_CACHE) / "detrex-hub" / "verified" / key

    def is_there(self) -> bool:
        try:
            return read_small(self._mark, _SMALL, ours=True).decode() == _state(self._path)
        except (OSError, UnicodeDecodeError):
            return False

    def leave(self, content: Path | None = None) -> None:
        """Mark the file. If it does not exist yet, it will be a link to ``content``."""
        with suppress(OSError):
            self._mark.parent.mkdir(parents=True, exist_ok=True)
            replace_text(self._mark, _state(content or self._path))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one of several processes hash a file while the others wait."""
        with ExitStack() as stack:
            # without locks or without marks, each process hashes for itself
            with suppress(NotImplementedError, OSError):
                self._mark.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(f"{self._mark}.lock"))
            yield


def _state(path: Path) -> str:
    state = path.stat()
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}"
