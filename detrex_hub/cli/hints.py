"""Hints that several commands print."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detrex_hub.conversion import Converted
    from detrex_hub.repositories import PushResult

SYNTHETIC = "These are seeded numbers in the original's shapes, not the real weights."


def of_conversion(done: Converted) -> Iterator[str]:
    """Hints for the user on the converted weights."""
    conversion = done.conversion
    yield from conversion.notes
    if conversion.assumption is not None:
        yield conversion.assumption
    if conversion.another_file:
        yield (
            f"This is not the published file of {conversion.name}: its sha256 differs. "
            "The card states no accuracy."
        )
    if conversion.synthetic:
        yield SYNTHETIC


def of_push(result: PushResult | None) -> Iterator[str]:
    """Hints for the user on the pushed weights."""
    if result is None:
        return
    yield from result.notes
    if result.non_commercial:
        yield f"{result.repo_id} is not for commercial use: its licence is {result.license}"
    if result.assumed:
        from detrex_hub.architectures.declared import as_options

        yield (
            f"{result.repo_id} has assumed values that no file shows: {as_options(result.assumed)}"
        )
