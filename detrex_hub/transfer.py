"""Download one file: resume it, hash it while it arrives, retry it.

The arrived bytes are stored in a part file and are never discarded after an error, so the next
attempt or the next process requests only the rest. If the name of the part does not pin the
content, a small record beside it names the version of the file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import asdict

from detrex_hub.hashing import Sha256
from detrex_hub.own_files import read_small, replace_text
from detrex_hub.progress import Progress
from detrex_hub.retrying import PassingError, patiently
from detrex_hub.staging import require_space

if TYPE_CHECKING:
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]
    from typing_extensions import Self

_CHUNK = 2**20
# bytes
_LARGEST_RECORD = 2**16
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_UNSATISFIED_RANGE = re.compile(r"bytes \*/(\d+)")

# compressed on the way, the bytes would be others than Content-Length and Range count
IDENTITY: Mapping[str, str] = {"accept-encoding": "identity"}


class WrongFileError(Exception):
    """The server has another file than the one that is wanted."""


class Download(Struct, frozen=True, kw_only=True):
    """A file to download.

    Args:
        name: what progress calls it.
        size: its size in bytes, where known.
        open: sends the request with the given further headers and yields an answer whose status is
            200, 206 or 416. It raises what cannot be used, and `PassingError` for what may pass.
        check_start: looks at the first bytes of the file (at most 512, none for an empty file) and
            its size, and raises if they are not a file of the wanted kind.
    """

    name: str
    size: int | None
    open: Callable[[Mapping[str, str]], AbstractContextManager[httpx.Response]]
    check_start: Callable[[bytes, int | None], None] | None = None

    def into(self, part: PartFile, progress: Progress) -> bool:
        """Download what is missing of the file, in as many attempts as it takes.

        Returns:
            whether the file was put together from several answers.

        Raises:
            WrongFileError: the server has a file of another size, and no digest pins the content.
            PassingError: it did not arrive whole.
            OSError: the disk does not take it.
            Exception: what ``open`` or ``check_start`` raise.
        """
        attempt = _Attempt(self, part, progress)
        patiently(attempt.run, reached=lambda: part.size)
        return attempt.resumed


class _Version(Struct, frozen=True):
    """A server's description of a file, which identifies its version."""

    etag: str | None = None
    last_modified: str | None = None
    total: int | None = None

    @property
    def validator(self) -> str | None:
        """For If-Range, which takes no weak ETag."""
        if self.etag is not None and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified

    def may_be(self, other: _Version) -> bool:
        """Whether nothing says that the two differ. An answer to If-Range may say less."""
        pairs = zip(asdict(self).values(), asdict(other).values(), strict=True)
        return all(one == two or None in (one, two) for one, two in pairs)


class PartFile:
    """The bytes of a file that have arrived. They are hashed in a thread of their own while more
    arrive. Close it after use.

    Args:
        path: the path of the part file.
        address: the URL that it comes from, if the path does not pin the content. Then a record
            beside the part holds its version.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
    """

    def __init__(self, path: Path, *, address: str | None = None) -> None:
        self.path = path
        self.size = 0
        self.version: _Version | None = None
        # stands for the address, which may hold a token
        self._source = hashlib.sha256(address.encode()).hexdigest() if address else None
        # others may write to a shared cache: no link, no second name of another file, no pipe
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        flags |= getattr(os, "O_NONBLOCK", 0)
        self._file = os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0)
        self._state = os.fstat(self._file.fileno())
        if not stat.S_ISREG(self._state.st_mode) or self._state.st_nlink > 1:
            self._file.close()
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path))
        self._hashing = Sha256()
        if self._source is not None:
            self.version = self._recorded()
        if self.pinned or self.version is not None:
            while chunk := self._file.read(_CHUNK):
                self._count(chunk)
        else:
            self.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pinned(self) -> bool:
        """Whether the name of the part identifies its content, as a digest does."""
        return self._source is None

    def sha256(self) -> str:
        """The digest in hexadecimal digits of all that has arrived. Nothing is appended after."""
        return self._hashing.result()

    @property
    def is_in_place(self) -> bool:
        """Whether the file is still the one of this name. On some network drives no lock keeps
        another process from starting over."""
        try:
            return os.path.samestat(self._state, self.path.lstat())
        except OSError:
            return False

    def append(self, piece: bytes) -> None:
        left = memoryview(piece)
        while left:
            left = left[self._file.write(left) :]
        self._count(piece)

    def clear(self) -> None:
        """Forget everything that has arrived."""
        self._file.seek(0)
        self._file.truncate()
        self._hashing.result()
        self._hashing = Sha256()
        self.size = 0
        self.version = None
        forget(self.path)

    def belongs_to(self, version: _Version) -> None:
        """Record which version of the file this is."""
        self.version = version
        if self._source is None:
            return
        text = json.dumps({"url": self._source, **asdict(version)}, indent=2)
        replace_text(_record(self.path), f"{text}\n")

    def close(self) -> None:
        self._hashing.result()
        self._file.close()
        if self.size == 0:
            self.path.unlink(missing_ok=True)
            forget(self.path)

    def _count(self, piece: bytes) -> None:
        self._hashing.update(piece)
        self.size += len(piece)

    def _recorded(self) -> _Version | None:
        try:
            found = json.loads(read_small(_record(self.path), _LARGEST_RECORD))
            if found.pop("url") != self._source:
                return None
            version = _Version(**found)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return version if version.validator is not None else None


