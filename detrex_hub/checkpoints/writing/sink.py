"""A file that is written front to back and hashed at the same time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from detrex_hub.checkpoints.checkpoint import Tensor
from detrex_hub.checkpoints.files import shown, size
from detrex_hub.errors import CheckpointError
from detrex_hub.hashing import Sha256

_COLLECTED = 256 << 10
_LARGE = 128 << 10

Buffer = bytes | bytearray | memoryview


class Sink:
    """Takes bytes for a new file. A separate thread hashes them during the writing.

    A context manager. Leaving it without `finish` closes the unfinished file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.position = 0
        self._collected: list[Buffer] = []
        self._waiting = 0
        self._handle = self.path.open("wb", buffering=0)
        self._hashing = Sha256()

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._hashing.result()
        self._handle.close()

    def write(self, piece: Buffer) -> None:
        """Append bytes, which must not change afterwards."""
        self.position += len(piece)
        if len(piece) < _LARGE:
            self._collected.append(piece)
            self._waiting += len(piece)
            if self._waiting >= _COLLECTED:
                self._flush()
        else:
            self._flush()
            self._put(piece)

    def copy(self, tensor: Tensor) -> None:
        """Append a tensor's bytes."""
        for piece in checked_chunks(tensor):
            self.write(piece)

    def _flush(self) -> None:
        if self._collected:
            data = b"".join(self._collected)
            self._collected, self._waiting = [], 0
            self._put(data)

    def _put(self, piece: Buffer) -> None:
        self._hashing.update(piece)
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[self._handle.write(rest) :]
        except OSError as error:
            # the system does not name the file
            raise OSError(error.errno, error.strerror, os.fspath(self.path)) from None

    def finish(self) -> str:
        """Write the rest. Returns the file's sha256 in hexadecimal digits."""
        self._flush()
        return self._hashing.result()


def checked_chunks(tensor: Tensor) -> Iterator[bytes | memoryview]:
    """A tensor's chunks, which are refused if their length contradicts its spec."""
    given = 0
    for piece in tensor.chunks():
        given += len(piece)
        yield piece
    if given != tensor.spec.nbytes:
        raise CheckpointError(
            f"tensor {shown(tensor.key)} gave {size(given)} instead of {size(tensor.spec.nbytes)}"
        )
