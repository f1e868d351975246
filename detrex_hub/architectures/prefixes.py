"""Find the prefix of a known architecture in a state dict.

Frameworks put a prefix before a model's keys, such as ``model.`` or ``backbone.``. A backbone may
be inside a detector of another project. The prefix is found by trying, without a list of names.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from shlex import quote

from msgspec import Struct

from detrex_hub.architectures import architectures
from detrex_hub.architectures.base import Architecture, Specs
from detrex_hub.architectures.recognise import (
    Recognition,
    UnrecognisedError,
    below,
    recognise,
)
from detrex_hub.checkpoints.wrappers import without_wrappers
from detrex_hub.errors import ArchitectureError, DetrexHubError, UsageError
from detrex_hub.mapping import template

# the most names before a backbone (known models have up to five, such as
# ``model.backbone.conv_encoder.model.``), and the most modules that are tried (the largest detector
# has about 400 above that depth)
_DEEPEST = 6
_MOST = 1000
# more than any model has: the modules of such a file would fill the memory
_MOST_KEYS = 20_000
# a refusal names the nearest of the prefixes with most keys, if one is near
_MOST_NEAR = 30
_MOST_INSIDE = 4
_NEAR = 0.5


class _Place(Struct, frozen=True):
    """A prefix below which an architecture was recognised, or below which several are
    possible."""

    prefix: str
    tensors: int
    found: Recognition | ArchitectureError

    @property
    def what(self) -> str:
        return self.found.architecture.name if isinstance(self.found, Recognition) else ""

    def goes_before(self, other: _Place) -> bool:
        """Whether one of the two is inside the other, and this one is preferred. A model is
        preferred to a part of it, and to a module that holds nothing else."""
        if self.tensors == other.tensors:
            return self.prefix.startswith(other.prefix) and self.prefix != other.prefix
        return self.tensors > other.tensors and other.prefix.startswith(self.prefix)


def find(
    specs: Specs,
    *,
    name: str | None = None,
    among: Sequence[type[Architecture]] = (),
    prefix: str | None = None,
) -> Recognition:
    """Find the architecture, the layout and the prefix of the weights in a state dict.

    The whole state dict is tried first. Otherwise the prefix wins that leaves the fewest other
    tensors, so that a detector is preferred to its backbone.

    Args:
        specs: the state dict.
        name: the name of the file, for messages.
        among: the architectures to choose from; all where none is given.
        prefix: the prefix of the weights' keys; found by trying if it is None. The last dot may be
            omitted.

    Raises:
        UnrecognisedError: none fits; it names the nearest one and its prefix.
        ArchitectureError: several fit.
        UsageError: no key begins with ``prefix``.
    """
    if prefix is not None:
        return recognise(specs, name=name, among=among, prefix=_completed(prefix, specs, name))
    try:
        return recognise(specs, name=name, among=among)
    except UnrecognisedError as error:
        refusal = error
    ordered = sorted(specs)
    tensors = _modules(specs)
    starts = _Starts(among or architectures().values(), named=len(among) == 1)
    if places := [*_places(specs, ordered, tensors, starts, among, name)]:
        return _chosen(_apart(places, specs), name or "this state dict")
    shares = {one: starts.share(ordered, one) for one in islice(tensors, _MOST_NEAR)}
    nearest = max(shares, key=lambda one: shares[one], default=None)
    if nearest is not None and shares[nearest] > max(refusal.score, _NEAR):
        # raises the reason
        recognise(specs, name=name, among=among, prefix=nearest)
    raise refusal


def backbones(specs: Specs) -> Iterator[Recognition]:
    """The backbones inside a state dict, those with most tensors first. Few are tried."""
    kinds = [kind for kind in architectures().values() if kind.backbone]
    ordered, tensors = sorted(specs), _modules(specs)
    starts = _Starts(kinds, named=False)
    for place in islice(_places(specs, ordered, tensors, starts, kinds, None), _MOST_INSIDE):
        if isinstance(place.found, Recognition):
            yield place.found


def _places(
    specs: Specs,
    ordered: Sequence[str],
    tensors: Mapping[str, int],
    starts: _Starts,
    among: Sequence[type[Architecture]],
    name: str | None,
) -> Iterator[_Place]:
    """Every prefix below which an architecture is recognised. ``tensors`` has the number of tensors
    by prefix."""
    for prefix, count in tensors.items():
        if not starts.complete(ordered, prefix):
            continue
        found: Recognition | ArchitectureError
        try:
            found = recognise(specs, name=name, among=among, prefix=prefix)
        except UnrecognisedError:
            continue
        except ArchitectureError as error:
            found = error
        yield _Place(prefix, count, found)


def named(
    specs: Specs,
    kind: type[Architecture],
    layout: str,
    *,
    name: str | None = None,
    prefix: str | None = None,
) -> Recognition:
    """An architecture and a layout that the user gives. Arguments and errors are those of `find`,
    but no prefix is tried."""
    whole = _completed(prefix or "", specs, name)
    outside = len(specs) - len(below(specs, whole))
    return Recognition(kind, layout, ("given with --arch",), prefix=whole, outside=outside)


def _completed(prefix: str, specs: Specs, name: str | None) -> str:
    if not prefix:
        return ""
    whole = prefix if prefix.endswith(".") else f"{prefix}."
    if not _has(specs, whole):
        # as in the file, before the names of wrappers are removed
        model = without_wrappers(whole)
        if not model or _has(specs, model):
            return model
        raise UsageError(
            f"no key of {name or 'this state dict'} begins with {whole!r}",
            choices=_found(specs) or _choices(_most_common(specs)),
        )
    return whole


def _found(specs: Specs) -> tuple[str, ...]:
    """The prefixes that a search finds, as options."""
    try:
        return _choices([find(specs).prefix])
    except ArchitectureError as error:
        return tuple(one for one in error.choices if one.startswith("--prefix "))


def _most_common(keys: Iterable[str]) -> list[str]:
    return [one for one, _ in Counter(_outermost(keys)).most_common(4)]


def _has(specs: Specs, prefix: str) -> bool:
    return any(key.startswith(prefix) and key != prefix for key in specs)


def _choices(prefixes: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"--prefix {quote(prefix)}" for prefix in prefixes)


def _outermost(keys: Iterable[str]) -> Iterator[str]:
    for key in keys:
        first, dot, rest = key.partition(".")
        if dot and rest:
            yield f"{first}."


def _modules(keys: Iterable[str]) -> dict[str, int]:
    """The prefixes of a state dict with the number of keys below each, the largest number first."""
    found: Counter[str] = Counter()
    for key in islice(keys, _MOST_KEYS):
        end = -1
        for _ in range(_DEEPEST):
            end = key.find(".", end + 1)
            if end < 0 or end + 1 == len(key):
                break
            found[key[: end + 1]] += 1
    return dict(found.most_common(_MOST))


class _Starts:
    """Checks quickly whether a layout may be below a prefix, by the beginnings of its required
    keys."""

    def __init__(self, kinds: Iterable[type[Architecture]], *, named: bool) -> None:
        self._layouts = {
            tuple(
                template(text).literal_prefix
                for text in (layout.present if named else (*layout.present, *layout.peculiar))
            )
            for kind in kinds
            for layout in kind.layouts.values()
        }

    def complete(self, ordered: Sequence[str], prefix: str) -> bool:
        """Whether all of a layout may be there. ``ordered`` are the sorted keys."""
        return any(
            all(_begins(ordered, prefix + start) for start in starts) for starts in self._layouts
        )

    def share(self, ordered: Sequence[str], prefix: str) -> float:
        """The largest part of a layout that may be there, 0 to 1."""
        return max(
            sum(_begins(ordered, prefix + start) for start in starts) / len(starts)
            for starts in self._layouts
        )


def _begins(ordered: Sequence[str], start: str) -> bool:
    place = bisect_left(ordered, start)
    return place < len(ordered) and ordered[place].startswith(start)


def _apart(places: Sequence[_Place], specs: Specs) -> list[_Place]:
    """The places to which no other place is preferred. A backbone with extra tensors, such as those
    of a pyramid, is left out if a place inside it has none."""
    left = list(places)
    while True:
        outer = [one for one in left if not any(other.goes_before(one) for other in left)]
        wrong = [
            one
            for one in outer
            if any(one.goes_before(other) for other in left) and not _converts(one, specs)
        ]
        if not wrong:
            return outer
        left = [one for one in left if one not in wrong]


def _converts(place: _Place, specs: Specs) -> bool:
    """Whether a place can be converted. Problems of a detector are reported to the user."""
    if isinstance(place.found, ArchitectureError) or not place.found.architecture.backbone:
        return True
    kind, layout, inner = place.found.architecture, place.found.layout, below(specs, place.prefix)
    try:
        kind.read(inner, layout, {}).plan(inner, layout)
    except DetrexHubError:
        return False
    return True


def _chosen(places: Sequence[_Place], what: str) -> Recognition:
    """The place that leaves the fewest other tensors. No place is inside another.

    Raises:
        ArchitectureError: several places hold the same architecture, or as many tensors.
    """
    best, *others = sorted(places, key=lambda place: -place.tensors)
    alike = [one for one in others if one.what == best.what or one.tensors == best.tensors]
    if alike:
        named = ", ".join(f"{one.what or 'a model'} below {one.prefix!r}" for one in (best, *alike))
        raise ArchitectureError(
            f"{what} holds several sets of weights: {named}",
            choices=_choices(one.prefix for one in (best, *alike[:3])),
        )
    if isinstance(best.found, ArchitectureError):
        raise best.found
    return best.found
