"""huggingface_hub's cache, looked into without its client, and what of it was found right.

Importing the client takes longer than all the rest of a load. The folders are those of the
documented layout: ``snapshots/<commit>/<file>`` of a repository are links to its ``blobs/<etag>``,
and ``refs/<branch>`` holds the commit that a branch meant when it was last asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from detrex_hub.locking import FileLock
from detrex_hub.own_files import read_small, replace_text
from detrex_hub.repositories import names

# bytes of a ref, or of a mark
_SMALL = 200


def repository(repo_id: str) -> Path:
    """The folder of a repository of models, whether it is there or not."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / "--".join(("models", *repo_id.split("/")))


def commit(repo_id: str, revision: str | None = None) -> str | None:
    """The commit that a revision meant when the Hub was last asked; None if it never was."""
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
    """Remove a file of a repository: its name in the snapshot, and the content that the name leads
    to. Another name may lead to the same content. A link out of the repository was planted, and
    what it names stays."""
    if path.is_symlink():
        blob = path.parent / path.readlink()
        if blob.parent.resolve() == (repository(repo_id) / "blobs").resolve():
            blob.unlink(missing_ok=True)
    path.unlink(missing_ok=True)


class Mark:
    """Remembers that a cached file was compared with its digest. A cache that cannot be written to
    has no marks; its files are hashed every time, as are those that another user has marked."""

    def __init__(self, path: Path) -> None:
        from huggingface_hub import constants

        self._path = path
        # the file itself may be a link, and not there yet
        place = path.parent.resolve() / path.name
        key = hashlib.sha256(str(place).encode()).hexdigest()[:32]
        self._mark = Path(constants.HF_ASSETS_CACHE) / "detrex-hub" / "verified" / key

    def is_there(self) -> bool:
        try:
            return read_small(self._mark, _SMALL, ours=True).decode() == _state(self._path)
        except (OSError, UnicodeDecodeError):
            return False

    def leave(self, content: Path | None = None) -> None:
        """Mark the file, which will be a link to ``content`` where it is not there yet."""
        with suppress(OSError):
            self._mark.parent.mkdir(parents=True, exist_ok=True)
            replace_text(self._mark, _state(content or self._path))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one process of several hash a file while the others wait."""
        with ExitStack() as stack:
            # where there are no locks, or no mark can be left, each hashes for itself
            with suppress(NotImplementedError, OSError):
                self._mark.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(f"{self._mark}.lock"))
            yield


def _state(path: Path) -> str:
    state = path.stat()
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}"
