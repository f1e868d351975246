"""Large files from the Hub, whose download a killed process leaves to the next one.

huggingface_hub downloads into a file of a random name, and removes it whatever goes wrong. Here the
bytes go into ``blobs/<sha256>.incomplete`` of its cache, where its older versions resumed too, and
which ``hf cache list`` and ``hf cache prune`` know. They stay there whatever happens, and are asked
for no second time. Once whole and right they become the blob, which `hf_hub_download` finds and
links; a mark keeps them from being read once more.

They come over plain HTTP even where Xet is installed: what Xet has written of a file is removed
like everything else, and it tells nobody the bytes in their order, to be hashed as they arrive.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import stat
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from detrex_hub.repositories import cache, names
from detrex_hub.repositories.client import LIBRARY
from detrex_hub.repositories.refusals import damaged
from detrex_hub.repositories.retry import patiently
from detrex_hub.staging import require_space

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

# never large, and not worth a request to know it
_TEXT = (".json", ".md")
_CHUNK = 2**20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


def bring(repo_id: str, name: str, revision: str | None) -> None:
    """Have a large file in huggingface_hub's cache, so that `hf_hub_download` finds it there.

    Everything else is left to huggingface_hub: files that git keeps itself, which are small; those
    of servers that do not tell a sha256; those that are there, or that the cache cannot take.

    Args:
        repo_id: ``owner/name``.
        name: of the file.
        revision: branch, tag or commit; None for the main branch.

    Raises:
        VerificationError: the file arrived damaged twice.
        Exception: whatever huggingface_hub raises.
        OSError: the disk does not take it; or it did not come whole, then without a number.
    """
    path = cache.path(repo_id, name, revision)
    if name.endswith(_TEXT) or (path is not None and path.exists()):
        return
    file = patiently(lambda: _look_up(repo_id, name, revision))
    if file is not None:
        file.fetch()


@dataclass(frozen=True)
class _LargeFile:
    """A file of a commit that the Hub keeps beside git; ``size`` in bytes."""

    repo_id: str
    name: str
    commit: str
    sha256: str
    size: int

    def fetch(self) -> None:
        """See `bring`."""
        from huggingface_hub import constants
        from huggingface_hub.file_download import are_symlinks_supported
        from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

        folder = cache.repository(self.repo_id)
        blob = folder / "blobs" / self.sha256
        link = cache.path(self.repo_id, self.name, self.commit)
        assert link is not None
        # the one that huggingface_hub takes for the same file
        lock = folder.parent / ".locks" / folder.name / f"{self.sha256}.lock"
        with ExitStack() as stack:
            try:
                # without links the cache keeps the content under the file's own name
                target = blob if are_symlinks_supported(constants.HF_HUB_CACHE) else link
                for one in (blob, target, lock):
                    one.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(WeakFileLock(lock))
                if blob.exists() or target.exists():
                    return
                part = _Part(blob.with_name(f"{self.sha256}.incomplete"))
            except OSError:
                return  # huggingface_hub will say what the cache does not take
            if not self._complete(part):
                part = _Part(part.path)
                if not self._complete(part):
                    raise damaged(self.repo_id, self.name)
            if part.is_in_place:
                part.path.replace(target)
                cache.Mark(link).leave(target)

    def _complete(self, part: _Part) -> bool:
        """Fetch what is lacking; whether the whole is right. What is not right is removed."""
        with closing(part):
            require_space(part.path.parent, self.size - part.size)
            if part.size < self.size:
                patiently(_Transfer(self, part).run, reached=lambda: part.size)
            if part.sha256 == self.sha256:
                return True
        part.path.unlink(missing_ok=True)
        return False


def _look_up(repo_id: str, name: str, revision: str | None) -> _LargeFile | None:
    """What the Hub says of a file; None if it is none for us."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import RemoteEntryNotFoundError

    try:
        found = get_hf_file_metadata(hf_hub_url(repo_id, name, revision=revision), **LIBRARY)
    except RemoteEntryNotFoundError:
        return None  # huggingface_hub remembers that there is none
    etag, commit, size = found.etag or "", found.commit_hash or "", found.size or 0
    if (
        _SHA256.fullmatch(etag) is None
        or not names.is_commit(commit)
        or not 0 < size <= constants.MAX_HTTP_DOWNLOAD_SIZE
        or _is_shared(found)
    ):
        return None
    return _LargeFile(repo_id, name, commit, etag, size)


