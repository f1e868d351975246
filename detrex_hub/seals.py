"""A seal beside a file records the state of the file when it was written. Later checks compare
both.

A check takes milliseconds for files of any size: it compares the file system's metadata and a few
blocks of the content. If anything differs, and on request, the whole file is hashed. A file or seal
that another user of the machine could have written is never accepted.

Without the whole digest, a check cannot see bytes that changed outside the sampled blocks if size,
owner, mode, inode and both times are unchanged. A program that writes to the file cannot do this,
because the system sets the time of change. A failing disk or an administrator can.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from detrex_hub.own_files import is_ours, opened, read_small, replace_text

# the number of sampled blocks, spread evenly over the file, and their size in bytes
_BLOCKS = 17
_BLOCK = 128 << 10
_PIECE = 1 << 20
_LARGEST_SEAL = 4096


def seal(path: Path, subject: str, sha256: str) -> None:
    """Write the seal of a file under its final name.

    Args:
        path: the file.
        subject: the purpose of the file; a seal for another purpose does not fit.
        sha256: the digest of its bytes, in hexadecimal digits.

    Raises:
        OSError: the file cannot be read, or the seal cannot be written.
    """
    with opened(path) as handle:
        _write(path, {**_look(handle, subject), "sha256": sha256})


def problem(path: Path, subject: str, *, whole: bool = False) -> str | None:
    """The reason why a file must not be used; None if it is the sealed one.

    Args:
        path: the file.
        subject: the purpose of the file.
        whole: always hash the whole file.

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
        # for example a copy; in a read-only cache it is hashed each time
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
    """A file's seal; None if there is none that only this user or root could have written."""
    try:
        found = json.loads(read_small(_beside(path), _LARGEST_SEAL, ours=True))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("sha256"), str) else None
