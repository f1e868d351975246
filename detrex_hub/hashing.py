"""The sha256 of bytes, computed in a thread."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from queue import SimpleQueue

# hashing a piece releases the interpreter lock, and with large pieces this happens less often
_PIECE = 4 * 2**20
# the most pieces that may wait
_WAITING = 3


class Sha256:
    """Hashes pieces in a separate thread, in their order.

    A piece must not change after `update`.
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
        """Add a piece. Waits while too many pieces are queued."""
        self._places.get()
        self._pieces.put(piece)

    def result(self) -> str:
        """Finish, and return the digest of all pieces in hexadecimal digits."""
        if self._thread.is_alive():
            self._pieces.put(None)
            self._thread.join()
        return self._digest.hexdigest()


class FileSha256:
    """Hashes files one after another in a separate thread, which starts at once.

    Args:
        path: the file.
        others: further files.

    Raises:
        OSError: raised by `results` if a file could not be read.
    """

    def __init__(self, path: Path, *others: Path) -> None:
        self._paths = (path, *others)
        self._digests: dict[Path, str] = {}
        self._error: OSError | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            buffer = memoryview(bytearray(_PIECE))
            for path in self._paths:
                digest = hashlib.sha256()
                with path.open("rb", buffering=0) as file:
                    while not self._stopped.is_set() and (length := file.readinto(buffer)):
                        digest.update(buffer[:length])
                self._digests[path] = digest.hexdigest()
        except OSError as error:
            self._error = error

    def results(self) -> dict[Path, str]:
        """Wait, and return the digest of each file in hexadecimal digits."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._digests

    def result(self) -> str:
        """Wait, and return the digest of the first file."""
        return self.results()[self._paths[0]]

    def stop(self) -> None:
        """Stop hashing, because the digests are not needed."""
        self._stopped.set()
        self._thread.join()
