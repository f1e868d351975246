"""Faults between a client and a server, as data.

`server.inject("GET", "/models/*", Fault.status(503), times=2)` answers the next two matching
requests with 503. The pattern is matched against the path, without the query, as in `fnmatch`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.hub_server.web import Request, Response

HTML = b"<!DOCTYPE html><html><body>Sign in to the guest network</body></html>"


@dataclass(frozen=True)
class Fault:
    """One fault.

    ``processed`` says whether the server processes the request before the fault.
    """

    processed: bool = True
    instead: tuple[int, dict[str, str], bytes] | None = None
    cut_at: int | None = None  # bytes of the body that are sent before the connection is cut
    cut_all: bool = False  # not even a status line
    stall_at: int | None = None  # bytes of the body that are sent before the connection hangs
    declare: int | None = None  # the body is this short, and the headers say so
    flip: int | None = None  # index of a byte that arrives wrong
    flip_sent: int | None = None  # the same for the request's body
    no_range: bool = False
    pause: float = 0.0  # seconds before each of the pieces that the body is sent in
    pieces: int = 1

    @classmethod
    def status(
        cls,
        code: int,
        *,
        retry_after: int | str | None = None,
        headers: dict[str, str] | None = None,
        body: bytes = b'{"error": "injected"}',
    ) -> Fault:
        """Another answer; the request is not processed."""
        extra = {"Content-Type": "application/json", **(headers or {})}
        if retry_after is not None:
            extra["Retry-After"] = str(retry_after)
        return cls(processed=False, instead=(code, extra, body))

    @classmethod
    def cut_before(cls) -> Fault:
        """The connection is cut before the request is processed."""
        return cls(processed=False, cut_all=True)

    @classmethod
    def cut_during(cls, after: int) -> Fault:
        """The connection is cut after the given number of bytes of the body."""
        return cls(cut_at=after)

    @classmethod
    def lose_answer(cls) -> Fault:
        """The request is processed, and the connection is cut before the answer."""
        return cls(cut_all=True)

    @classmethod
    def status_after(cls, code: int) -> Fault:
        """The request is processed, and a gateway reports a failure."""
        return cls(instead=(code, {"Content-Type": "application/json"}, b'{"error": "gateway"}'))

    @classmethod
    def truncate(cls, to: int) -> Fault:
        """A complete answer with a body that is too short."""
        return cls(declare=to)

    @classmethod
    def corrupt(cls, at: int = 0) -> Fault:
        """One byte of the body arrives with all its bits flipped."""
        return cls(flip=at)

    @classmethod
    def corrupt_sent(cls, at: int = 0) -> Fault:
        """One byte of the client's body arrives with all its bits flipped."""
        return cls(flip_sent=at)

    @classmethod
    def html(cls) -> Fault:
        """An HTML page with status 200, as guest networks send."""
        return cls(processed=False, instead=(200, {"Content-Type": "text/html"}, HTML))

    @classmethod
    def ignore_range(cls) -> Fault:
        """The whole file with status 200 for any requested range."""
        return cls(no_range=True)

    @classmethod
    def slow(cls, pieces: int = 4, pause: float = 0.01) -> Fault:
        """The body arrives in pieces, with pauses (seconds) between them."""
        return cls(pieces=pieces, pause=pause)

    @classmethod
    def stall(cls, after: int = 0) -> Fault:
        """The given number of bytes of the body arrives, then none until the client hangs up."""
        return cls(stall_at=after)

    @classmethod
    def redirect(cls, location: str, code: int = 302) -> Fault:
        """The answer redirects to another address."""
        return cls(processed=False, instead=(code, {"Location": location}, b""))

    def edit(self, response: Response) -> Response:
        """The answer as the client gets it."""
        if self.instead is not None:
            status, headers, body = self.instead
            given = {"status": status, "headers": dict(headers), "body": body}
            return replace(response, **given, length=None, stream=None)
        body = response.body
        if self.declare is not None:
            body = body[: self.declare]
        return replace(response, body=_flipped(body, self.flip))

    def edit_sent(self, body: bytes) -> bytes:
        """The request's body as the server gets it."""
        return _flipped(body, self.flip_sent)


def _flipped(body: bytes, at: int | None) -> bytes:
    if at is None or not body:
        return body
    at %= len(body)
    return body[:at] + bytes([body[at] ^ 0xFF]) + body[at + 1 :]


@dataclass
class Injected:
    """A fault that applies to its next requests. ``times=None`` means all of them."""

    method: str
    pattern: str
    fault: Fault
    times: int | None = 1
    skip: int = 0
    hits: int = field(default=0, init=False)

    def takes(self, request: Request) -> bool:
        matches = self.method in ("*", request.method) and fnmatchcase(request.path, self.pattern)
        if not matches:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True
