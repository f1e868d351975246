"""The results of a push and a fetch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace


class PushResult(Struct, frozen=True, kw_only=True):
    """The result of a push. With ``dry_run``, the result that a push would have.

    ``url`` is the repository's or the pull request's page, or a folder's path. ``commit`` is the
    commit with the files; None for a folder or if nothing was pushed. ``changed`` are the new and
    different files; if there are none, nothing was done. ``created`` says whether the repository is
    new. ``license`` is the card's.
    ``collection`` is the slug of the collection that lists it. ``assumed``
    are facts that nothing stated when the weights were converted, with the assumed values.
    ``notes`` are those of the conversion of a user's own checkpoint, one line each.
    """

    repo_id: str
    url: str
    commit: str | None
    changed: tuple[str, ...]
    created: bool
    dry_run: bool
    pull_request: int | None = None
    license: str | None = None
    collection: str | None = None
    notes: tuple[str, ...] = ()
    assumed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def non_commercial(self) -> bool:
        """Whether the licence forbids commercial use."""
        return "-nc" in (self.license or "")

    def to_json(self) -> dict[str, Any]:
        return {
            "repo_id": self.repo_id,
            "url": self.url,
            "commit": self.commit,
            "changed": list(self.changed),
            "created": self.created,
            "dry_run": self.dry_run,
            "pull_request": self.pull_request,
            "license": self.license,
            "collection": self.collection,
            "non_commercial": self.non_commercial,
            "notes": list(self.notes),
            "assumed": dict(self.assumed),
        }

    def at(self, commit: str, *, url: str, pull_request: int | None) -> PushResult:
        return replace(self, commit=commit, url=url, pull_request=pull_request)


class Fetched(Struct, frozen=True):
    """Files of a repository on this machine.

    ``commit`` is None for a folder, which has no history. ``files`` maps each requested name to its
    path. Missing optional files are not in it.
    """

    folder: Path
    commit: str | None
    files: dict[str, Path]
