"""The planner: rules and specs in, every move and drop out, before any tensor is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from detrex_hub.errors import MappingError
from detrex_hub.mapping.operations import Filled, Join, Operation, Portion
from detrex_hub.mapping.rules import (
    Compute,
    Concat,
    Drop,
    Fill,
    Fresh,
    Rename,
    RowRanges,
    Rows,
    Rule,
    Split,
    Take,
    loses_numbers,
    sources,
)
from detrex_hub.mapping.templates import Bindings, collapse, template
from detrex_hub.specs import TensorSpec


class Piece(Struct, frozen=True):
    """A source tensor, or some of its rows (half-open ranges along dimension 0, in order)."""

    key: str
    rows: RowRanges | None = None


class Computed(Struct, frozen=True):
    """A tensor that an operation computes from whole source tensors. ``spec`` is that of the
    result."""

    operation: Operation
    of: tuple[str, ...]
    spec: TensorSpec


class Move(Struct, frozen=True):
    """The source of one target tensor: its pieces, concatenated along dimension 0."""

    target: str
    spec: TensorSpec
    pieces: tuple[Piece | Computed | Fresh, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """The source keys that it reads, in order."""
        found: list[str] = []
        for piece in self.pieces:
            match piece:
                case Piece():
                    found.append(piece.key)
                case Computed():
                    found += piece.of
        return tuple(found)

    def reading(self, stored: Mapping[str, str]) -> Move:
        """The same move with other source keys, if ``stored`` has one for a key."""

        def read(piece: Piece | Computed | Fresh) -> Piece | Computed | Fresh:
            match piece:
                case Piece():
                    return replace(piece, key=stored.get(piece.key, piece.key))
                case Computed():
                    of = tuple(stored.get(key, key) for key in piece.of)
                    return replace(piece, of=of)
                case _:
                    return piece

        return replace(self, pieces=tuple(map(read, self.pieces)))


class ConversionPlan(Struct, frozen=True):
    """The target of every source key.

    ``moves`` by target key, ``dropped`` as source key -> reason, ``ties`` as alias -> the target
    key under which the shared tensor is stored, ``twins`` the moves of those aliases that have a
    source of their own: their bytes must equal the stored tensor's.
    """

    mapper: str
    moves: dict[str, Move]
    dropped: dict[str, str]
    ties: dict[str, str] = {}
    twins: dict[str, Move] = {}

    @property
    def computed(self) -> dict[str, Move]:
        """The moves with a computed piece."""
        return {
            target: move
            for target, move in self.moves.items()
            if any(isinstance(piece, Computed) for piece in move.pieces)
        }

    @property
    def specs(self) -> dict[str, TensorSpec]:
        """The state dict of the model, with aliases."""
        stored = {key: move.spec for key, move in self.moves.items()}
        # an alias with its own source must have the same shape, which the caller proves
        return stored | {
            alias: self.twins[alias].spec if alias in self.twins else stored[key]
            for alias, key in self.ties.items()
        }

    def reading(self, stored: Mapping[str, str]) -> ConversionPlan:
        """The same plan for a source that holds the tensors of some keys under other keys.

        Args:
            stored: absent source key -> the key that holds its tensor.
        """
        if not stored:
            return self
        moves = {target: move.reading(stored) for target, move in self.moves.items()}
        used = {*stored, *stored.values()}
        dropped = {key: reason for key, reason in self.dropped.items() if key not in used}
        return replace(self, moves=moves, dropped=dropped)

    def below(self, prefix: str, outside: Mapping[str, str]) -> ConversionPlan:
        """The same plan for a source whose keys have a prefix.

        Args:
            prefix: the prefix of each key.
            outside: further keys of the source, with the reason why they are dropped.
        """
        used = {
            key
            for moves in (self.moves, self.twins)
            for move in moves.values()
            for key in move.sources
        }
        names = {key: prefix + key for key in used}
        return replace(
            self,
            moves={target: move.reading(names) for target, move in self.moves.items()},
            dropped={prefix + key: reason for key, reason in self.dropped.items()} | dict(outside),
            twins={target: move.reading(names) for target, move in self.twins.items()},
        )

    def tied(self, groups: Iterable[tuple[str, ...]]) -> ConversionPlan:
        """The same plan with each group of target keys stored once, under its first moved key."""
        moves, twins, ties = dict(self.moves), dict(self.twins), dict(self.ties)
        for group in groups:
            present = [key for key in group if key in moves]
            if not present:
                continue
            stored = present[0]
            for alias in group:
                if alias == stored:
                    continue
                ties[alias] = stored
                twin = moves.pop(alias, None)
                if twin is not None and twin.pieces != moves[stored].pieces:
                    twins[alias] = twin
        return ConversionPlan(self.mapper, moves, self.dropped, ties, twins)


def plan(
    rules: Iterable[Rule],
    specs: Mapping[str, TensorSpec],
    *,
    mapper: str,
    ignore: Iterable[str] = (),
) -> ConversionPlan:
    """Find the one rule of every key, and report all problems at once.

    Args:
        rules: the table, in any order.
        specs: the source state dict.
        mapper: the table's name, for messages.
        ignore: keys that may stay without a rule.

    Raises:
        MappingError: keys without a rule, with several rules or with the same target, rules that
            match nothing although they are not optional, and shapes that do not fit a rule.
    """
    rules = tuple(rules)
    texts = [(number, text) for number, rule in enumerate(rules) for text in sources(rule)]
    fills = [(number, rule.like) for number, rule in enumerate(rules) if isinstance(rule, Fill)]
    found = [*_matching(specs, texts)]
    filled = [*_matching(specs, fills)]
    matched = {(number, text) for _, number, text, _ in (*found, *filled)}
    matches: dict[str, list[tuple[int, Bindings]]] = {}
    for key, number, _, bound in found:
        matches.setdefault(key, []).append((number, bound))

    made = _Moves(specs)
    for key, ((number, bound), *_) in matches.items():
        made.add(key, rules[number], bound)
    made.join_parts()
    for key, number, _, bound in filled:
        made.fill(key, rules[number], bound)

    problems = _Problems(mapper)
    problems.add(
        "several rules for", collapse(key for key, several in matches.items() if len(several) > 1)
    )
    problems.add(
        "no key for the rule",
        sorted(
            text
            for number, text in (*texts, *fills)
            if (number, text) not in matched and not rules[number].optional
        ),
    )
    accounted = matches.keys() | made.operands | {*ignore}
    problems.add("no rule for", collapse(key for key in specs if key not in accounted))
    problems.add("several keys for the target", collapse(made.collisions))
    problems.add("wrong shape of", sorted(made.misfits))
    problems.raise_if_any()
    return ConversionPlan(mapper, made.moves, made.dropped)


class _Moves:
    """The moves that rules make of a state dict, and what does not fit.

    ``operands`` are keys that a `Compute` rule needs beside its own. ``collisions`` are targets of
    several keys. ``misfits`` name keys whose shape does not fit their rule.
    """

    def __init__(self, specs: Mapping[str, TensorSpec]) -> None:
        self._specs = specs
        self.moves: dict[str, Move] = {}
        self.dropped: dict[str, str] = {}
        self.operands: set[str] = set()
        self.collisions: list[str] = []
        self.misfits: list[str] = []
        # by target: the rule, and the key of each of its parts
        self._parts: dict[str, tuple[Concat, dict[int, str]]] = {}

    def add(self, key: str, rule: Rule, bound: Bindings) -> None:
        """Apply a rule to a key that it matches."""
        match rule:
            case Drop():
                self.dropped[key] = rule.reason
            case Rename():
                self._move(template(rule.target).fill(bound), self._specs[key], (Piece(key),))
            case Take():
                self._take(key, rule, bound)
            case Compute():
                others = tuple(template(text).fill(bound) for text in rule.using)
                self.operands.update(others)
                self._compute(rule.operation, (key, *others), template(rule.target).fill(bound))
            case Split():
                self._split(key, rule, bound)
            case Concat():
                self._collect(key, rule, bound)

    def fill(self, like: str, rule: Rule, bound: Bindings) -> None:
        """Add the constant of a `Fill` rule, in the shape of a key that it matches."""
        assert isinstance(rule, Fill)
        spec = self._specs[like]
        constant = Filled(spec.shape, rule.value)
        self._move(template(rule.target).fill(bound), spec, (Computed(constant, (), spec),))

    def join_parts(self) -> None:
        """Join the parts of each `Concat` rule, after all keys were added."""
        for target, (rule, keys) in self._parts.items():
            wanted = len(rule.sources)
            present = [keys[position] for position in sorted(keys)]
            spec = self._specs[present[0]]
            alike = {self._specs[key] for key in present} == {spec} and spec.shape
            if len(present) < wanted or not alike:
                found = ", ".join(f"{key} {self._specs[key]}" for key in present)
                self.misfits.append(f"{target} (needs {wanted} parts of one shape, has {found})")
            elif rule.dim:
                self._compute(Join(rule.dim, wanted), tuple(present), target)
            else:
                whole = TensorSpec(spec.dtype, (spec.shape[0] * wanted, *spec.shape[1:]))
                self._move(target, whole, tuple(Piece(key) for key in present))

    def _move(
        self, target: str, spec: TensorSpec, pieces: tuple[Piece | Computed | Fresh, ...]
    ) -> None:
        if target in self.moves:
            self.collisions.append(target)
        self.moves[target] = Move(target, spec, pieces)

    def _take(self, key: str, rule: Take, bound: Bindings) -> None:
        spec = self._specs[key]
        if not spec.shape or spec.shape[0] != rule.rows.of:
            self.misfits.append(f"{key} {spec} (the rule takes {rule.rows.of} rows)")
            return
        taken = TensorSpec(spec.dtype, (rule.rows.count, *spec.shape[1:]))
        pieces = _taken(key, rule.rows)
        self._move(template(rule.target).fill(bound), taken, pieces)
        if all(isinstance(piece, Fresh) for piece in pieces):
            self.dropped[key] = f"replaced by new rows ({rule.rows.name})"

    def _compute(self, operation: Operation, keys: tuple[str, ...], target: str) -> None:
        absent = [key for key in keys if key not in self._specs]
        if absent:
            self.misfits.append(f"{target} ({operation.name} needs {', '.join(absent)})")
            return
        try:
            spec = operation.result(*(self._specs[key] for key in keys))
        except ValueError as error:
            held = ", ".join(f"{key} {self._specs[key]}" for key in keys)
            self.misfits.append(f"{target} from {held} ({operation.name}: {error})")
            return
        self._move(target, spec, (Computed(operation, keys, spec),))

    def _split(self, key: str, rule: Split, bound: Bindings) -> None:
        spec, parts = self._specs[key], len(rule.targets)
        targets = [template(text).fill(bound) for text in rule.targets]
        if rule.dim:
            for index, target in enumerate(targets):
                self._compute(Portion(rule.dim, index, parts), (key,), target)
            return
        if not spec.shape or spec.shape[0] % parts:
            self.misfits.append(f"{key} {spec} (the rule cuts it into {parts} equal parts)")
            return
        height = spec.shape[0] // parts
        part = TensorSpec(spec.dtype, (height, *spec.shape[1:]))
        for index, target in enumerate(targets):
            rows = ((index * height, (index + 1) * height),)
            self._move(target, part, (Piece(key, rows),))

    def _collect(self, key: str, rule: Concat, bound: Bindings) -> None:
        position = next(
            index
            for index, text in enumerate(rule.sources)
            if template(text).match(key) is not None
        )
        _, keys = self._parts.setdefault(template(rule.target).fill(bound), (rule, {}))
        keys[position] = key


def _taken(key: str, rows: Rows) -> tuple[Piece | Fresh, ...]:
    pieces: list[Piece | Fresh] = []
    for one in rows.ranges:
        last = pieces[-1] if pieces else None
        if isinstance(one, Fresh):
            pieces.append(one)
        elif isinstance(last, Piece):
            pieces[-1] = Piece(key, (*(last.rows or ()), one))
        else:
            pieces.append(Piece(key, (one,)))
    return tuple(pieces)


def _matching(
    keys: Iterable[str], texts: Iterable[tuple[int, str]]
) -> Iterator[tuple[str, int, str, Bindings]]:
    """Each key with each of the numbered templates that it matches, and the bound values."""
    literal: dict[str, list[int]] = {}
    compiled = []
    for number, text in texts:
        if template(text).variables:
            one = template(text)
            compiled.append((number, text, one.literal_prefix, one.literal_suffix, one.match))
        else:
            literal.setdefault(text, []).append(number)
    for key in keys:
        for number in literal.get(key, ()):
            yield key, number, key, {}
        for number, text, prefix, suffix, match in compiled:
            # this skips most templates: there are very many pairs of a key and a template
            if not key.endswith(suffix) or not key.startswith(prefix):
                continue
            if (bound := match(key)) is not None:
                yield key, number, text, bound


def origins(rules: Iterable[Rule], targets: Iterable[str]) -> dict[str, str]:
    """The source key of each target key that a single tensor moves to, by names alone."""
    moving = [rule for rule in rules if isinstance(rule, Rename | Take) and not loses_numbers(rule)]
    found = {}
    texts = [(number, rule.target) for number, rule in enumerate(moving)]
    for target, number, _, bound in _matching(targets, texts):
        found[target] = template(moving[number].source).fill(bound)
    return found


def source_specs(rules: Iterable[Rule], target: Mapping[str, TensorSpec]) -> dict[str, TensorSpec]:
    """The source state dict that rules turn into ``target``, as far as its keys come from rules
    that keep all of its names.

    The inverse for specs only: unlike tensors, they are known even if rows were cut.
    """
    whole: list[Rule] = []
    computing: list[Compute] = []
    rows: dict[str, int] = {}
    for rule in rules:
        match rule:
            case _ if loses_numbers(rule):
                continue
            case Take():
                whole.append(Rename(rule.target, rule.source, optional=True))
                rows[rule.source] = rule.rows.of
            case Drop() | Fill():
                continue
            case Compute():
                computing.append(rule)
            case _:
                whole.append(replace(rule.inverse(), optional=True))
    moves = plan(whole, target, mapper="specs", ignore=target).moves
    found = {key: move.spec for key, move in moves.items()}
    texts = [(number, rule.target) for number, rule in enumerate(computing)]
    for key, number, _, bound in _matching(target, texts):
        one = computing[number]
        names = (template(text).fill(bound) for text in (one.source, *one.using))
        found.update(zip(names, one.operation.operands(target[key]), strict=True))
    for text, of in rows.items():
        for key, spec in found.items():
            if template(text).match(key) is not None:
                found[key] = TensorSpec(spec.dtype, (of, *spec.shape[1:]))
    return found


def in_target_names(
    rules: Iterable[Rule], specs: Mapping[str, TensorSpec]
) -> dict[str, TensorSpec]:
    """A source state dict under the target's names, as far as the rules fit it. Code that reads
    shapes then needs the names of one layout only.

    Raises:
        MappingError: as `plan`, except for keys without a rule and rules without a key.
    """
    optional = (replace(rule, optional=True) for rule in rules)
    return plan(optional, specs, mapper="names", ignore=specs).specs


class _Problems:
    """Collects problems, to report all of them in one line."""

    def __init__(self, mapper: str) -> None:
        self._mapper = mapper
        self._found: list[str] = []

    def add(self, what: str, listed: list[str]) -> None:
        if listed:
            shown = ", ".join(listed[:8])
            more = f" and {len(listed) - 8} more" if len(listed) > 8 else ""
            self._found.append(f"{what} {shown}{more}")

    def raise_if_any(self) -> None:
        if self._found:
            raise MappingError(
                f"the mapper {self._mapper} does not fit this state dict: "
                + "; ".join(self._found),
            )