def forget(part: Path) -> None:
    """Remove the record beside a part that is complete or useless."""
    _record(part).unlink(missing_ok=True)


def _record(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


class _Attempt:
    """One file's way into its part."""

    def __init__(self, file: Download, part: PartFile, progress: Progress) -> None:
        self._file = file
        self._part = part
        self._progress = progress
        # a server that cannot resume sends everything; the bytes that are there are skipped
        self._resumes = True
        self.resumed = False

    def run(self) -> None:
        """Ask once for what is missing."""
        with self._file.open(self._headers()) as response:
            if response.status_code == 416:
                self._finish_or_start_over(response)
                return
            start, total = self._accept(response)
            self._receive(response, start, total)
        if total is not None and self._part.size != total:
            raise PassingError(f"ends after {self._part.size} of {total} bytes")

    def _headers(self) -> Mapping[str, str]:
        part = self._part
        if not part.size or not self._resumes:
            return IDENTITY
        headers = {**IDENTITY, "range": f"bytes={part.size}-"}
        if part.pinned:
            return headers
        validator = part.version.validator if part.version else None
        if validator is None:
            part.clear()
            return IDENTITY
        return {**headers, "if-range": validator}

    def _accept(self, response: httpx.Response) -> tuple[int, int | None]:
        """The place of the answer's first byte in the file, and the size of the file."""
        part, file = self._part, self._file
        span = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        partial = response.status_code == 206
        version = _version(response, int(span[2]) if span and partial else None)
        start = 0
        if partial:
            same = part.pinned or (part.version is not None and part.version.may_be(version))
            sized = file.size is None or version.total == file.size
            if span is None or int(span[1]) != part.size or not same or not sized:
                self._stop_resuming("sends a part that was not requested")
            start = part.size
            self.resumed = self.resumed or start > 0
        elif not part.pinned:
            part.clear()
            self.resumed = False
        if file.size is not None and version.total not in (None, file.size):
            sizes = f"{version.total} bytes instead of {file.size}"
            if part.pinned:
                raise PassingError(f"sends {sizes}")
            raise WrongFileError(f"has a file of {sizes}")
        total = version.total if version.total is not None else file.size
        if total is not None:
            require_space(part.path.parent, total - part.size)
        part.belongs_to(version)
        return start, total

    def _finish_or_start_over(self, response: httpx.Response) -> None:
        """The server says that the file has no byte after those that are here."""
        whole = _UNSATISFIED_RANGE.fullmatch(response.headers.get("content-range", ""))
        if whole is None or not self._part.size or int(whole[1]) != self._part.size:
            self._stop_resuming("refuses to resume")

    def _stop_resuming(self, reason: str) -> None:
        if self._part.pinned:
            self._resumes = False
        else:
            self._part.clear()
        raise PassingError(reason, 0.0)

    def _receive(self, response: httpx.Response, start: int, total: int | None) -> None:
        """Append what is new in an answer's body."""
        part, check = self._part, self._file.check_start
        self._progress.start(f"downloading {self._file.name}", total)
        try:
            self._progress.advance(start)
            for piece in response.iter_raw():
                if start == 0 and check is not None:
                    check(piece[:512], total)
                known = part.size - start
                start += len(piece)
                if total is not None and start > total:
                    raise PassingError(f"sends more than {total} bytes")
                part.append(piece[known:] if known > 0 else piece)
                self._progress.advance(len(piece))
        finally:
            self._progress.finish()
        if start == 0 and check is not None:
            check(b"", 0)


def _version(response: httpx.Response, total: int | None) -> _Version:
    headers = response.headers
    length = headers.get("content-length", "")
    if response.status_code == 200 and length.isascii() and length.isdigit():
        total = int(length)
    return _Version(headers.get("etag"), headers.get("last-modified"), total)
