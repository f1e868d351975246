"""Lines about a plan: moves folded into patterns, drops with their reasons."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from detrex_hub.mapping import Computed, Fresh, Move
from detrex_hub.mapping.fold import Pair, fold, fold_keys

if TYPE_CHECKING:
    from detrex_hub.conversion import Conversion


def plan_lines(conversion: Conversion) -> Iterator[str]:
    plan = conversion.plan
    yield f"{conversion.name} is {conversion.architecture.name} ({conversion.layout})"
    yield f"  because of {', '.join(conversion.because)}"
    yield f"  with {conversion.architecture.describe()}"
    yield f"moves {len(plan.moves)} tensors"
    for pattern in fold(_pair(move) for move in plan.moves.values()):
        note = f"  [{pattern.note}]" if pattern.note else ""
        yield f"  {' + '.join(pattern.sources)} -> {pattern.target}  x{pattern.tensors}{note}"
    if plan.dropped:
        yield f"drops {len(plan.dropped)} tensors"
    reasons: dict[str, list[str]] = {}
    for key, reason in plan.dropped.items():
        reasons.setdefault(reason, []).append(key)
    for reason, keys in reasons.items():
        for pattern in fold_keys(keys):
            yield f"  {pattern.target}  x{pattern.tensors}  {reason}"
    if plan.ties:
        yield f"stores {len(plan.ties)} tied keys once"
        for pattern in fold(Pair((stored,), alias) for alias, stored in plan.ties.items()):
            yield f"  {pattern.target} is {pattern.sources[0]}"
    if conversion.overrides.lazy:
        yield "sets"
    for path, value in conversion.overrides.lazy.items():
        yield f"  {path} = {value!r}"
    if conversion.assumption is not None:
        yield f"assumes: {conversion.assumption}"
    for note in conversion.notes:
        yield f"note: {note}"


def _pair(move: Move) -> Pair:
    """A move as a line of a plan: the sources, and the note."""
    sources: list[str] = []
    notes: list[str] = []
    for piece in move.pieces:
        match piece:
            case Fresh():
                sources.append("fresh rows")
            case Computed(operation=operation):
                sources += piece.of or ("nothing",)
                notes.append(f"computed: {operation}")
            case _:
                sources.append(piece.key)
                notes += (f"rows {start}..{stop - 1}" for start, stop in piece.rows or ())
    return Pair(tuple(sources), move.target, ", ".join(notes))
