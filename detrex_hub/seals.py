"""A seal beside a file says what the file was when it was written. A later look compares the two.

A look costs milliseconds, whatever the size of the file: it compares what the file system says of
the file, and a few blocks of its content. The file is hashed whole where anything differs, and on
demand. Nothing that another user of the machine could have written counts, be it file or seal.

A look without the whole digest cannot see bytes that changed outside the sampled blocks while size,
owner, mode, inode and both times stayed. No program that writes to the file achieves that, since
the system itself sets the time of change; a failing disk does, and so does its administrator.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from detrex_hub.own_files import is_ours, opened, read_small, replace_text

# blocks of a look, spread evenly from the first byte to the last, and their size in bytes
_BLOCKS = 17
_BLOCK = 128 << 10
_PIECE = 1 << 20
_LARGEST_SEAL = 4096


def seal(path: Path, subject: str, sha256: str) -> None:
    """Write the seal of a file that has its final name.

    Args:
        path: the file.
        subject: what it was made for; a seal for anything else does not fit.
        sha256: the digest of its bytes, in hexadecimal digits.

    Raises:
        OSError: the file cannot be read, or the seal cannot be written.
    """
    with opened(path) as handle:
        _write(path, {**_look(handle, subject), "sha256": sha256})


def problem(path: Path, subject: str, *, whole: bool = False) -> str | None:
    """Why a file must not be used; None where it is the one that was sealed.

    Args:
        path: the file.
        subject: what it was made for.
        whole: hash all of it, whatever the file system says.

    Returns:
        the second half of a sentence whose subject is the file.
    """
    try:
        with opened(path) as handle:
            if not is_ours(os.fstat(handle)):
                return "belongs to another user, or others may write to it"
            sealed = _read(path)
            if sealed is None or sealed.get("subject") != subject:
                return "has no seal"
            found = {**_look(handle, subject), "sha256": sealed["sha256"]}
            if found == sealed and not whole:
                return None
            if _sha256(handle) != sealed["sha256"]:
                return "is not what was written there"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if found != sealed:
        # a copy, for example; in a cache that takes no seal it is read whole each time
        with suppress(OSError):
            _write(path, found)
    return None


def _look(handle: int, subject: str) -> dict[str, Any]:
    """The state of an open file."""
    state = os.fstat(handle)
    last = max(state.st_size - _BLOCK, 0)
    sample = hashlib.sha256()
    for place in sorted({last * i // (_BLOCKS - 1) for i in range(_BLOCKS)}):
        os.lseek(handle, place, os.SEEK_SET)
        sample.update(os.read(handle, _BLOCK))
    return {
        "subject": subject,
        "size": state.st_size,
        "owner": state.st_uid,
        "mode": state.st_mode,
        "modified": state.st_mtime_ns,
        "changed": state.st_ctime_ns,
        "inode": state.st_ino,
        "sample": sample.hexdigest(),
    }


def _sha256(handle: int) -> str:
    digest = hashlib.sha256()
    os.lseek(handle, 0, os.SEEK_SET)
    while piece := os.read(handle, _PIECE):
        digest.update(piece)
    return digest.hexdigest()


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.seal")


def _write(path: Path, found: dict[str, Any]) -> None:
    replace_text(_beside(path), json.dumps(found, indent=2) + "\n")


def _read(path: Path) -> dict[str, Any] | None:
    """A file's seal, None where it has none that only this user or root could have written."""
    try:
        found = json.loads(read_small(_beside(path), _LARGEST_SEAL, ours=True))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("sha256"), str) else None
