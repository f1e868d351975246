"""huggingface_hub's client with retries, limits and errors of one line. It is imported on first
use, because the import takes long."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from detrex_hub import __version__
from detrex_hub.errors import HubError
from detrex_hub.progress import Progress
from detrex_hub.redaction import public_url
from detrex_hub.repositories.answers import ask_uncompressed, refuse_wrong
from detrex_hub.repositories.logs import redact_logs
from detrex_hub.repositories.payload import Digest
from detrex_hub.repositories.refusals import explain, plainly
from detrex_hub.retrying import patiently, refuse_long_pauses

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, HfApi

_Result = TypeVar("_Result")

LIBRARY: dict[str, Any] = {"library_name": "detrex-hub", "library_version": __version__}

# seconds without a byte, after which a connection counts as dead
CONNECT_SECONDS = 15.0
ANSWER_SECONDS = 120.0


def hub_api() -> HfApi:
    """huggingface_hub's client with limited waiting times."""
    from huggingface_hub import HfApi

    set_limits()
    return HfApi(**LIBRARY)


def set_limits() -> None:
    """Set the limits of huggingface_hub's session: it does not wait without a limit for an answer,
    does not wait for a day because an answer asks for it, refuses answers by `answers`, and logs no
    secret.

    Call it before each use, because an error creates a new session.
    """
    from huggingface_hub.utils import get_session, httpx  # type: ignore[attr-defined]

    redact_logs()
    session = get_session()
    # the caller chose a session with limits
    if session.timeout == httpx.Timeout(None):
        session.timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
    hooks = session.event_hooks
    if refuse_wrong not in hooks["response"]:
        session.event_hooks = {
            "request": [*hooks["request"], ask_uncompressed],
            "response": [*hooks["response"], refuse_long_pauses, refuse_wrong],
        }


class Remote(Struct, frozen=True):
    """A repository at one of its commits.

    ``files`` maps a name to the digest by which the Hub knows the content: the sha256 of a large
    file, git's id of a small one.
    """

    id: str
    commit: str | None
    private: bool
    files: Mapping[str, str]

    def holds(self, name: str, digest: Digest) -> bool:
        return name in self.files and digest.matches(self.files[name])


