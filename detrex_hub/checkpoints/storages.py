"""Storages of tensors: ranges of a file, encoded strings, or a few bytes in memory."""

from __future__ import annotations

import codecs
from collections.abc import Hashable, Iterator
from typing import IO, Protocol

from detrex_hub.checkpoints.files import PIECE, File, size


class Storage(Protocol):
    """A sequence of bytes. Tensors are views of it."""

    @property
    def identity(self) -> Hashable:
        """Equal for two storages iff they are the same bytes of the file."""

    @property
    def nbytes(self) -> int: ...

    def read(self, offset: int, nbytes: int) -> bytes:
        """Some bytes; at most `PIECE` of them."""

    def pieces(self, offset: int, nbytes: int) -> Iterator[bytes]:
        """Any range, in pieces of at most `PIECE` bytes."""

    def settle(self) -> None:
        """Check the storage, if it can only be checked as a whole."""


class FileRange:
    """Plain bytes in the file."""

    __slots__ = ("file", "nbytes", "offset")

    def __init__(self, file: File, offset: int, nbytes: int) -> None:
        self.file = file
        self.offset = offset
        self.nbytes = nbytes

    @property
    def identity(self) -> Hashable:
        return self.file.number, self.offset

    def read(self, offset: int, nbytes: int) -> bytes:
        return self.file.read(self.offset + offset, nbytes)

    def pieces(self, offset: int, nbytes: int) -> Iterator[bytes]:
        return self.file.pieces(self.offset + offset, nbytes)

    def settle(self) -> None:
        """The format has no checksums."""


class InMemory:
    """A few bytes that were read already, perhaps as latin-1 text."""

    __slots__ = ("data", "nbytes")

    def __init__(self, data: bytes | str) -> None:
        if isinstance(data, str) and not data.isascii():
            data.encode("latin-1")
        self.data = data
        self.nbytes = len(data)

    @property
    def identity(self) -> Hashable:
        return ("in memory", id(self.data))

    def read(self, offset: int, nbytes: int) -> bytes:
        part = self.data[offset : offset + nbytes]
        # kept as text: one text can be the data of very many arrays
        return part.encode("latin-1") if isinstance(part, str) else part

    def pieces(self, offset: int, nbytes: int) -> Iterator[bytes]:
        for start in range(offset, offset + nbytes, PIECE):
            yield self.read(start, min(PIECE, offset + nbytes - start))

    def settle(self) -> None:
        """The format has no checksums."""


class Encoded:
    """Bytes that a pickle holds as text. They are decoded in a stream from the beginning.

    Args:
        encoding: ``utf-8`` and ``raw-unicode-escape`` hold latin-1 text (protocols 0 to 2, which
            have no bytes), ``string-escape`` is Python 2's quoted form.
        nbytes: the decoded length, which is checked at the end of the stream.
    """

    __slots__ = ("_decoded", "encoding", "file", "length", "nbytes", "offset")

    def __init__(self, file: File, offset: int, length: int, encoding: str, nbytes: int) -> None:
        self.file = file
        self.offset = offset
        self.length = length
        self.encoding = encoding
        self.nbytes = nbytes
        self._decoded: IO[bytes] | None = None

    @property
    def identity(self) -> Hashable:
        return self.file.number, self.offset

    def read(self, offset: int, nbytes: int) -> bytes:
        if self._decoded is None:
            import tempfile

            # random access to a stream: decode it once into a temporary file
            self._decoded = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
            for piece in self._stream():
                self._decoded.write(piece)
        self._decoded.seek(offset)
        return self._decoded.read(nbytes)

    def pieces(self, offset: int, nbytes: int) -> Iterator[bytes]:
        if (offset, nbytes) == (0, self.nbytes):
            yield from self._stream()
            return
        for start in range(offset, offset + nbytes, PIECE):
            yield self.read(start, min(PIECE, offset + nbytes - start))

    def settle(self) -> None:
        """Decoding checks the text to its end."""

    def _stream(self) -> Iterator[bytes]:
        decode = _escapes if self.encoding == "string-escape" else self._text
        seen = 0
        try:
            for piece in decode(self.file.pieces(self.offset, self.length)):
                seen += len(piece)
                if piece:
                    yield piece
        except (ValueError, Warning):
            raise self.file.error(f"damaged text at byte {self.offset}") from None
        if seen != self.nbytes:
            raise self.file.error(
                f"the array at byte {self.offset} holds {size(seen)} instead of {size(self.nbytes)}"
            )

    def _text(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        decoder = codecs.getincrementaldecoder(self.encoding)()
        for piece in pieces:
            yield decoder.decode(piece).encode("latin-1")
        yield decoder.decode(b"", True).encode("latin-1")


def _escapes(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Decode Python 2's backslash escapes, which may cross two pieces."""
    rest = b""
    for piece in pieces:
        data = rest + piece
        # an unfinished escape has at most four bytes and begins with an unescaped backslash
        start = data.rfind(b"\\", max(0, len(data) - 4))
        if start >= 0 and (start + 1 - len(data[: start + 1].rstrip(b"\\"))) % 2 == 0:
            start = -1
        cut = len(data) if start < 0 else start
        rest = data[cut:]
        yield codecs.escape_decode(data[:cut])[0]
    yield codecs.escape_decode(rest)[0]
