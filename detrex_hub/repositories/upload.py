"""Push to the Hub: one commit, made once, read back and compared."""

from __future__ import annotations

import logging
import time

from msgspec.structs import replace

from detrex_hub.errors import HubError, VerificationError
from detrex_hub.progress import Progress, Silent
from detrex_hub.records import CARD, SIGNATURE, read_bytes
from detrex_hub.repositories.client import Client, Remote, require_token
from detrex_hub.repositories.collections import add_to_collection
from detrex_hub.repositories.fetching import fetch
from detrex_hub.repositories.payload import Files
from detrex_hub.repositories.push_options import PushOptions
from detrex_hub.repositories.refusals import explain
from detrex_hub.repositories.result import PushResult
from detrex_hub.retrying import TRIES, is_passing, pause_after

log = logging.getLogger(__name__)


def push_to_hub(
    payload: Files,
    repo_id: str,
    options: PushOptions,
    *,
    message: str,
    progress: Progress | None,
) -> PushResult:
    """Push files as one commit, and list the repository in a collection if the options name one.

    Args:
        payload: the files.
        repo_id: ``owner/name``.
        options: those of the user.
        message: the commit's title, unless the options have one.
        progress: reports uploads.

    Raises:
        HubError, VerificationError: as `detrex_hub.push`.
    """
    shown = progress or Silent()
    try:
        done = _commit(payload, repo_id, options, options.message or message, shown)
    finally:
        shown.finish()
    if options.collection is None or options.dry_run:
        return done
    slug = add_to_collection(options.collection, done.repo_id, private=options.private)
    return replace(done, collection=slug)


def _commit(
    payload: Files, repo_id: str, options: PushOptions, message: str, progress: Progress
) -> PushResult:
    require_token(repo_id)
    client = Client(repo_id)
    before = client.read()
    if before is not None and before.id != repo_id:
        log.warning("%s was moved to %s", repo_id, before.id)
        client = Client(before.id)
    check_target(client, before, private=options.private, create_pr=options.create_pr)
    payload = payload.addressed_to(client.repo_id)
    client.check_card(payload.card(), payload.folder / CARD)
    payload = payload.signed(client.repo_id, options.sign_key, signature_of(before))
    changed = _changed(payload, before)
    if changed and before is not None:
        payload.refuse_to_unsign(before.files, before.id)
    result = PushResult(
        repo_id=client.repo_id,
        url=client.url,
        commit=before.commit if before is not None else None,
        changed=changed,
        created=before is None,
        dry_run=options.dry_run,
    )
    if not changed or options.dry_run:
        return result
    if before is None:
        client.create(private=options.private)
        before = client.read()
        if before is None:
            raise HubError(
                f"{client.repo_id} was created, but the Hub does not show it yet",
                hint="Run the same command again in a minute",
            )
    pushed = _Push(client, payload, message, options.create_pr, progress)
    try:
        commit, number = pushed.run(before)
    except HubError as error:
        if result.created:
            raise HubError(
                f"{error.message}. The repository was created and is still empty",
                hint=error.hint,
            ) from error
        raise
    try:
        _read_back(client, payload, changed, commit)
    except HubError as error:
        raise HubError(
            f"{error.message}. Commit {commit[:12]} was made, but could not be checked",
            hint=f"Compare it later: detrex-hub verify {client.repo_id}@{commit[:12]}",
        ) from error
    url = client.url if number is None else f"{client.url}/discussions/{number}"
    return result.at(commit, url=url, pull_request=number)


def check_target(client: Client, remote: Remote | None, *, private: bool, create_pr: bool) -> None:
    """Refuse a repository that would not accept a push.

    Raises:
        HubError: it is public and should be private, or the token may not write there.
    """
    if remote is None:
        if create_pr:
            raise HubError(
                f"{client.repo_id} does not exist, so a pull request cannot be opened there",
                hint="Push without --create-pr to create it, or check the name",
            )
        return
    if private and not remote.private:
        raise HubError(
            f"{remote.id} exists and is public, so a push there would not be private",
            hint=f"Make it private at {client.url}/settings, or push without --private",
        )
    if not create_pr:
        client.check_right_to_write()


def signature_of(remote: Remote | None) -> bytes | None:
    """The signature in a repository; None where there is none.

    Raises:
        HubError: it could not be downloaded.
    """
    if remote is None or SIGNATURE not in remote.files:
        return None
    path = fetch(remote.id, [SIGNATURE], revision=remote.commit).files[SIGNATURE]
    return read_bytes(path, where=f"{remote.id}/{SIGNATURE}")


