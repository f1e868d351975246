"""Positional reads of one file, and a window that reads through it byte by byte."""

from __future__ import annotations

import itertools
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from detrex_hub.errors import CheckpointError
from detrex_hub.hashing import Sha256

PIECE = 1 << 20
"""The largest size in bytes of a piece. A piece of this size stays in a core's cache while it is
checked, hashed and written, so copying is faster than with larger ones."""

# glibc hands freed pieces back to the kernel, and taking them again costs more than reading them,
# until a larger block was freed once; zeroed memory that is not touched costs nothing
bytes(8 << 20)

_SHOWN = 80
_numbers = itertools.count()
# Windows does not have this call
_POSITIONAL = hasattr(os, "pread")


def shown(text: str) -> str:
    """A string from a file, quoted, without control characters and at most a line long."""
    quoted = repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")
    return quoted.encode("utf-8", "backslashreplace").decode()


def size(nbytes: int) -> str:
    """``1234567`` -> ``1.2 MB``."""
    if nbytes < 1000:
        return f"{nbytes} bytes"
    amount, unit = float(nbytes), 0
    units = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")
    while amount >= 999.5 and unit < len(units) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.3g} {units[unit]}" if amount < 1e6 else f"more than 1000 {units[-1]}"


class File:
    """A regular file opened for reading at any position, from any thread.

    ``bytes_read`` counts what was read so far. ``checksums`` tells readers to compare what they
    read with the checksums in the file, where the format has some. ``number`` tells it from every
    other opened file.

    Raises:
        CheckpointError: the path is not a readable regular file, or became shorter while it was
            read.
    """

    def __init__(self, path: str | os.PathLike[str], *, checksums: bool = True) -> None:
        self._begin(Path(path), checksums)
        try:
            # opening a pipe would wait for its writer
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise self.error("is not a file")
            self._handle = self.path.open("rb", buffering=0)
            self.size = os.fstat(self._handle.fileno()).st_size
        except FileNotFoundError:
            raise self.error("does not exist") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise self.error(f"cannot be read: {reason}") from None

    def _begin(self, path: Path, checksums: bool) -> None:
        self.path = path
        self.checksums = checksums
        self.number = next(_numbers)
        self.bytes_read = 0
        self._lock = threading.Lock()

    def error(
        self, what: str, *, hint: str | None = None, choices: Sequence[str] = ()
    ) -> CheckpointError:
        return CheckpointError(f"{self.path}: {what}", hint=hint, choices=choices)

    def read(self, offset: int, nbytes: int) -> bytes:
        """Exactly ``nbytes`` bytes from ``offset`` on."""
        if offset < 0 or nbytes < 0 or offset + nbytes > self.size:
            raise self.error(f"ends after {size(self.size)}, in the middle of its data")
        try:
            data = self._read_at(offset, nbytes)
            while len(data) < nbytes:
                more = self._read_at(offset + len(data), nbytes - len(data))
                if not more:
                    raise self.error("was truncated while it was read")
                data += more
        except OSError as error:
            raise self.error(f"cannot be read: {error.strerror or error}") from None
        self.bytes_read += nbytes
        return data

    def _read_at(self, offset: int, nbytes: int) -> bytes:
        if _POSITIONAL:
            return os.pread(self._handle.fileno(), nbytes, offset)
        with self._lock:
            self._handle.seek(offset)
            return self._handle.read(nbytes) or b""

    def pieces(self, offset: int, nbytes: int) -> Iterator[bytes]:
        """The same range in pieces of at most `PIECE` bytes."""
        while nbytes > 0:
            piece = self.read(offset, min(nbytes, PIECE))
            offset += len(piece)
            nbytes -= len(piece)
            yield piece

    def close(self) -> None:
        self._handle.close()


class Section(File):
    """A range of an opened file, which is read like a file.

    Raises:
        CheckpointError: the file has no such bytes.
    """

    def __init__(self, whole: File, start: int, nbytes: int) -> None:
        self._begin(whole.path, whole.checksums)
        self._whole = whole
        self._start = start
        self.size = nbytes
        if start < 0 or nbytes < 0 or start + nbytes > whole.size:
            raise self.error(f"ends after {size(whole.size)}, in the middle of its data")

    def _read_at(self, offset: int, nbytes: int) -> bytes:
        return self._whole.read(self._start + offset, nbytes)

    def close(self) -> None:
        self._whole.close()


