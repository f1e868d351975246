"""Read sizes from the shapes of a state dict, or name the missing tensor."""

from __future__ import annotations

from detrex_hub.architectures.declared import Specs
from detrex_hub.errors import ArchitectureError
from detrex_hub.mapping import indices


def shape_of(specs: Specs, *names: str, dimensions: int = 2) -> tuple[int, ...]:
    """The shape of the first of some keys that exists.

    Raises:
        ArchitectureError: none exists, or it has another number of dimensions, or an empty one.
    """
    for name in names:
        if name in specs:
            shape = specs[name].shape
            if len(shape) != dimensions or 0 in shape:
                raise ArchitectureError(
                    f"{name} is {specs[name]} and should have {dimensions} dimensions"
                )
            return shape
    raise ArchitectureError(f"there is no tensor {' or '.join(names)}")


def numbered(specs: Specs, *templates: str) -> list[str]:
    """The keys of the first template that matches, one for each number from 0 up.

    Args:
        specs: a state dict.
        templates: keys with ``{i}``.

    Raises:
        ArchitectureError: there is none, or numbers are missing between others.
    """
    for text in templates:
        found = indices(specs, text)
        if found:
            if found != tuple(range(len(found))):
                raise ArchitectureError(f"layers are missing: {text} has only {list(found)}")
            return [text.replace("{i}", str(i)) for i in found]
    raise ArchitectureError(f"there is no layer {' or '.join(templates)}")