def _changed(payload: Files, remote: Remote | None) -> tuple[str, ...]:
    return tuple(
        name
        for name, digest in payload.digests.items()
        if remote is None or not remote.holds(name, digest)
    )


class _Push:
    """One commit. It is made at most once, even if answers are lost."""

    def __init__(
        self,
        client: Client,
        payload: Files,
        message: str,
        create_pr: bool,
        progress: Progress,
    ) -> None:
        self.client = client
        self.payload = payload
        self.message = message
        self.create_pr = create_pr
        self.progress = progress

    def run(self, before: Remote) -> tuple[str, int | None]:
        """Commit on top of ``before``.

        Returns:
            the commit with the files, and the number of its pull request, if there is one.
        """
        if self.create_pr and (found := self._pull_request()) is not None:
            return found
        base = before
        for tried in range(1, TRIES + 1):
            try:
                return self._commit_on(base)
            except HubError:
                raise
            except Exception as error:
                after = self._look_again()
                if (done := self._is_done(after)) is not None:
                    return done
                pause = 0.0 if _is_conflict(error) else pause_after(error, tried)
                if (pause is None and not _is_unclear(error)) or tried == TRIES:
                    raise self._refusal(error) from error
                self._refuse_to_overwrite(before, after, error)
                log.warning("the commit was not made (%s); trying again", type(error).__name__)
                time.sleep(pause or 0.0)
                base = after
        raise AssertionError("unreachable")

    def _commit_on(self, base: Remote) -> tuple[str, int | None]:
        files = {name: self.payload.contents[name] for name in _changed(self.payload, base)}
        # the only output of an upload through Xet
        self.progress.start(f"pushing {self.client.name}", None)
        operations = self.client.upload(
            files, self.payload.digests, create_pr=self.create_pr, progress=self.progress
        )
        # the last call that can stop a job: the rest is done as a whole
        self.progress.start(f"committing {self.client.name}", None)
        made = self.client.commit(
            operations, message=self.message, parent=base.commit, create_pr=self.create_pr
        )
        return made.oid, made.pr_num

    def _look_again(self) -> Remote:
        after = self.client.read()
        if after is None:
            raise HubError(
                f"{self.client.repo_id} was deleted during the push", hint=f"See {self.client.url}"
            )
        return after

    def _is_done(self, after: Remote) -> tuple[str, int | None] | None:
        """The commit and the number of its pull request, if it was made although its answer was
        lost."""
        if self.create_pr:
            return self._pull_request()
        if not _changed(self.payload, after) and after.commit is not None:
            return after.commit, None
        return None

    def _pull_request(self) -> tuple[str, int] | None:
        for number in self.client.pull_requests():
            remote = self.client.read(f"refs/pr/{number}")
            if remote is not None and remote.commit and not _changed(self.payload, remote):
                return remote.commit, number
        return None

    def _refuse_to_overwrite(self, before: Remote, after: Remote, error: Exception) -> None:
        touched = [
            name for name in self.payload.digests if before.files.get(name) != after.files.get(name)
        ]
        if touched:
            raise HubError(
                f"{self.client.repo_id}: {', '.join(touched)} changed during the push; "
                "nothing of yours was pushed",
                hint=f"Look at {self.client.url}/commits/main, then run the same command again "
                "to commit on top",
            ) from error

    def _refusal(self, error: Exception) -> Exception:
        return explain(error, self.client.repo_id, writing=True) or error


def _is_conflict(error: Exception) -> bool:
    return getattr(getattr(error, "response", None), "status_code", None) in (409, 412)


def _is_unclear(error: Exception) -> bool:
    """Whether the commit may exist although its answer cannot be read."""
    return is_passing(error) or (isinstance(error, ValueError) and not hasattr(error, "response"))


def _read_back(client: Client, payload: Files, changed: tuple[str, ...], commit: str) -> None:
    """Compare the Hub's listed and served files with the folder."""
    remote = client.read(commit)
    wrong = list(_changed(payload, remote))
    for name in changed:
        # a second attempt, because the network can cause a single wrong byte
        if name not in wrong and not any(
            client.sha256(name, commit) == payload.digests[name].sha256 for _ in range(2)
        ):
            wrong.append(name)
    if wrong:
        raise VerificationError(
            f"{client.repo_id}: {', '.join(wrong)} on the Hub differ from what was pushed",
            hint=f"Do not use commit {commit[:12]}; run the same command again",
        )
