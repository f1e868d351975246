"""A small threaded HTTP server with routes in Python, a log of all requests, and faults."""

from __future__ import annotations

import json
import re
import socket
import threading
import traceback
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub_server.faults import Fault, Injected

# bytes of a body that are read at a time
_PIECE = 2**20


@dataclass
class Request:
    """One request as it arrived, and the status of its answer."""

    method: str
    path: str  # decoded, without the query
    raw_path: str  # as sent, without the query
    query: dict[str, str]
    headers: Message
    body: bytes = b""
    status: int | None = None

    @property
    def token(self) -> str | None:
        header = self.headers.get("Authorization", "")
        if header.startswith("Basic "):
            return b64decode(header[6:]).decode().partition(":")[2]
        return header.removeprefix("Bearer ") or None

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Response:
    """One answer. ``length`` overrides Content-Length, for answers to HEAD. ``stream`` gives the
    body piece by piece, instead of ``body``; without ``length`` it ends with the connection."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = None
    stream: Iterator[bytes] | None = None

    @classmethod
    def of(cls, document: Any, status: int = 200, **headers: str) -> Response:
        """A JSON answer. Underscores in header names become hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(
            status,
            {"Content-Type": "application/json", **named},
            json.dumps(document).encode(),
        )


def ranged(request: Request, content: bytes, headers: dict[str, str]) -> Response:
    """A file, or its requested range (RFC 9110: Range, If-Range, 206, 416)."""
    headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", ""))
    condition = request.headers.get("If-Range")
    if condition is not None and condition != headers.get("ETag"):
        asked = None
    if not asked or asked.groups() == ("", ""):
        return Response(200, headers, content)
    size = len(content)
    first, last = asked.groups()
    if first == "":
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    if start >= end:
        return Response(416, {**headers, "Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return Response(206, headers, content[start:end])


class Server:
    """A server on a free port of 127.0.0.1; a context manager. Subclasses define `answer`."""

    def __init__(self) -> None:
        self.log: list[Request] = []
        self.errors: list[str] = []
        self._injected: list[Injected] = []
        self._lock = threading.RLock()
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.server = self
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Any:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answer(self, request: Request) -> Response:
        raise NotImplementedError

    def received(self, request: Request, pieces: Iterator[bytes]) -> bytes:
        """The body of a request, from its pieces. A subclass may keep less of a large one."""
        return b"".join(pieces)

    def inject(
        self, method: str, pattern: str, fault: Fault, *, times: int | None = 1, skip: int = 0
    ) -> Injected:
        """Apply a fault to matching requests.

        Args:
            method: such as ``GET``, or ``*``.
            pattern: of the decoded path without the query, as in `fnmatch`.
            fault: what happens.
            times: to how many requests; None for all.
            skip: how many matching requests go through before.

        Returns:
            a record whose ``hits`` counts how often the fault was applied.
        """
        injected = Injected(method, pattern, fault, times, skip)
        self._injected.append(injected)
        return injected

    def forget(self) -> None:
        """Drop the log and all faults."""
        self.log.clear()
        self.errors.clear()
        self._injected.clear()

    def seen(self, method: str = "*", pattern: str = "*") -> list[Request]:
        """The requests that arrived, in order."""
        return [
            request
            for request in list(self.log)
            if method in ("*", request.method) and fnmatchcase(request.path, pattern)
        ]

    def fault_for(self, request: Request) -> Fault | None:
        with self._lock:
            for injected in self._injected:
                if injected.takes(request):
                    return injected.fault
        return None


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    # the tests include clients that disconnect
    server: Server

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = traceback.format_exc()
        if "ConnectionResetError" not in error and "BrokenPipeError" not in error:
            self.server.errors.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Without this, small answers wait for the client's delayed acknowledgement.
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *_: object) -> None:
        pass

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline:
            self.close_connection = True
            return
        if not self.parse_request():
            return
        parts = urlsplit(self.path)
        request = Request(
            self.command,
            unquote(parts.path),
            parts.path,
            {name: values[0] for name, values in parse_qs(parts.query, True).items()},
            self.headers,
        )
        server: Server = self.server.server  # type: ignore[attr-defined]
        server.log.append(request)
        fault = server.fault_for(request) or Fault()
        request.body = fault.edit_sent(server.received(request, self._body()))
        if fault.no_range:
            del request.headers["Range"]
        response = Response()
        if fault.processed:
            try:
                response = server.answer(request)
            except Exception:
                server.errors.append(traceback.format_exc())
                response = Response.of({"error": "the test server broke"}, 500)
        if fault.cut_all:
            self._cut()
            return
        response = fault.edit(response)
        request.status = response.status
        self._send(request, response, fault)

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left and (piece := self.rfile.read(min(left, _PIECE))):
            left -= len(piece)
            yield piece

    def _send_stream(self, response: Response, pieces: Iterator[bytes]) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if response.length is None:
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(response.length))
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)
            self.wfile.flush()
        self.wfile.flush()

    def _send(self, request: Request, response: Response, fault: Fault) -> None:
        if response.stream is not None:
            self._send_stream(response, response.stream)
            return
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        length = len(response.body) if response.length is None else response.length
        # such a body marks its own end
        if "Transfer-Encoding" not in response.headers:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        body = b"" if request.method == "HEAD" else response.body
        last = fault.cut_at if fault.stall_at is None else fault.stall_at
        if last is not None and request.method != "HEAD":
            self.wfile.write(body[:last])
            self.wfile.flush()
            if fault.stall_at is not None:
                # a waiting client sends nothing, so this returns when it disconnects
                self.connection.recv(1)
            self._cut()
            return
        step = max(1, -(-len(body) // fault.pieces))
        for start in range(0, len(body), step):
            if fault.pause:
                threading.Event().wait(fault.pause)
            self.wfile.write(body[start : start + step])
            self.wfile.flush()
        self.wfile.flush()

    def _cut(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
