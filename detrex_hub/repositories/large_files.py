"""Download large files from the Hub. After a killed process, the next one resumes the download.

huggingface_hub downloads into a file with a random name. It removes that file after every error.
Here the bytes go into ``blobs/<sha256>.incomplete`` of its cache. Its older versions resumed there
too, and ``hf cache list`` and ``hf cache prune`` know the file. The bytes stay there after every
error and are not requested again. When the file is complete and its sha256 matches, it becomes the
blob, which `hf_hub_download` finds and links. A mark saves reading it once more.

The bytes come over plain HTTP even if Xet is installed. An unfinished file of Xet would be removed
too, and Xet does not pass on the bytes in order, so they could not be hashed as they arrive.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from detrex_hub.messages import log
from detrex_hub.progress import Progress
from detrex_hub.repositories import converted, hub_cache, names
from detrex_hub.repositories.client import LIBRARY
from detrex_hub.repositories.refusals import damaged
from detrex_hub.retrying import patiently
from detrex_hub.staging import UnwritableError, require_space
from detrex_hub.transfer import Download, PartFile

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

# never large, so no request is needed
_TEXT = (".json", ".md")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def bring(repo_id: str, name: str, revision: str | None, progress: Progress | None) -> None:
    """Put a large file into huggingface_hub's cache, so that `hf_hub_download` finds it there.

    huggingface_hub downloads everything else: files that git itself stores, which are small; files
    of servers that report no sha256; files that the cache already has or cannot take.

    Args:
        repo_id: ``owner/name``.
        name: of the file.
        revision: branch, tag or commit; None for the main branch.
        progress: reports the download; huggingface_hub's own bar if there is none.

    Raises:
        VerificationError: the file arrived damaged twice.
        Exception: any error of huggingface_hub.
        OSError: the disk is full or cannot be written. Without an error number: the download is
            incomplete.
    """
    path = hub_cache.path(repo_id, name, revision)
    if name.endswith(_TEXT) or (path is not None and path.exists()):
        return
    file = patiently(lambda: _look_up(repo_id, name, revision))
    if file is not None:
        file.fetch(progress or _Bar(name))


class _LargeFile(Struct, frozen=True):
    """A file of a commit that the Hub stores outside git; ``size`` in bytes."""

    repo_id: str
    name: str
    commit: str
    sha256: str
    size: int

    def fetch(self, progress: Progress) -> None:
        """See `bring`."""
        from huggingface_hub import constants
        from huggingface_hub.file_download import are_symlinks_supported
        from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

        folder = hub_cache.repository(self.repo_id)
        blob = folder / "blobs" / self.sha256
        link = hub_cache.path(self.repo_id, self.name, self.commit)
        assert link is not None
        # the lock that huggingface_hub uses for the same file
        lock = folder.parent / ".locks" / folder.name / f"{self.sha256}.lock"
        with ExitStack() as stack:
            try:
                # without links the cache stores the content under the file's own name
                target = blob if are_symlinks_supported(constants.HF_HUB_CACHE) else link
                for one in (blob, target, lock):
                    one.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(WeakFileLock(lock))
                if blob.exists() or target.exists():
                    return
                if converted.placed(self.sha256, target):
                    log(f"{self.repo_id}/{self.name}: this machine has converted the same bytes")
                    hub_cache.Mark(link).leave(target)
                    return
                part = PartFile(blob.with_name(f"{self.sha256}.incomplete"))
            except (OSError, UnwritableError):
                return  # huggingface_hub will report why the cache cannot be written
            if not self._complete(part, progress):
                part = PartFile(part.path)
                if not self._complete(part, progress):
                    raise damaged(self.repo_id, self.name)
            if part.is_in_place:
                part.path.replace(target)
                hub_cache.Mark(link).leave(target)

    def _complete(self, part: PartFile, progress: Progress) -> bool:
        """Fetch the missing bytes. Returns whether the whole file is right; removes it if not."""
        with part:
            require_space(part.path.parent, self.size - part.size)
            if part.size < self.size:
                name = self.repo_id.rpartition("/")[2]
                Download(name=name, size=self.size, open=self._ask).into(part, progress)
            if part.sha256() == self.sha256:
                return True
        part.path.unlink(missing_ok=True)
        return False

    @contextmanager
    def _ask(self, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """Request the Hub's own address, which redirects each request to a freshly signed one. The
        client sends the token to no other host."""
        from huggingface_hub import constants, hf_hub_url
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            build_hf_headers,
            hf_raise_for_status,
            http_stream_backoff,
        )

        with http_stream_backoff(
            "GET",
            hf_hub_url(self.repo_id, self.name, revision=self.commit),
            headers={**build_hf_headers(**LIBRARY), **headers},
            timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
            # `Download` retries, also while the body is read
            retry_on_exceptions=(),
            retry_on_status_codes=(),
        ) as response:
            if response.status_code != 416:
                hf_raise_for_status(response)
            yield response


class _Bar:
    """huggingface_hub's own progress bar, which its settings turn off."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._total: int | None = None
        self._bar: Any = None

    def start(self, description: str, total: int | None) -> None:
        self._total = total

    def advance(self, count: int) -> None:
        if self._bar is not None:
            self._bar.update(count)
            return
        from huggingface_hub.utils import is_tqdm_disabled, tqdm  # type: ignore[attr-defined]

        level = logging.getLogger("huggingface_hub").getEffectiveLevel()
        self._bar = tqdm(  # type: ignore[no-untyped-call]
            desc=self._name,
            total=self._total,
            # resumed bytes are shown at once
            initial=count,
            unit="B",
            unit_scale=True,
            disable=is_tqdm_disabled(level),
            name="huggingface_hub.http_get",
        )

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _look_up(repo_id: str, name: str, revision: str | None) -> _LargeFile | None:
    """Look up a file on the Hub; None if it is not downloaded here."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import RemoteEntryNotFoundError

    try:
        found = get_hf_file_metadata(hf_hub_url(repo_id, name, revision=revision), **LIBRARY)
    except RemoteEntryNotFoundError:
        return None  # huggingface_hub records missing files
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
    """Whether another repository in the cache has the file, to which huggingface_hub 2 links."""
    from huggingface_hub import constants

    try:
        from huggingface_hub.utils._shared_blobs import has_shared_blob
    except ImportError:
        return False  # an older or a newer version
    return found.xet_file_data is not None and has_shared_blob(
        xet_hash=found.xet_file_data.file_hash,
        cache_dir=constants.HF_HUB_CACHE,
        expected_size=found.size,
    )
