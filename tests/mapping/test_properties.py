"""Properties of all templates, all tables of rules and all state dicts."""

from hypothesis import given, settings
from hypothesis import strategies as st

from detrex_hub.mapping import (
    Concat,
    Drop,
    Piece,
    Rename,
    Split,
    collapse,
    inverse,
    plan,
    source_specs,
    template,
)
from detrex_hub.mapping.fold import fold_keys
from detrex_hub.specs import TensorSpec

steady = settings(derandomize=True, max_examples=60, deadline=None)

NAMES = ("i", "stage", "block")
WORDS = st.from_regex(r"[a-z_][a-z0-9_]{0,7}", fullmatch=True)


@st.composite
def sides(draw):
    """Two templates with the same variables, and values for them."""
    parts = draw(st.lists(st.sampled_from((*NAMES, "word")), min_size=1, max_size=4, unique=True))
    last = draw(st.sampled_from(("", "*", "**")))
    shifts = {name: draw(st.integers(0, 3)) for name in NAMES}

    def side(shifted):
        segments = [
            draw(WORDS)
            if part == "word"
            else f"{draw(WORDS)}{{{part}{f'+{shifts[part]}' if shifted and shifts[part] else ''}}}"
            for part in parts
        ]
        return ".".join(segments + ([last] if last else []))

    bound = {name: draw(st.integers(0, 99_999)) for name in NAMES if name in parts}
    if last:
        bound["*0"] = draw(WORDS) if last == "*" else ".".join(draw(st.lists(WORDS, min_size=1)))
    return side(False), side(True), bound


@steady
@given(sides())
def test_matching_returns_the_filled_in_values(case):
    source, target, bound = case
    for text in (source, target):
        assert template(text).match(template(text).fill(bound)) == bound


@steady
@given(sides())
def test_a_rename_and_its_inverse_change_nothing(case):
    source, target, bound = case
    rule = Rename(source, target)
    assert rule.inverse().inverse() == rule
    key = template(source).fill(bound)
    there = plan((rule,), {key: TensorSpec("F32", (2,))}, mapper="m")
    (moved,) = there.moves
    back = plan(inverse((rule,)), there.specs, mapper="m")
    assert [*back.moves] == [key]
    assert back.moves[key].pieces == (Piece(moved),)


@st.composite
def tables(draw):
    """A table of rules, and a state dict that it fits: key -> rows."""
    rules, state = [], {}
    kinds = st.sampled_from((Rename, Concat, Split, Drop))
    for number, kind in enumerate(draw(st.lists(kinds, min_size=1, max_size=6))):
        here, there, parts = f"s{number}", f"t{number}", draw(st.integers(1, 3))
        if kind is Rename:
            rules.append(Rename(f"{here}.{{i}}.*", f"{there}.{{i+1}}.*"))
            keys = [f"{here}.{{i}}.w"]
        elif kind is Concat:
            names = tuple(f"{here}.{part}.{{i}}.w" for part in "abc"[:parts])
            rules.append(Concat(names, f"{there}.{{i}}.w"))
            keys = [*names]
        elif kind is Split:
            names = tuple(f"{there}.{part}.{{i}}.w" for part in "abc"[:parts])
            rules.append(Split(f"{here}.{{i}}.w", names))
            keys = [f"{here}.{{i}}.w"]
        else:
            rules.append(Drop(f"{here}.**", "not needed"))
            keys = [f"{here}.{{i}}.w"]
        for i in draw(st.lists(st.integers(0, 12), min_size=1, max_size=3, unique=True)):
            rows = draw(st.integers(1, 4)) * (parts if kind is Split else 1)
            for text in keys:
                key = template(text).fill({"i": i})
                state[key] = [f"{key} row {row}" for row in range(rows)]
    order = draw(st.permutations([*state]))
    return tuple(rules), {key: state[key] for key in order}


def specs_of(state):
    return {key: TensorSpec("F32", (len(rows), 5)) for key, rows in state.items()}


def carried_out(made, state):
    """Apply a plan to the rows of a state dict."""
    return {
        target: [
            row
            for piece in move.pieces
            for start, stop in piece.rows or ((0, None),)
            for row in state[piece.key][start:stop]
        ]
        for target, move in made.moves.items()
    }


@steady
@given(tables())
def test_every_row_is_moved_once_or_dropped_with_a_reason(case):
    rules, state = case
    made = plan(rules, specs_of(state), mapper="m")
    moved = [row for rows in carried_out(made, state).values() for row in rows]
    dropped = [row for key in made.dropped for row in state[key]]
    assert sorted(moved + dropped) == sorted(row for rows in state.values() for row in rows)
    assert set(made.dropped.values()) <= {"not needed"}
    assert not {piece.key for move in made.moves.values() for piece in move.pieces} & {
        *made.dropped
    }
    for target, move in made.moves.items():
        assert move.spec.shape[0] == len(carried_out(made, state)[target])


@steady
@given(tables())
def test_a_plan_and_its_export_are_the_identity(case):
    rules, state = case
    there = plan(rules, specs_of(state), mapper="m")
    moved = carried_out(there, state)
    back = plan(inverse(rules), specs_of(moved), mapper="m")
    kept = {key: rows for key, rows in state.items() if key not in there.dropped}
    assert carried_out(back, moved) == kept
    assert back.specs == specs_of(kept)
    assert source_specs(rules, there.specs) == specs_of(kept)


@steady
@given(st.sets(st.text(alphabet="ab.0159²٣\x1b\n", max_size=12), max_size=12))
def test_folding_keys_loses_no_key(keys):
    assert sum(pattern.tensors for pattern in fold_keys(keys)) == len(keys)
    assert len(collapse(keys)) <= len(keys)
    assert bool(collapse(keys)) == bool(keys)


def test_very_long_keys_are_shown_unfolded():
    keys = ["a" * 301 + ".0", "a" * 301 + ".1", "0." * 25 + "a", "1." * 25 + "a"]
    assert collapse(keys) == sorted(keys)
    assert {pattern.target for pattern in fold_keys(keys[2:])} == {*keys[2:]}
