"""The fate of each tensor, folded to patterns."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from detrex_hub.card.markdown import Markdown, clean, code, joined, md, number
from detrex_hub.mapping.fold import Pair, Pattern, fold, fold_keys
from detrex_hub.records import ComputedTensor, FreshRows, RecordedPlan, TakenRows
from detrex_hub.specs import TORCH_DTYPES, TensorSpec

_MOST_PATTERNS = 80
# pieces of one tensor
_MOST_PIECES = 16


def _element_types(moves: Iterable[Pair], specs: Mapping[str, TensorSpec]) -> str:
    found = {specs[key].dtype for one in moves for key in one.sources if key in specs}
    return " and ".join(sorted(name for name, ours in TORCH_DTYPES.items() if ours in found))


def plan_values(plan: RecordedPlan | None) -> dict[str, Any]:
    """The fate of each tensor, and the types of the tensors that were read."""
    if plan is None:
        return {"planned": False, "types": ""}
    specs = plan.specs()
    moves = list(_moves(plan, specs))
    patterns = fold(moves)
    moved = [one for one in patterns if not one.same_name or one.note]
    return {
        "planned": True,
        "types": _element_types(moves, specs),
        "moved": _rows(moved),
        "how": "Rows or operation" if any(_COMPUTED in one.note for one in moved) else "Rows",
        "fate": _fate(patterns, moved, len(plan.dropped)),
        "dropped": list(_dropped(plan)),
        "ties": _rows(fold(_ties(plan))),
    }


def _fate(
    patterns: Sequence[Pattern],
    moved: Sequence[Pattern],
    dropped: int,
) -> str:
    """How many tensors were renamed, computed, kept and dropped."""
    total, changed = sum(one.tensors for one in patterns), sum(one.tensors for one in moved)
    computed = sum(one.tensors for one in patterns if _COMPUTED in one.note)
    counts = {
        "were renamed or cut": changed - computed,
        "were computed": computed,
        "keep their names": total - changed,
        "of the original were dropped": dropped,
    }
    return "Tensors: " + ", ".join(f"{number(n)} {what}" for what, n in counts.items() if n)


def _moves(plan: RecordedPlan, specs: Mapping[str, TensorSpec]) -> Iterator[Pair]:
    """Every move of a plan.

    Raises:
        ConfigError: one is malformed.
    """
    for target in plan.moves:
        sources: list[str] = []
        notes: list[str] = []
        for piece in plan.pieces(target):
            match piece:
                case str():
                    sources.append(piece)
                case TakenRows(key=key, rows=rows):
                    sources.append(key)
                    notes.append(_rows_taken(rows, specs.get(key)))
                case ComputedTensor(op=name, of=of, args=parameters):
                    sources += of
                    notes.append(f"{_COMPUTED}{_operation(name, parameters)}")
                case FreshRows(fresh=count, seed=seed):
                    notes.append(f"{count} fresh rows, seed {seed}")
        yield Pair(tuple(sources), target, ", ".join(dict.fromkeys(notes)))


_COMPUTED = "computed: "


def _operation(name: str, parameters: Mapping[Any, Any]) -> str:
    """An operation with its parameters. The shape is left out, because the result shows it."""
    shown = ", ".join(
        f"{parameter} {value}"
        for parameter, value in sorted(parameters.items())
        if parameter != "shape"
    )
    return f"{name} ({shown})" if shown else name


def _rows_taken(rows: Sequence[tuple[int, int]], spec: TensorSpec | None) -> str:
    runs = [f"{start}..{stop - 1}" if stop - start > 1 else str(start) for start, stop in rows]
    return f"rows {', '.join(runs)}{f' of {spec.shape[0]}' if spec and spec.shape else ''}"


def _dropped(plan: RecordedPlan) -> Iterator[tuple[str, Markdown, int]]:
    """(reason, folded keys, number of keys) of dropped tensors, up to a card's limit."""
    by_reason: dict[str, list[str]] = {}
    for key, reason in plan.dropped.items():
        by_reason.setdefault(clean(reason), []).append(key)
    for reason, keys in sorted(by_reason.items())[:_MOST_PATTERNS]:
        yield reason, as_codes(one.target for one in fold_keys(keys)), len(keys)


def _ties(plan: RecordedPlan) -> Iterator[Pair]:
    for alias, stored in plan.ties.items():
        yield Pair((clean(stored),), alias)


def _rows(patterns: Iterable[Pattern]) -> list[tuple[Markdown, str, str, int]]:
    """(sources, target, note, tensors) of patterns, up to a card's limit."""
    return [
        (_sum(one.sources) or md("new"), one.target, one.note, one.tensors)
        for one in itertools.islice(patterns, _MOST_PATTERNS)
    ]


def _sum(keys: Sequence[str]) -> Markdown:
    shown = [code(key) for key in keys[:_MOST_PIECES]]
    more = len(keys) - _MOST_PIECES
    return joined(" + ", [*shown, f"{more} more"] if more > 0 else shown)


def as_codes(keys: Iterable[str]) -> Markdown:
    shown = [code(key) for key in keys]
    more = len(shown) - _MOST_PATTERNS
    codes = joined(", ", shown[:_MOST_PATTERNS])
    return md("{codes} and {more} more", codes=codes, more=more) if more > 0 else codes
