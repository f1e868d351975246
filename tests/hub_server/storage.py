"""The Hub's storage for large files: another origin with signed addresses and without tokens."""

from __future__ import annotations

import hashlib

from tests.hub_server.store import Blob
from tests.hub_server.web import Request, Response, Server, ranged

# the parameters of a signed address
_SIGNATURE = "X-Signature"


class Storage(Server):
    """Objects by sha256. A request with a token is refused, as by S3.

    It has another host name than the Hub, because clients distinguish hosts by name.
    """

    # whether what is here need not be uploaded again
    lasting = True

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, Blob] = {}
        self.parts: dict[tuple[str, int], bytes] = {}

    @property
    def url(self) -> str:
        return super().url.replace("127.0.0.1", "localhost")

    def clear(self) -> None:
        self.forget()
        self.objects.clear()
        self.parts.clear()

    def signed(self, path: str) -> str:
        """An address that works without a token."""
        return f"{self.url}{path}?{_SIGNATURE}={self._signature(path)}"

    def put(self, oid: str, part: str, content: bytes) -> None:
        """Take in an upload, or a numbered part of one."""
        if part:
            self.parts[oid, int(part)] = content
        else:
            self.objects[oid] = Blob(content, large=True)

    def served(self, request: Request, oid: str, stored: Blob) -> Response:
        """The content of a download."""
        # the etag of a multipart upload is not a digest, so clients must not rely on it
        etag = f'"{hashlib.md5(oid.encode()).hexdigest()}-1"'
        return ranged(request, stored.content, {"ETag": etag})

    def finish(self, oid: str, count: int) -> bool:
        """Join the parts of an upload."""
        parts = [self.parts.pop((oid, number), None) for number in range(1, count + 1)]
        if None in parts:
            return False
        self.objects[oid] = Blob(b"".join(part for part in parts if part is not None), large=True)
        return True

    @staticmethod
    def _signature(path: str) -> str:
        return hashlib.sha256(f"key of the storage:{path}".encode()).hexdigest()[:16]

    def answer(self, request: Request) -> Response:
        if request.token is not None:
            return Response(400, {}, b"<Error><Code>InvalidArgument</Code></Error>")
        if request.query.get(_SIGNATURE) != self._signature(request.path):
            return Response(403, {}, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        oid, _, part = request.path.removeprefix("/objects/").partition("/")
        if request.method == "PUT":
            self.put(oid, part, request.body)
            return Response(200, {"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'})
        stored = self.objects.get(oid)
        if stored is None:
            return Response(404, {}, b"<Error><Code>NoSuchKey</Code></Error>")
        response = self.served(request, oid, stored)
        if request.method == "HEAD":
            response.length = response.length or len(response.body)
            response.body, response.stream = b"", None
        return response
