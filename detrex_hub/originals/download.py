"""Downloads over HTTP that survive what networks do: cut, throttled, answered with nonsense.

What has arrived lies in a ``.part`` file; beside it a small record says of which version of the
file it is, so that another process can resume it, and a file that changed meanwhile starts anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from detrex_hub import __version__
from detrex_hub.errors import SourceError
from detrex_hub.originals.pages import refuse_page, refuse_type
from detrex_hub.progress import Progress
from detrex_hub.staging import require_space

if TYPE_CHECKING:
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

TRIES = 4
CONNECT_SECONDS = 15.0
READ_SECONDS = 60.0
LONGEST_WAIT_SECONDS = 60.0

_CHUNK = 2**20
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_UNSATISFIED_RANGE = re.compile(r"bytes \*/(\d+)")

# for tests, which do not wait
wait = time.sleep


class _TryAgainError(Exception):
    """What went wrong may pass. ``after`` are the seconds to wait, where the server says."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


def download(
    url: str, part: Path, *, size: int | None, name: str, progress: Progress
) -> tuple[str, bool]:
    """Download to ``part``, resuming what lies there if it is of the same version of the file.

    Args:
        url: where from, ``http`` or ``https``.
        part: where to.
        size: the file's size in bytes, where known beforehand.
        name: of the file, for people.
        progress: told of the bytes.

    Returns:
        the sha256 of the whole, and whether it was put together from several answers.

    Raises:
        SourceError: the server does not give the file, or gives something else.
        OSError: the disk does not take it.
    """
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    transfer = _Transfer(url, part, size, name, progress)
    failures = best = 0
    with _unlogged(httpx.__name__), _client(httpx) as client:
        while True:
            try:
                transfer.run(client)
                return transfer.digest.hexdigest(), transfer.resumed
            except (httpx.InvalidURL, httpx.TooManyRedirects, httpx.UnsupportedProtocol):
                raise SourceError("redirects to where nobody can follow") from None
            except SourceError:
                transfer.leave()
                raise
            except httpx.TransportError as error:
                problem = _judge(error)
            except _TryAgainError as error:
                problem = error
            # only what nobody got to before counts as getting on
            failures = 1 if transfer.done > best + _CHUNK else failures + 1
            best = max(best, transfer.done)
            if failures == TRIES:
                raise SourceError(f"{problem} ({TRIES} times)")
            wait(problem.after if problem.after is not None else 0.5 * 2 ** (failures - 1))


def forget(part: Path) -> None:
    """Remove the record beside a part that is complete or useless."""
    _record(part).unlink(missing_ok=True)


@dataclass(frozen=True)
class _Version:
    """What a server says of the file, by which a later version is told from it."""

    etag: str | None
    last_modified: str | None
    total: int | None

    @property
    def validator(self) -> str | None:
        """For If-Range, which takes no weak ETag."""
        if self.etag is not None and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified

    def may_be(self, other: _Version) -> bool:
        """Whether nothing says that the two differ. An answer to If-Range may say less."""
        pairs = (
            (self.etag, other.etag),
            (self.last_modified, other.last_modified),
            (self.total, other.total),
        )
        return all(one == two or None in (one, two) for one, two in pairs)


@contextmanager
def _unlogged(library: str) -> Iterator[None]:
    """Keep the library from logging addresses, which may hold tokens."""
    loggers = [logging.getLogger(library), logging.getLogger(library.replace("httpx", "httpcore"))]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _client(httpx: Any) -> Any:
    try:
        return httpx.Client(
            follow_redirects=True,
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            # compressed on the way, the bytes would be others than Content-Length and Range count
            headers={"accept-encoding": "identity", "user-agent": f"detrex-hub/{__version__}"},
        )
    except (ValueError, ImportError, httpx.InvalidURL):
        raise SourceError("is behind a proxy whose settings here cannot be used") from None


