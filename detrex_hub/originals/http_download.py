"""Original files over HTTP: the requests, and the checks of the answers."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detrex_hub import __version__
from detrex_hub.errors import SourceError
from detrex_hub.originals.pages import refuse_page, refuse_type
from detrex_hub.progress import Progress
from detrex_hub.retrying import BUSY, TRIES, PassingError, asked_pause, patiently
from detrex_hub.transfer import IDENTITY, Download, PartFile, WrongFileError

if TYPE_CHECKING:
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

CONNECT_SECONDS = 15.0
READ_SECONDS = 60.0


def download(
    url: str, part: Path, *, size: int | None, name: str, progress: Progress
) -> tuple[str, bool]:
    """Download to ``part``, and resume an existing part if it belongs to the same version of the
    file.

    Args:
        url: the address, ``http`` or ``https``.
        part: where to write.
        size: the file's size in bytes, where known.
        name: the name of the file in progress reports.
        progress: receives the arriving bytes.

    Returns:
        the sha256 of the whole file, and whether it comes from several answers.

    Raises:
        SourceError: the server does not send the file, or sends something else.
        OSError: the disk is full or cannot be written.
    """
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    with (
        _unlogged(httpx.__name__),
        _client(httpx) as client,
        PartFile(part, address=url) as arrived,
    ):

        @contextmanager
        def ask(headers: Mapping[str, str]) -> Iterator[httpx.Response]:
            with _plainly(httpx), client.stream("GET", url, headers=headers) as response:
                _check(response)
                yield response

        file = Download(name=name, size=size, open=ask, check_start=refuse_page)
        try:
            resumed = file.into(arrived, progress)
        except PassingError as error:
            raise SourceError(f"{error} ({TRIES} times)") from None
        except WrongFileError as error:
            raise SourceError(str(error)) from None
        return arrived.sha256(), resumed


def ask(url: str, *, page: bool = False) -> int | None:
    """Request the first byte of a file, to see whether the server sends it.

    Args:
        url: the address, ``http`` or ``https``.
        page: whether the server may send a page, as Google Drive does before a large file.

    Returns:
        the size of the file in bytes; None if the server does not state it.

    Raises:
        SourceError: the server does not give the file, or gives something else.
    """
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    def call() -> int | None:
        headers = {**IDENTITY, "range": "bytes=0-0"}
        # a server without ranges sends the whole file, which is not read
        with _plainly(httpx), client.stream("GET", url, headers=headers) as response:
            if page and response.status_code == 200:
                return None
            _check(response)
            return _whole_size(response)

    with _unlogged(httpx.__name__), _client(httpx) as client:
        try:
            return patiently(call)
        except PassingError as error:
            raise SourceError(f"{error} ({TRIES} times)") from None


def _whole_size(response: httpx.Response) -> int | None:
    span = response.headers.get("content-range", "").rpartition("/")[2]
    said = span if response.status_code != 200 else response.headers.get("content-length", "")
    return int(said) if said.isascii() and said.isdigit() else None


@contextmanager
def _unlogged(library: str) -> Iterator[None]:
    """Prevent the library from logging addresses, which may hold tokens."""
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
            headers={"user-agent": f"detrex-hub/{__version__}"},
        )
    except (ValueError, ImportError, httpx.InvalidURL):
        raise SourceError("is behind a proxy whose settings on this machine are invalid") from None


def _check(response: httpx.Response) -> None:
    """Refuse an answer that is not the file.

    Raises:
        PassingError: the failure may be temporary.
        SourceError: the failure is permanent.
    """
    status = response.status_code
    _refuse_downgrade(response)
    if status in BUSY:
        raise PassingError(_phrase(status), asked_pause(status, response.headers))
    if status == 416:
        return
    if status not in (200, 206):
        raise SourceError(_phrase(status))
    if response.headers.get("content-encoding", "identity") != "identity":
        raise SourceError("sends the file compressed, which was not requested")
    refuse_type(response.headers.get("content-type", ""))


def _refuse_downgrade(response: httpx.Response) -> None:
    """Refuse a redirect that leaves https."""
    hops = [*response.history, response]
    if hops[0].url.scheme == "https" and any(hop.url.scheme != "https" for hop in hops):
        raise SourceError("redirects from https to http")


def _phrase(status: int) -> str:
    try:
        return f"answers {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"answers {status}"


@contextmanager
def _plainly(httpx: Any) -> Iterator[None]:
    """Describe network errors without the address."""
    try:
        yield
    except (httpx.InvalidURL, httpx.TooManyRedirects, httpx.UnsupportedProtocol):
        raise SourceError("redirects in circles, or to a forbidden address") from None
    except httpx.TransportError as error:
        raise _judge(error) from None


def _judge(error: Exception) -> PassingError:
    """
    Raises:
        SourceError: the failure is permanent.
    """
    kind = type(error).__name__
    if "Timeout" in kind:
        return PassingError("does not answer in time")
    if kind != "ConnectError":
        return PassingError("breaks off")
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, socket.gaierror):
        raise SourceError("cannot be reached: no such host, or no network") from None
    reason = cause.strerror if cause is not None else None
    return PassingError(f"cannot be reached: {reason or 'no connection'}")
