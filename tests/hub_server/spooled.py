"""A storage for more than memory and disk hold: it keeps the newest large files in a folder.

Of the others it keeps the digests and the sizes. A push reads back what it uploaded right after its
commit, so that the newest files are enough.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.hub_server.storage import Storage
from tests.hub_server.store import Blob
from tests.hub_server.web import Request, Response

_PIECE = 2**20


@dataclass(frozen=True)
class Spooled(Blob):
    """A large file whose content lies elsewhere, or nowhere any more."""

    digest: str
    length: int

    @property
    def size(self) -> int:
        return self.length

    @property
    def sha256(self) -> str:
        return self.digest


class SpooledStorage(Storage):
    """Hashes uploads as they arrive. The parts of one have to arrive in their order.

    What was uploaded once is uploaded again, since its content may be gone. Two uploads of the same
    content at the same time do not disturb each other: both write the same bytes.

    Args:
        folder: for the content; it is there already.
        most: bytes of content to keep.
    """

    lasting = False

    def __init__(self, folder: Path, most: int = 10 * 10**9) -> None:
        super().__init__()
        self.taken = 0  # bytes that arrived
        self._most = most
        # the digest and the size of an upload up to each of its parts
        self._hashed: dict[tuple[str, int], tuple[hashlib._Hash, int]] = {}
        self._folder = folder
        # bytes of each file there, the one that was written to last at the end
        self._spooled: dict[str, int] = {}

    def clear(self) -> None:
        super().clear()
        self.taken = 0
        self._hashed.clear()
        for oid in [*self._spooled]:
            self._drop(oid)

    def received(self, request: Request, pieces: Iterator[bytes]) -> bytes:
        if request.method != "PUT":
            return super().received(request, pieces)
        oid, _, part = request.path.removeprefix("/objects/").partition("/")
        number = int(part or 1)
        before, size = self._hashed.get((oid, number - 1), (hashlib.sha256(), 0))
        digest = before.copy()
        path = self._path(oid)
        path.touch()
        with path.open("r+b", buffering=0) as file:
            file.seek(size)
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
                size += len(piece)
                self.taken += len(piece)
        with self._lock:
            self._hashed[oid, number] = (digest, size)
            self._spooled[oid] = max(self._spooled.pop(oid, 0), size)
            while sum(self._spooled.values()) > self._most and len(self._spooled) > 1:
                self._drop(next(iter(self._spooled)))
        return b""

    def put(self, oid: str, part: str, content: bytes) -> None:
        if not part:
            self.finish(oid, 1)

    def served(self, request: Request, oid: str, stored: Blob) -> Response:
        """The whole file, whatever range was asked for."""
        try:
            file = self._path(oid).open("rb", buffering=0)
        except FileNotFoundError:
            return Response(410, {}, b"<Error><Code>Gone</Code></Error>")
        return Response(200, {"ETag": f'"{oid}-1"'}, stream=_pieces(file), length=stored.size)

    def finish(self, oid: str, count: int) -> bool:
        found = [self._hashed.get((oid, number)) for number in range(1, count + 1)]
        if None in found:
            return False
        digest, size = self._hashed[oid, count]
        self.objects[oid] = Spooled(b"", True, digest.hexdigest(), size)
        return True

    def _path(self, oid: str) -> Path:
        return self._folder / oid

    def _drop(self, oid: str) -> None:
        del self._spooled[oid]
        self._path(oid).unlink(missing_ok=True)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE):
            yield piece