class _Transfer:
    """One file's way to the disk, in as many tries as it takes."""

    def __init__(
        self, url: str, part: Path, size: int | None, name: str, progress: Progress
    ) -> None:
        self.url = url
        self.part = part
        self.size = size
        self.name = name
        self.progress = progress
        self.digest = hashlib.sha256()
        self.done = 0
        self.resumed = False
        self.version = self._recorded()
        if self.version is not None:
            self._hash_part()

    def run(self, client: httpx.Client) -> None:
        """One try.

        Raises:
            _TryAgainError: it failed for a reason that may pass.
            SourceError: it failed for good.
        """
        headers = {}
        if self.done and self.version is not None and self.version.validator is not None:
            headers = {"range": f"bytes={self.done}-", "if-range": self.version.validator}
        else:
            self._begin_anew()
        with client.stream("GET", self.url, headers=headers) as response:
            if self._complete_already(response):
                return
            self._accept(response)
            with self.part.open("r+b" if self.done else "wb") as file:
                file.seek(self.done)
                self._receive(response, file)
        if self.version is not None and self.version.total not in (None, self.done):
            raise _TryAgainError(f"breaks off after {self.done} of {self.version.total} bytes")

    def leave(self) -> None:
        """Give up; what has arrived stays for another time, if anything has."""
        if self.done == 0:
            self._begin_anew()

    def _accept(self, response: httpx.Response) -> None:
        """Look at an answer's head, and begin anew where it is of another version."""
        status = response.status_code
        _refuse_downgrade(response)
        if status in _TRANSIENT:
            raise _TryAgainError(_phrase(status), _retry_after(response.headers))
        if status not in (200, 206):
            raise SourceError(_phrase(status))
        if response.headers.get("content-encoding", "identity") != "identity":
            raise SourceError("sends the file compressed, against what was asked for")
        refuse_type(response.headers.get("content-type", ""))
        version = _version(response)
        if status == 206:
            span = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
            same = self.version is not None and self.version.may_be(version)
            if span is None or int(span[1]) != self.done or not same:
                self._begin_anew()
                raise _TryAgainError("sends another part than was asked for", 0.0)
            self.resumed = True
        else:
            self._begin_anew()
            self.version = version
        if self.size is not None and version.total not in (None, self.size):
            raise SourceError(f"has a file of {version.total} bytes instead of {self.size}")
        if version.total is not None:
            require_space(self.part.parent, version.total - self.done)
        self._write_record()

    def _complete_already(self, response: httpx.Response) -> bool:
        """Whether the server says that nothing is left to send."""
        if response.status_code != 416:
            return False
        total = _UNSATISFIED_RANGE.fullmatch(response.headers.get("content-range", ""))
        if total is not None and self.done and int(total[1]) == self.done:
            return True
        self._begin_anew()
        raise _TryAgainError("refuses to resume", 0.0)

    def _receive(self, response: httpx.Response, file: BinaryIO) -> None:
        total = self.version.total if self.version else None
        self.progress.start(f"downloading {self.name}", total)
        try:
            self.progress.advance(self.done)
            for chunk in response.iter_raw():
                if self.done == 0:
                    refuse_page(chunk[:512], total)
                file.write(chunk)
                self.digest.update(chunk)
                self.done += len(chunk)
                self.progress.advance(len(chunk))
        finally:
            self.progress.finish()
        if self.done == 0:
            refuse_page(b"", 0)

    def _begin_anew(self) -> None:
        self.digest = hashlib.sha256()
        self.done = 0
        self.resumed = False
        self.version = None
        self.part.unlink(missing_ok=True)
        forget(self.part)

    def _hash_part(self) -> None:
        with self.part.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                self.digest.update(chunk)
                self.done += len(chunk)

    def _recorded(self) -> _Version | None:
        try:
            found = json.loads(_record(self.part).read_bytes())
            same = found["url"] == self._fingerprint and self.part.is_file()
            return _Version(found["etag"], found["last_modified"], found["total"]) if same else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _write_record(self) -> None:
        assert self.version is not None
        record = {
            "url": self._fingerprint,
            "etag": self.version.etag,
            "last_modified": self.version.last_modified,
            "total": self.version.total,
        }
        path = _record(self.part)
        written = path.with_name(f"{path.name}.{os.getpid()}")
        written.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        written.replace(path)

    @property
    def _fingerprint(self) -> str:
        """Stands for the URL, which may hold a token."""
        return hashlib.sha256(self.url.encode()).hexdigest()


def _record(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _version(response: httpx.Response) -> _Version:
    headers = response.headers
    if response.status_code == 206:
        span = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
        total = int(span[3]) if span else None
    else:
        length = headers.get("content-length", "")
        total = int(length) if length.isascii() and length.isdigit() else None
    return _Version(headers.get("etag"), headers.get("last-modified"), total)


def _refuse_downgrade(response: httpx.Response) -> None:
    """A page reached safely that sends elsewhere unsafely."""
    hops = [*response.history, response]
    if hops[0].url.scheme == "https" and any(hop.url.scheme != "https" for hop in hops):
        raise SourceError("redirects from https to http")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    given = headers.get("retry-after", "")
    if given.isascii() and given.isdigit():
        return min(float(given), LONGEST_WAIT_SECONDS)
    try:
        until = parsedate_to_datetime(given)
        # by the server's own clock, which is the one that the date was made with
        now = headers.get("date")
        begin = parsedate_to_datetime(now) if now else datetime.now(timezone.utc)
        return min(max((until - begin).total_seconds(), 0.0), LONGEST_WAIT_SECONDS)
    except (TypeError, ValueError):
        return None


def _phrase(status: int) -> str:
    try:
        return f"answers {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"answers {status}"


def _judge(error: Exception) -> _TryAgainError:
    """An error of the network in words, without what it may say of the address.

    Raises:
        SourceError: it will not pass.
    """
    kind = type(error).__name__
    if "Timeout" in kind:
        return _TryAgainError("does not answer in time")
    if kind != "ConnectError":
        return _TryAgainError("breaks off")
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, socket.gaierror):
        raise SourceError("cannot be reached: no such host, or no network") from None
    reason = cause.strerror if cause is not None else None
    return _TryAgainError(f"cannot be reached: {reason or 'no connection'}")