def _is_shared(found: HfFileMetadata) -> bool:
    """Whether another repository in the cache has the file, which huggingface_hub 2 links to."""
    from huggingface_hub import constants

    try:
        from huggingface_hub.utils._shared_blobs import has_shared_blob
    except ImportError:
        return False  # an older or a newer one
    return found.xet_file_data is not None and has_shared_blob(
        xet_hash=found.xet_file_data.file_hash,
        cache_dir=constants.HF_HUB_CACHE,
        expected_size=found.size,
    )


class _Part:
    """What has arrived of a file: its ``size`` in bytes and its ``sha256``.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._digest = hashlib.sha256()
        # neither a link that leads elsewhere nor a pipe: others may write to a cache that is shared
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        self._file = os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0)
        self._state = os.fstat(self._file.fileno())
        if not stat.S_ISREG(self._state.st_mode):
            self._file.close()
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path))
        while chunk := self._file.read(_CHUNK):
            self._count(chunk)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def append(self, piece: bytes) -> None:
        left = memoryview(piece)
        while left:
            left = left[self._file.write(left) :]
        self._count(piece)

    def _count(self, piece: bytes) -> None:
        self._digest.update(piece)
        self.size += len(piece)

    @property
    def is_in_place(self) -> bool:
        """Whether the file is still the one by this name: on some network drives no lock keeps
        another process from beginning anew."""
        try:
            return os.path.samestat(self._state, self.path.lstat())
        except OSError:
            return False

    def close(self) -> None:
        self._file.close()
        if self.size == 0:
            self.path.unlink(missing_ok=True)


class _Transfer:
    """One file's way into its part, in as many tries as it takes."""

    def __init__(self, file: _LargeFile, part: _Part) -> None:
        self._file = file
        self._part = part
        # a server that cannot resume sends everything; what is there is passed over
        self._resumes = True

    def run(self) -> None:
        """One try.

        Raises:
            Exception: whatever huggingface_hub raises.
            OSError: the disk does not take it; or it did not come whole, then without a number.
        """
        from huggingface_hub import constants, hf_hub_url
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            build_hf_headers,
            hf_raise_for_status,
            http_stream_backoff,
        )

        file, part = self._file, self._part
        # compressed on the way, the bytes would be others than Content-Length and Range count
        headers = {**build_hf_headers(**LIBRARY), "Accept-Encoding": "identity"}
        if part.size and self._resumes:
            headers["Range"] = f"bytes={part.size}-"
        with http_stream_backoff(
            "GET",
            # The Hub's own address: each try is sent on to a freshly signed one. The client gives
            # the token to no other host.
            hf_hub_url(file.repo_id, file.name, revision=file.commit),
            headers=headers,
            timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
            # tried again by our caller, which is as patient with the body
            retry_on_exceptions=(),
            retry_on_status_codes=(),
        ) as response:
            if response.status_code != 416:
                hf_raise_for_status(response)
            self._receive(response, self._start(response))
        if part.size != file.size:
            raise OSError(f"it breaks off after {part.size} of {file.size} bytes")

    def _start(self, response: httpx.Response) -> int:
        """The place in the file of the first byte of an answer."""
        if response.status_code == 200:
            length = response.headers.get("content-length", "")
            if length.isdecimal() and int(length) != self._file.size:
                raise OSError(f"{length} bytes are sent instead of {self._file.size}")
            return 0
        span = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        if span is None or (int(span[1]), int(span[2])) != (self._part.size, self._file.size):
            self._resumes = False
            raise OSError("another part is sent than was asked for")
        return self._part.size

    def _receive(self, response: httpx.Response, start: int) -> None:
        """Append what is new of an answer's body."""
        from huggingface_hub.utils import is_tqdm_disabled, tqdm  # type: ignore[attr-defined]

        part, whole = self._part, self._file.size
        level = logging.getLogger("huggingface_hub").getEffectiveLevel()
        with tqdm(  # type: ignore[no-untyped-call]
            desc=self._file.name,
            total=whole,
            initial=start,
            unit="B",
            unit_scale=True,
            disable=is_tqdm_disabled(level),
            name="huggingface_hub.http_get",
        ) as bar:
            for piece in response.iter_bytes():
                known = part.size - start
                start += len(piece)
                if start > whole:
                    raise OSError(f"more than {whole} bytes are sent")
                bar.update(len(piece))
                part.append(piece[known:] if known else piece)
