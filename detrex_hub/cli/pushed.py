"""How the result of a push is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detrex_hub.repositories import PushResult


def as_json(result: PushResult) -> dict[str, Any]:
    return {
        "repo_id": result.repo_id,
        "url": result.url,
        "commit": result.commit,
        "changed": list(result.changed),
        "created": result.created,
        "dry_run": result.dry_run,
        "pull_request": result.pull_request,
        "license": result.license,
        "non_commercial": result.non_commercial,
    }


def as_lines(result: PushResult) -> Iterator[str]:
    yield f"{outcome(result)}: {result.url}"
    for name in result.changed:
        yield f"  {name}"


def warning(result: PushResult) -> str | None:
    """What whoever publishes these weights has to know of their licence."""
    if not result.non_commercial:
        return None
    return f"{result.repo_id} is not for commercial use: its licence is {result.license}"


def outcome(result: PushResult) -> str:
    """What happened, in a word or two."""
    if not result.changed:
        return "unchanged"
    if result.dry_run:
        return "would be created" if result.created else "would change"
    if result.pull_request is not None:
        return "pull request"
    return "created" if result.created else "pushed"
