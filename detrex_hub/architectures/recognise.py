"""Recognise architecture and layout of a state dict by its keys, with the reasons."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from detrex_hub.architectures import architectures
from detrex_hub.architectures.base import Architecture, Layout, Specs
from detrex_hub.errors import ArchitectureError
from detrex_hub.mapping import collapse, template


class Recognition(Struct, frozen=True):
    """The architecture and the layout of a state dict, and the keys that identify them.

    ``may_be`` are other possible architectures, which nothing in the state dict rules out.
    ``prefix`` is the prefix of its keys, and ``outside`` is the number of other keys.
    """

    architecture: type[Architecture]
    layout: str
    because: tuple[str, ...]
    may_be: tuple[str, ...] = ()
    prefix: str = ""
    outside: int = 0

    def notes(self) -> tuple[str, ...]:
        """Remarks for the user, one line each."""
        found = []
        if self.prefix:
            rest = (
                f"{self.outside} other tensors are dropped" if self.outside else "all keys have it"
            )
            found.append(f"the weights are below the prefix {self.prefix!r}; {rest}")
        if self.may_be:
            others, name = " or ".join(self.may_be), self.architecture.name
            found.append(
                f"the weights may be {others} instead of {name}: all keys and shapes are the "
                f"same. If they are, convert with: --arch {others}"
            )
        return tuple(found)


class _Candidate(Struct, frozen=True):
    architecture: type[Architecture]
    layout: str
    found: tuple[str, ...]
    lacking: tuple[str, ...]
    against: tuple[str, ...]

    @property
    def fits(self) -> bool:
        return not self.lacking and not self.against

    @property
    def look_alikes(self) -> tuple[str, ...]:
        alike = self.architecture.layouts[self.layout].look_alikes
        return alike.names if alike is not None else ()

    @property
    def score(self) -> float:
        """How near it is: 1 if it fits, 0 or less if it has nothing in common."""
        asked = len(self.found) + len(self.lacking)
        return (len(self.found) - len(self.against)) / max(asked, 1)


class UnrecognisedError(ArchitectureError):
    """No architecture has the keys of a state dict. ``score`` is that of the nearest one: below 1,
    and 0 or less if none has anything in common with it."""

    score = 0.0


def recognise(
    specs: Specs,
    *,
    name: str | None = None,
    among: Sequence[type[Architecture]] = (),
    prefix: str = "",
) -> Recognition:
    """Find the architecture and layout of a state dict.

    Args:
        specs: the state dict.
        name: for messages, what it was read from.
        among: the architectures to choose from; all by default. A single one is not compared with
            others, so it may lack the keys that distinguish it.
        prefix: the prefix of its keys. Keys without it are ignored.

    Raises:
        UnrecognisedError: none fits; it names the nearest candidate and the keys that do not fit.
        ArchitectureError: several fit, or the one that fits has look-alikes and another size than
            it was released with.
    """
    what = name or "this state dict"
    outside = 0
    if prefix:
        what, outside = f"{what} below the prefix {prefix!r}", len(specs)
        specs = below(specs, prefix)
        outside -= len(specs)
    ordered = sorted(specs)
    kinds = among or tuple(architectures().values())
    for kind in kinds:
        for text, reason in kind.no_counterpart.items():
            if (key := _first(text, specs, ordered)) is not None:
                raise ArchitectureError(
                    f"detrex has no model for {what}: {reason}",
                    hint=f"The key {key} shows this. See the known weights: detrex-hub list",
                )
    candidates = [
        _judge(architecture, layout_name, layout, specs, ordered, named=len(among) == 1)
        for architecture in kinds
        for layout_name, layout in architecture.layouts.items()
    ]
    fitting = [candidate for candidate in candidates if candidate.fits]
    # a look-alike fits whenever the plain one fits, so the size of the plain one is checked
    others = {name for one in fitting for name in one.look_alikes}
    fitting = [one for one in fitting if one.architecture.name not in others] or fitting
    if len(fitting) == 1:
        best = fitting[0]
        found = Recognition(
            best.architecture, best.layout, best.found, prefix=prefix, outside=outside
        )
        if len(among) == 1:
            return found
        _check_released(best, specs, what)
        alike = best.architecture.layouts[best.layout].look_alikes
        may_be = alike.names if alike is not None and alike.as_released else ()
        return replace(found, may_be=may_be)
    if fitting:
        names = ", ".join(f"{one.architecture.name} ({one.layout})" for one in fitting)
        raise ArchitectureError(
            f"{what} fits several architectures: {names}",
            choices=_choices(one.architecture.name for one in fitting),
        )
    if not specs:
        raise UnrecognisedError(f"{what} holds no tensors")
    raise _unrecognised(what, specs, candidates, named=len(among) == 1)


def below(specs: Specs, prefix: str) -> Specs:
    """The tensors whose keys have a prefix, by their keys without it."""
    length = len(prefix)
    return {key[length:]: spec for key, spec in specs.items() if key.startswith(prefix)}


def _unrecognised(
    what: str, specs: Specs, candidates: Sequence[_Candidate], *, named: bool
) -> UnrecognisedError:
    nearest = max(candidates, key=lambda candidate: (candidate.score, len(candidate.found)))
    if nearest.score <= 0 and not named:
        some = ", ".join(collapse(specs)[:3])
        return UnrecognisedError(
            f"{what} matches no known architecture; it has keys such as {some}"
        )
    reasons = " and ".join(
        f"{label} {', '.join(keys[:4])}"
        for label, keys in (("it lacks", nearest.lacking), ("it has", nearest.against))
        if keys
    )
    kind, layout = nearest.architecture.name, nearest.layout
    if named:
        error = UnrecognisedError(
            f"{what} does not match the layout {layout} of {kind}: {reasons}",
            choices=_known_as(specs),
        )
    else:
        error = UnrecognisedError(
            f"{what} matches no known architecture; the nearest is {kind} ({layout}), but {reasons}"
        )
    error.score = nearest.score
    return error


def _check_released(found: _Candidate, specs: Specs, what: str) -> None:
    alike = found.architecture.layouts[found.layout].look_alikes
    if alike is None or alike.queries not in specs:
        return
    spec = specs[alike.queries]
    if spec.shape and spec.shape[0] in alike.released:
        return
    name = found.architecture.name
    released = " or ".join(map(str, alike.released))
    raise ArchitectureError(
        f"{what} has the keys of {' and of '.join((name, *alike.names))}, and no key tells them "
        f"apart; {name} was released with {released} queries, and {alike.queries} is {spec}",
        choices=_choices((name, *alike.names)),
    )


def _choices(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"--arch {name}" for name in dict.fromkeys(names))


def _known_as(specs: Specs) -> tuple[str, ...]:
    """The real architecture of a state dict that does not match the given one."""
    try:
        found = recognise(specs)
    except ArchitectureError:
        return ()
    return (f"--arch {found.architecture.name} --layout {found.layout}",)


def _judge(
    architecture: type[Architecture],
    name: str,
    layout: Layout,
    specs: Specs,
    ordered: Sequence[str],
    *,
    named: bool,
) -> _Candidate:
    found, lacking, against = [], [], []
    for text in layout.present if named else (*layout.present, *layout.peculiar):
        key = _first(text, specs, ordered)
        if key is None:
            lacking.append(text)
        else:
            found.append(key)
    for text in layout.absent:
        key = _first(text, specs, ordered)
        if key is not None:
            against.append(key)
    if layout.check is not None and not lacking and not against:
        objection = layout.check(specs)
        if objection is not None:
            against.append(objection)
    return _Candidate(architecture, name, tuple(found), tuple(lacking), tuple(against))


def _first(text: str, specs: Specs, ordered: Sequence[str]) -> str | None:
    """The first key that a template matches. ``ordered`` are the sorted keys, in which a missing
    beginning is found quickly."""
    compiled = template(text)
    if not compiled.variables:
        return text if text in specs else None
    prefix = compiled.literal_prefix
    place = bisect_left(ordered, prefix)
    if place == len(ordered) or not ordered[place].startswith(prefix):
        return None
    return next((k for k in specs if k.startswith(prefix) and compiled.match(k) is not None), None)
