"""A plain file server with ranges, like release pages and university mirrors."""

from __future__ import annotations

import hashlib

from tests.hub_server.web import Request, Response, Server, ranged


class Mirror(Server):
    """Serves what was added to it.

    ``with Mirror() as mirror: url = mirror.add("r18.pth", content)``
    """

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}

    def add(self, name: str, content: bytes) -> str:
        """Serve ``content`` at a path, and return its URL."""
        self.files[name.lstrip("/")] = content
        return f"{self.url}/{name.lstrip('/')}"

    def answer(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return Response(405, {"Allow": "GET, HEAD"})
        content = self.files.get(request.path.lstrip("/"))
        if content is None:
            return Response(404, {"Content-Type": "text/plain"}, b"Not Found")
        response = ranged(request, content, {"ETag": f'"{hashlib.md5(content).hexdigest()}"'})
        if request.method == "HEAD":
            response.length, response.body = len(response.body), b""
        return response
