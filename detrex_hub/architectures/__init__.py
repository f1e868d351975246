"""The architectures: one module each, found by name, so that adding one edits no list."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache

from detrex_hub.architectures.base import Architecture
from detrex_hub.errors import UsageError

_PLUMBING = frozenset(
    {
        "anchor_boxes",
        "base",
        "blocks",
        "bodies",
        "coco",
        "detection",
        "multi_level",
        "plain_vit",
        "recognise",
        "single_level",
        "stages",
        "transformer",
        "transformers_layout",
    }
)


@cache
def architectures() -> Mapping[str, type[Architecture]]:
    """Every architecture by name."""
    found: dict[str, type[Architecture]] = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name in _PLUMBING or module.name.startswith("_"):
            continue
        contents = vars(importlib.import_module(f"{__name__}.{module.name}"))
        for value in contents.values():
            if (
                isinstance(value, type)
                and issubclass(value, Architecture)
                and value.__module__ == f"{__name__}.{module.name}"
                and "name" in vars(value)
            ):
                found[value.name] = value
    return found


def architecture(name: str) -> type[Architecture]:
    """The architecture of a name.

    Raises:
        UsageError: there is none; the message lists those that there are.
    """
    try:
        return architectures()[name]
    except KeyError:
        raise UsageError(
            f"there is no architecture {name!r}",
            hint=f"Known: {', '.join(sorted(architectures()))}",
        ) from None