class Client:
    """Requests about one repository, as the target of a push."""

    def __init__(self, repo_id: str) -> None:
        self.repo_id = repo_id

    @property
    def name(self) -> str:
        """The repository's name without its owner, which progress shows."""
        return self.repo_id.rpartition("/")[2]

    @property
    def api(self) -> HfApi:
        return hub_api()

    @property
    def url(self) -> str:
        return f"{public_url(self.api.endpoint)}/{self.repo_id}"

    def _ask(self, call: Callable[[], _Result]) -> _Result:
        with plainly(self.repo_id, writing=True):
            return patiently(call)

    def read(self, revision: str | None = None) -> Remote | None:
        """The repository's present state; None if there is none, or none that the token can
        read."""
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        def call() -> Any:
            return self.api.model_info(
                self.repo_id, revision=revision, files_metadata=True, timeout=ANSWER_SECONDS
            )

        try:
            with plainly(self.repo_id, writing=True, revision=revision):
                info = patiently(call)
        except HubError as error:
            cause = error.__cause__
            if isinstance(cause, RepositoryNotFoundError) and not isinstance(cause, GatedRepoError):
                return None
            raise
        files = {
            sibling.rfilename: sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
            for sibling in info.siblings or ()
        }
        return Remote(info.id, info.sha, bool(info.private), files)

    def check_right_to_write(self) -> None:
        """Raise `HubError` unless the token may write to the repository."""
        from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

        def call() -> None:
            try:
                self.api.auth_check(self.repo_id, write=True)
            except RepositoryNotFoundError:
                raise
            except HfHubHTTPError as error:
                # an older Hub does not have this request; the push itself will fail instead
                if error.response.status_code != 404:
                    raise

        self._ask(call)

    def check_card(self, content: str, path: Path) -> None:
        """Raise `HubError` unless the Hub accepts the metadata of a card, which is at a path."""
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            build_hf_headers,
            get_session,
            hf_raise_for_status,
        )

        def call() -> Any:
            response = get_session().post(
                f"{self.api.endpoint}/api/validate-yaml",
                json={"content": content, "repoType": "model"},
                headers=build_hf_headers(**LIBRARY),
                timeout=ANSWER_SECONDS,
            )
            if response.status_code != 400:
                hf_raise_for_status(response)
            errors = response.json().get("errors", [])
            if not errors:
                hf_raise_for_status(response)
            return errors

        problems = [str(error.get("message")) for error in self._ask(call)]
        if problems:
            raise HubError(
                f"{self.repo_id}: the Hub does not accept the card: {' '.join(problems[0].split())}"
                + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""),
                hint=f"Correct the metadata at the top of {path}",
            )

    def create(self, *, private: bool) -> None:
        """Create the repository, unless it exists."""
        self._ask(
            # with None the settings of an organisation may make the repository private
            lambda: self.api.create_repo(self.repo_id, private=private or None, exist_ok=True)
        )

    def upload(
        self,
        files: Mapping[str, Path | bytes],
        digests: Mapping[str, Digest],
        *,
        create_pr: bool,
        progress: Progress,
    ) -> list[Any]:
        """Upload large files before a commit. Returns the commit's operations."""
        from detrex_hub.repositories.upload_progress import Upload

        def call() -> list[Upload]:
            # huggingface_hub marks operations as done, so every attempt needs new ones
            operations = [
                Upload(path_in_repo=name, path_or_fileobj=content)
                for name, content in files.items()
            ]
            for operation in operations:
                operation.title = self.name
                operation.progress = progress
                # the digest is known; otherwise every byte would be read again
                operation.upload_info.sha256 = bytes.fromhex(digests[operation.path_in_repo].sha256)
            self.api.preupload_lfs_files(
                self.repo_id, operations, create_pr=create_pr, free_memory=False
            )
            return operations

        with plainly(self.repo_id, writing=True, file=" and ".join(files)):
            try:
                return call()
            except RuntimeError:
                # The Hub permanently refuses a damaged upload, and huggingface_hub does not repeat
                # it.
                return call()

    def commit(
        self, operations: list[Any], *, message: str, parent: str | None, create_pr: bool
    ) -> CommitInfo:
        """Make a commit without retries.

        Raises:
            Exception: any error of huggingface_hub. The commit may still exist.
        """
        return self.api.create_commit(
            self.repo_id,
            operations,
            commit_message=message,
            parent_commit=parent,
            create_pr=create_pr,
        )

    def pull_requests(self) -> Iterator[int]:
        """The numbers of the user's own open pull requests, newest first."""
        user = self._ask(self.api.whoami)["name"]
        found = self._ask(
            lambda: list(
                self.api.get_repo_discussions(
                    self.repo_id,
                    author=user,
                    discussion_type="pull_request",
                    discussion_status="open",
                )
            )
        )
        return (discussion.num for discussion in found)

    def sha256(self, name: str, revision: str) -> str:
        """The sha256 of a file as the Hub serves it. The file is streamed and not stored."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            build_hf_headers,
            hf_raise_for_status,
            http_stream_backoff,
        )

        url = hf_hub_url(self.repo_id, name, revision=revision)

        def call() -> str:
            digest = hashlib.sha256()
            with http_stream_backoff(
                "GET",
                url,
                headers=build_hf_headers(**LIBRARY),
                timeout=ANSWER_SECONDS,
                # retried here, so that reading the body is retried too
                retry_on_exceptions=(),
                retry_on_status_codes=(),
            ) as response:
                hf_raise_for_status(response)
                for chunk in response.iter_bytes():
                    digest.update(chunk)
            return digest.hexdigest()

        with plainly(self.repo_id, writing=False, file=name, revision=revision):
            return patiently(call)


def logged_in_user() -> str:
    """The name of the user who owns the token.

    Raises:
        HubError: there is no token, or the Hub does not accept it.
    """
    api = hub_api()
    with plainly(api.endpoint, writing=True):
        return str(patiently(api.whoami)["name"])


def file_on_hub(repo_id: str, name: str, *, revision: str | None) -> tuple[int | None, str | None]:
    """The size in bytes and the sha256 of a file of any repository; None if the Hub does not state
    them. Nothing is downloaded.

    Raises:
        HubError: there is no such file, or the token may not read it.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    set_limits()
    url = hf_hub_url(repo_id, name, revision=revision)
    with plainly(repo_id, writing=False, file=name, revision=revision):
        found = patiently(lambda: get_hf_file_metadata(url, timeout=ANSWER_SECONDS, **LIBRARY))
    return found.size, found.etag if len(found.etag or "") == 64 else None


def require_token(repo_id: str) -> None:
    """Raise `HubError` if there is no valid token."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import LocalTokenNotFoundError

    with plainly(repo_id, writing=True):
        # the token of a trusted publisher is requested now
        token = get_token()
    if token is None:
        error = explain(LocalTokenNotFoundError(), repo_id, writing=True)
        assert error is not None
        raise error
