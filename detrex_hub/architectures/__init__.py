"""The architectures: one module each, found by name, so that adding one edits no list."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache

from detrex_hub.architectures.base import Architecture
from detrex_hub.errors import UsageError, did_you_mean


@cache
def architectures() -> Mapping[str, type[Architecture]]:
    """Every architecture by name."""
    found = {name: _of_module(name) for name in _modules()}
    return {name: kind for name, kind in found.items() if kind is not None}


def architecture(name: str) -> type[Architecture]:
    """The architecture with this name. The others are not imported.

    Raises:
        UsageError: the name is unknown. The message names the nearest ones.
    """
    kind = _of_module(name) if name in _modules() else None
    if kind is None:
        raise UsageError(
            f"there is no architecture {name[:80]!r}",
            hint=did_you_mean(
                name, architectures(), f"Known: {', '.join(sorted(architectures()))}"
            ),
        )
    return kind


@cache
def _modules() -> tuple[str, ...]:
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


@cache
def _of_module(name: str) -> type[Architecture] | None:
    """The architecture that a module is named after; None if the module holds shared parts."""
    contents = vars(importlib.import_module(f"{__name__}.{name}"))
    # in Python 3.10 an alias such as Mapping[str, int] is an instance of the class of its origin
    kinds = (value for value in contents.values() if type(value) is type(Architecture))
    return next(
        (
            kind
            for kind in kinds
            if issubclass(kind, Architecture) and vars(kind).get("name") == name
        ),
        None,
    )