class Unpacked(File):
    """The contents of a compressed file, in a temporary file without a name.

    Args:
        path: of the compressed file, for messages.
        pieces: its contents.

    Raises:
        CheckpointError: the temporary folder has no space for it.
    """

    def __init__(self, path: Path, pieces: Iterator[bytes], *, checksums: bool) -> None:
        import tempfile

        self._begin(path, checksums)
        self.size = 0
        try:
            self._handle = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
            for piece in pieces:
                self._handle.write(piece)
                self.size += len(piece)
        except OSError as error:
            raise self.error(
                f"cannot be unpacked into {tempfile.gettempdir()}: {error.strerror}",
                hint="Set TMPDIR to a folder with more space",
            ) from None


class HashedFile(File):
    """A file that is hashed while it is read.

    Skipped bytes are read too, so only a reader from front to back reads every byte once. For one
    thread at a time.
    """

    def __init__(self, path: str | os.PathLike[str], *, checksums: bool = True) -> None:
        super().__init__(path, checksums=checksums)
        self._hashing = Sha256()
        self._hashed = 0

    def read(self, offset: int, nbytes: int) -> bytes:
        data = super().read(offset, nbytes)
        self._hash_until(offset)
        if offset + nbytes > self._hashed:
            self._hashing.update(memoryview(data)[self._hashed - offset :])
            self._hashed = offset + nbytes
        return data

    def _hash_until(self, end: int) -> None:
        while self._hashed < end:
            piece = super().read(self._hashed, min(end - self._hashed, PIECE))
            self._hashing.update(piece)
            self._hashed += len(piece)

    def sha256(self) -> str:
        """The digest of the whole file in hexadecimal digits. The rest is read now."""
        self._hash_until(self.size)
        return self._hashing.result()

    def close(self) -> None:
        self._hashing.result()
        super().close()


class Window:
    """Reads through the bytes ``[start, end)`` of a file with a small read-ahead.

    Skipped bytes are not read, so the index of a file with large strings is cheap. ``data`` are
    the bytes from ``start`` that have been read already.

    Raises:
        EOFError: the position went past ``end``.
    """

    _SMALLEST, _LARGEST = 1 << 10, 256 << 10

    def __init__(self, file: File, start: int, end: int, data: bytes = b"") -> None:
        self.file = file
        self.end = end
        self._base = start
        self._buffer = data
        self._at = 0
        self._ahead = self._SMALLEST

    def tell(self) -> int:
        return self._base + self._at

    def _fill(self, nbytes: int) -> None:
        position = self._base + self._at
        if position + nbytes > self.end:
            raise EOFError
        kept = self._buffer[self._at :]
        start = position + len(kept)
        wanted = min(max(nbytes - len(kept), self._ahead), self.end - start)
        self._buffer = kept + self.file.read(start, wanted)
        self._base, self._at = position, 0
        self._ahead = min(2 * self._ahead, self._LARGEST)

    def byte(self) -> int:
        at = self._at
        if at == len(self._buffer):
            self._fill(1)
            at = 0
        self._at = at + 1
        return self._buffer[at]

    def take(self, nbytes: int) -> bytes:
        """The next ``nbytes`` bytes, which must be few."""
        stop = self._at + nbytes
        if stop > len(self._buffer):
            self._fill(nbytes)
            stop = nbytes
        data = self._buffer[self._at : stop]
        self._at = stop
        return data

    def skip(self, nbytes: int) -> int:
        """Skip ``nbytes`` bytes. Returns their position in the file."""
        position = self.tell()
        if position + nbytes > self.end:
            raise EOFError
        if self._at + nbytes <= len(self._buffer):
            self._at += nbytes
        else:
            self._base, self._buffer, self._at = position + nbytes, b"", 0
            self._ahead = self._SMALLEST
        return position

    def line(self, limit: int) -> bytes | tuple[int, int]:
        """The next line without its newline, or its position and length where it is longer."""
        start = self.tell()
        while True:
            newline = self._buffer.find(b"\n", self._at)
            if newline >= 0:
                line = self._buffer[self._at : newline]
                self._at = newline + 1
                length = self.tell() - 1 - start
                return line if length < limit else (start, length)
            if len(self._buffer) - self._at >= limit:
                # a long line: search its end without keeping the bytes
                self._at = len(self._buffer)
            self._fill(len(self._buffer) - self._at + 1)
