"""Where the Hub keeps large files: another origin, reached by signed addresses, without tokens."""

from __future__ import annotations

import hashlib

from tests.hub_server.web import Request, Response, Server, ranged

# what a signed address carries
_SIGNATURE = "X-Signature"


class Storage(Server):
    """Objects by sha256. A request that carries a token is refused, as S3 refuses it.

    It goes by another name than the Hub, since clients tell hosts by their names.
    """

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, bytes] = {}
        self.parts: dict[tuple[str, int], bytes] = {}

    @property
    def url(self) -> str:
        return super().url.replace("127.0.0.1", "localhost")

    def clear(self) -> None:
        self.forget()
        self.objects.clear()
        self.parts.clear()

    def signed(self, path: str) -> str:
        """An address that may be used without a token."""
        return f"{self.url}{path}?{_SIGNATURE}={self._signature(path)}"

    def finish(self, oid: str, count: int) -> bool:
        """Join the parts of an upload."""
        parts = [self.parts.pop((oid, number), None) for number in range(1, count + 1)]
        if None in parts:
            return False
        self.objects[oid] = b"".join(part for part in parts if part is not None)
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
            if part:
                self.parts[oid, int(part)] = request.body
            else:
                self.objects[oid] = request.body
            return Response(200, {"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'})
        content = self.objects.get(oid)
        if content is None:
            return Response(404, {}, b"<Error><Code>NoSuchKey</Code></Error>")
        # a multipart upload's etag is no digest of the content; so no client should rely on it here
        response = ranged(
            request, content, {"ETag": f'"{hashlib.md5(oid.encode()).hexdigest()}-1"'}
        )
        if request.method == "HEAD":
            response.length, response.body = len(response.body), b""
        return response
