"""Our own small files in folders that other users of the machine may write to.

Any file there may have been planted. A link is not followed, a pipe is not opened for waiting, a
large file is not read, and a file that another user could have written is not trusted.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from detrex_hub.errors import what_is

# flags of `os.open`; some systems lack some of them
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def is_ours(state: os.stat_result) -> bool:
    """Whether only this user and root could have written a file with this state."""
    if not hasattr(os, "geteuid"):
        return True
    return state.st_uid in (os.geteuid(), 0) and not state.st_mode & 0o022


@contextmanager
def opened(path: Path, *, links: bool = False) -> Iterator[int]:
    """A descriptor of a regular file, for reading.

    Args:
        path: the file.
        links: follow a link.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
    """
    try:
        handle = os.open(path, _READ if links else _READ | _NO_LINK)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise _not_regular(path) from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise _not_regular(path)
        yield handle
    finally:
        os.close(handle)


def _not_regular(path: Path) -> OSError:
    kind = "a folder" if path.is_dir() else what_is(path) or "a path that was just replaced"
    return OSError(errno.EINVAL, f"It is {kind}, not a regular file", str(path))


def read_small(path: Path, most: int, *, links: bool = False, ours: bool = False) -> bytes:
    """The content of a small regular file.

    Args:
        path: the file.
        most: the largest size in bytes.
        links: follow a link.
        ours: refuse a file that another user could have written.

    Raises:
        OSError: it cannot be read, is not a regular file, is larger, or is not ours.
    """
    with opened(path, links=links) as handle:
        state = os.fstat(handle)
        if ours and not is_ours(state):
            raise OSError(errno.EPERM, "Another user could have written it", str(path))
        content = b""
        while len(content) <= most and (piece := os.read(handle, most + 1 - len(content))):
            content += piece
    if len(content) > most:
        raise OSError(errno.EFBIG, f"It is larger than {most} bytes", str(path))
    return content


def replace_text(path: Path, text: str) -> None:
    """Write a small file in one step. Only this user can write to it afterwards, and a link in its
    place is replaced.

    Raises:
        OSError: the file cannot be written.
    """
    written = path.with_name(f".{path.name}.{secrets.token_hex()}")
    handle = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
        written.replace(path)
    except BaseException:
        written.unlink(missing_ok=True)
        raise
