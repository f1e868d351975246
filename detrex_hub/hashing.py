"""The sha256 of bytes, computed beside other work."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from queue import SimpleQueue

# hashing a piece releases the interpreter lock; large pieces wait for it less often
_PIECE = 4 * 2**20
# pieces that may wait to be hashed
_WAITING = 4


class Sha256:
    """Hashes pieces in a thread of its own, in the order in which they are given.

    A piece must not change after it was given.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._pieces: SimpleQueue[bytes | bytearray | memoryview | None] = SimpleQueue()
        self._places: SimpleQueue[None] = SimpleQueue()
        for _ in range(_WAITING):
            self._places.put(None)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while (piece := self._pieces.get()) is not None:
            self._digest.update(piece)
            self._places.put(None)

    def update(self, piece: bytes | bytearray | memoryview) -> None:
        """Take another piece; waits while too many are there already."""
        self._places.get()
        self._pieces.put(piece)

    def result(self) -> str:
        """End it; the digest in hexadecimal digits of all that was given."""
        if self._thread.is_alive():
            self._pieces.put(None)
            self._thread.join()
        return self._digest.hexdigest()


class FileSha256:
    """Hashes a file in a thread of its own, which starts at once.

    Args:
        path: the file.

    Raises:
        OSError: raised by `result` if the file could not be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        self._error: OSError | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            buffer = memoryview(bytearray(_PIECE))
            with self._path.open("rb", buffering=0) as file:
                while not self._stopped and (length := file.readinto(buffer)):
                    self._digest.update(buffer[:length])
        except OSError as error:
            self._error = error

    def result(self) -> str:
        """The digest in hexadecimal digits, waited for."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._digest.hexdigest()

    def stop(self) -> None:
        """Stop hashing: the digest is not needed."""
        self._stopped = True
        self._thread.join()
