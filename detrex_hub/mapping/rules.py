"""The rules: they map keys of one layout to keys of another.

A mapper is a table of rules that a reviewer checks by eye beside the source model. A rule knows
names and shapes, never tensors. Both sides are written in the same notation (`templates`), so the
inverse of a rule is the swapped pair.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from detrex_hub.errors import MappingError
from detrex_hub.mapping.fold import fold_keys
from detrex_hub.mapping.operations import Filled, Operation
from detrex_hub.mapping.templates import template

# half-open ranges of rows along dimension 0
RowRanges: TypeAlias = tuple[tuple[int, int], ...]


class Fresh(Struct, frozen=True):
    """Rows without a source: ``count`` rows drawn with a seed, for class heads that are prepared
    for fine-tuning.

    They are drawn from N(mean, std), or with ``uniform`` from the uniform distribution with this
    mean and standard deviation.
    """

    count: int
    mean: float
    std: float
    seed: int
    uniform: bool = False


class Rows(Struct, frozen=True):
    """Some rows of a tensor that has ``of`` rows, in order, and fresh ones between them:
    ``(of, ...) -> (count, ...)``."""

    name: str
    of: int
    ranges: tuple[tuple[int, int] | Fresh, ...]

    @property
    def count(self) -> int:
        return sum(one.count if isinstance(one, Fresh) else one[1] - one[0] for one in self.ranges)


class Rename(Struct, frozen=True):
    """Moves a whole tensor: ``(...) -> (...)``."""

    source: str
    target: str
    optional: bool = False

    def __post_init__(self) -> None:
        _same_variables(self, (self.source,), (self.target,))

    def inverse(self) -> Rename:
        return Rename(self.target, self.source, optional=self.optional)


class Take(Struct, frozen=True):
    """Moves some rows of a tensor: ``(rows.of, ...) -> (rows.count, ...)``. Has no inverse."""

    source: str
    target: str
    rows: Rows
    optional: bool = False

    def __post_init__(self) -> None:
        _same_variables(self, (self.source,), (self.target,))


class Concat(Struct, frozen=True):
    """Concatenates tensors of one shape along a dimension: ``n x (r, ...) -> (n * r, ...)``."""

    sources: tuple[str, ...]
    target: str
    optional: bool = False
    dim: int = 0

    def __post_init__(self) -> None:
        _same_variables(self, self.sources, (self.target,))

    def inverse(self) -> Split:
        return Split(self.target, self.sources, optional=self.optional, dim=self.dim)


class Split(Struct, frozen=True):
    """Cuts a tensor into equal parts along a dimension: ``(n * r, ...) -> n x (r, ...)``."""

    source: str
    targets: tuple[str, ...]
    optional: bool = False
    dim: int = 0

    def __post_init__(self) -> None:
        _same_variables(self, (self.source,), self.targets)

    def inverse(self) -> Concat:
        return Concat(self.targets, self.source, optional=self.optional, dim=self.dim)


class Compute(Struct, frozen=True):
    """Computes a tensor by an operation from its source and from the tensors ``using``.

    Several rules may use one tensor, which then needs no other rule. Has an inverse if the
    operation has one.
    """

    operation: Operation
    source: str
    target: str
    using: tuple[str, ...] = ()
    optional: bool = False

    def __post_init__(self) -> None:
        _same_variables(self, (self.source,), (self.target,))
        bound = template(self.source).variables
        if any(template(text).variables - bound for text in self.using):
            raise ValueError(f"what it uses binds more than its source: {self}")

    def inverse(self) -> Compute | None:
        back = self.operation.inverse()
        if back is None:
            return None
        return Compute(back, self.target, self.source, optional=self.optional)


class Fill(Struct, frozen=True):
    """Creates a tensor with one value and the shape of a source tensor, which another rule moves.
    Has no inverse."""

    like: str
    target: str
    value: float
    optional: bool = False

    def __post_init__(self) -> None:
        _same_variables(self, (self.like,), (self.target,))


class Drop(Struct, frozen=True):
    """Drops a tensor, for a reason that cards and ``conversion.json`` show."""

    source: str
    reason: str
    optional: bool = False


Rule: TypeAlias = Rename | Take | Concat | Split | Compute | Fill | Drop


def sources(rule: Rule) -> tuple[str, ...]:
    """The templates of the keys that only this rule handles."""
    match rule:
        case Concat():
            return rule.sources
        case Fill():
            return ()
        case _:
            return (rule.source,)


def prefixed(rules: tuple[Rule, ...], source: str, target: str) -> tuple[Rule, ...]:
    """The same rules one module deeper on both sides, prefixes given with their final dot."""
    return tuple(_prefixed(rule, source, target) for rule in rules)


def _prefixed(rule: Rule, source: str, target: str) -> Rule:
    match rule:
        case Drop():
            return replace(rule, source=source + rule.source)
        case Concat():
            return replace(
                rule,
                sources=tuple(source + text for text in rule.sources),
                target=target + rule.target,
            )
        case Split():
            return replace(
                rule,
                source=source + rule.source,
                targets=tuple(target + text for text in rule.targets),
            )
        case Compute():
            return replace(
                rule,
                source=source + rule.source,
                target=target + rule.target,
                using=tuple(source + text for text in rule.using),
            )
        case Fill():
            return replace(rule, like=source + rule.like, target=target + rule.target)
        case _:
            return replace(rule, source=source + rule.source, target=target + rule.target)


def inverse(rules: tuple[Rule, ...], *, hint: str | None = None) -> tuple[Rule, ...]:
    """The rules from target to source. Drops have no inverse rule.

    Args:
        rules: from source to target.
        hint: the advice if there is no inverse.

    Raises:
        MappingError: rules cut rows, or have operations without an inverse; it names all of them.
    """
    found: list[Rule] = []
    lost: dict[Rows, list[str]] = {}
    computed: dict[str, list[str]] = {}
    nameless: list[str] = []
    for rule in rules:
        match rule:
            case Drop():
                continue
            case _ if loses_numbers(rule):
                nameless += sources(rule)
            case Take():
                lost.setdefault(rule.rows, []).append(rule.target)
            case Fill():
                computed.setdefault(Filled.name, []).append(rule.target)
            case _:
                back = rule.inverse()
                if back is not None:
                    found.append(back)
                elif isinstance(rule, Compute):
                    computed.setdefault(rule.operation.name, []).append(rule.target)
    problems = []
    if lost:
        problems.append(
            "the rows that were cut cannot be restored: "
            + "; ".join(
                f"{_targets(targets)} holds {rows.count} of {rows.of} rows ({rows.name})"
                for rows, targets in lost.items()
            )
        )
    if computed:
        problems.append(
            "computed tensors cannot be restored: "
            + "; ".join(f"{_targets(targets)} by {name}" for name, targets in computed.items())
        )
    if nameless:
        problems.append(
            f"the new names do not keep the numbers in these names: {', '.join(sorted(nameless))}"
        )
    if problems:
        raise MappingError("; ".join(problems), hint=hint)
    return tuple(found)


def loses_numbers(rule: Rule) -> bool:
    """Whether the names of a rule's sources have a number that its targets' names lack."""
    return any(template(text).loses for text in sources(rule))


def _targets(texts: list[str]) -> str:
    return ", ".join(pattern.target for pattern in fold_keys(texts))


def _same_variables(rule: object, left: tuple[str, ...], right: tuple[str, ...]) -> None:
    variables = {template(text).variables - {"_"} for text in (*left, *right)}
    if len(variables) != 1 or any(template(text).loses for text in right):
        raise ValueError(f"both sides must bind the same integers and wildcards: {rule}")
