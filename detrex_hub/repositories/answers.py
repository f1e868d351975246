"""Check the Hub's answers about a file before huggingface_hub uses them.

huggingface_hub turns two headers, the commit and the ETag, into paths, and downloads files of any
size. Hooks of its session check both. They apply only within `about`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from msgspec import Struct

from detrex_hub.errors import HubError
from detrex_hub.records import too_large
from detrex_hub.repositories import names

if TYPE_CHECKING:
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

_ETAG = re.compile(r'(W/)?"?[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}"?')


class _File(Struct, frozen=True):
    """The requested file; ``limit`` is its largest size in bytes."""

    where: str
    limit: int | None


_asked: ContextVar[_File | None] = ContextVar("asked", default=None)


@contextmanager
def about(where: str, limit: int | None) -> Iterator[None]:
    """Check all answers within the context, which are about one file.

    Args:
        where: the file, for messages.
        limit: its largest size in bytes, None for any.

    Raises:
        HubError: an answer names an invalid commit or version.
        ConfigError: the file is larger than ``limit``. This is raised before the download if the
            server states the size, otherwise during it.
    """
    token = _asked.set(_File(where, limit))
    try:
        yield
    finally:
        _asked.reset(token)


def ask_uncompressed(request: httpx.Request) -> None:
    """Request uncompressed bytes, because a few compressed ones can expand to very many."""
    asked = _asked.get()
    if asked is not None and asked.limit is not None:
        request.headers["accept-encoding"] = "identity"


def refuse_wrong(response: httpx.Response) -> None:
    """Raise the errors that `about` describes."""
    asked = _asked.get()
    if asked is None:
        return
    headers = response.headers
    commit = headers.get("x-repo-commit")
    if commit is not None:
        etag = headers.get("x-linked-etag") or headers.get("etag") or "none"
        if not names.is_commit(commit) or not _ETAG.fullmatch(etag):
            raise HubError(
                f"{asked.where}: the server gives no commit and version in the form that the Hub "
                "uses",
                hint="Check HF_ENDPOINT",
            )
    if asked.limit is not None:
        _limit_size(response, asked.where, asked.limit)


def _limit_size(response: httpx.Response, where: str, limit: int) -> None:
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    sizes = (response.headers.get(name, "") for name in ("x-linked-size", "content-length"))
    if any(size.isascii() and size.isdigit() and int(size[:20]) > limit for size in sizes):
        raise too_large(where, limit)
    if response.headers.get("content-encoding", "identity") != "identity":
        raise HubError(f"{where}: the server sends it compressed, which was not requested")

    assert isinstance(response.stream, httpx.SyncByteStream)
    body: httpx.SyncByteStream = response.stream

    class Limited(httpx.SyncByteStream):
        """The body of an answer, which ends with an error after ``limit`` bytes."""

        def __iter__(self) -> Iterator[bytes]:
            size = 0
            for piece in body:
                size += len(piece)
                if size > limit:
                    raise too_large(where, limit)
                yield piece

        def close(self) -> None:
            body.close()

    response.stream = Limited()
