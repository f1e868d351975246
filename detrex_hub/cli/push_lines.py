"""Lines about the result of a push."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detrex_hub.repositories import PushResult


def push_lines(result: PushResult) -> Iterator[str]:
    yield f"{outcome(result)}: {result.url}"
    for name in result.changed:
        yield f"  {name}"


def outcome(result: PushResult) -> str:
    """The result in a word or two."""
    if not result.changed:
        return "unchanged"
    if result.dry_run:
        return "would be created" if result.created else "would change"
    if result.pull_request is not None:
        return "pull request"
    return "created" if result.created else "pushed"
