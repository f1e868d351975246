"""A lock between processes, held on a file that this module opens itself.

The file may lie in a folder that other users can write to. So it is never truncated, and a link, a
pipe or a second name of another file in its place is refused. filelock 4.1, the last release for
Python 3.10, empties the file that a planted hard link names.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    # creating links needs a privilege there
    from filelock import FileLock, Timeout
else:
    import errno
    import fcntl
    import os
    import stat
    import time
    from pathlib import Path
    from types import TracebackType

    # seconds between two attempts
    _PAUSE = 0.02

    class Timeout(TimeoutError):  # noqa: N818 (the name that filelock gives it)
        """Another process or thread holds the lock."""

    class FileLock:
        """An exclusive lock. Each instance excludes all others, also in other threads.

        Args:
            path: the file to lock. It is created if it is missing, and is never removed.

        Example:
            >>> with FileLock("cache/.lock"):
            ...     write()
        """

        def __init__(self, path: str | os.PathLike[str]) -> None:
            self._path = Path(path)
            self._handle: int | None = None

        def acquire(self, timeout: float | None = None) -> None:
            """Take the lock.

            Args:
                timeout: the seconds to wait. 0 tries once; None waits without a limit.

            Raises:
                Timeout: another holder keeps it for longer.
                OSError: the file cannot be opened, is not a plain file with one name, or its file
                    system has no locks.
            """
            end = None if timeout is None else time.monotonic() + timeout
            while not self._try(fcntl.LOCK_EX if end is None else fcntl.LOCK_EX | fcntl.LOCK_NB):
                if end is not None and time.monotonic() >= end:
                    raise Timeout(errno.EAGAIN, "is locked by another process", str(self._path))
                time.sleep(_PAUSE)

        def _try(self, operation: int) -> bool:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
            handle = os.open(self._path, flags, 0o666)
            try:
                state = os.fstat(handle)
                if not stat.S_ISREG(state.st_mode) or state.st_nlink > 1:
                    raise OSError(errno.EPERM, "is not a lock file", str(self._path))
                fcntl.flock(handle, operation)
                # a lock on a removed file excludes no other process
                if os.fstat(handle).st_nlink:
                    self._handle = handle
                    return True
            except BlockingIOError:
                pass
            finally:
                if self._handle != handle:
                    os.close(handle)
            return False

        def release(self) -> None:
            """Release the lock. Does nothing if it is not held."""
            if self._handle is not None:
                handle, self._handle = self._handle, None
                os.close(handle)

        def __enter__(self) -> FileLock:
            self.acquire()
            return self

        def __exit__(
            self,
            kind: type[BaseException] | None,
            error: BaseException | None,
            traceback: TracebackType | None,
        ) -> None:
            self.release()
