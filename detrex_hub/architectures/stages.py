"""What backbones of several stages have in common: how their shapes are read and what is built on
their feature maps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from detrex_hub.architectures.base import Specs
from detrex_hub.architectures.blocks import StateDict, norm, under
from detrex_hub.errors import ArchitectureError
from detrex_hub.mapping import Rename, indices


class Shapes:
    """Shapes of a state dict by key, every surprise an `ArchitectureError` that names the key."""

    def __init__(self, specs: Specs, what: str) -> None:
        self._specs = specs
        self._what = what

    def __contains__(self, key: str) -> bool:
        return key in self._specs

    def __call__(self, key: str, dimensions: int) -> tuple[int, ...]:
        """The shape of a tensor that must be there with so many dimensions, none of them empty."""
        spec = self._specs.get(key)
        if spec is None:
            raise self.refusal(f"there is no key {key}")
        if len(spec.shape) != dimensions or 0 in spec.shape:
            raise self.refusal(f"{key} is {spec} and should have {dimensions} dimensions")
        return spec.shape

    def count(self, text: str) -> int:
        """How many values ``{n}`` of a key template takes: from 0 up without gaps, at least one."""
        found = indices(self._specs, text, "n")
        if not found or found != tuple(range(len(found))):
            numbers = ", ".join(map(str, found)) or "none"
            raise self.refusal(f"{text} should be numbered from 0 without gaps, and n is {numbers}")
        return len(found)

    def refusal(self, why: str) -> ArchitectureError:
        return ArchitectureError(
            f"this is no {self._what}: {why}", hint="Look at the keys with: detrex-hub inspect FILE"
        )


def kept(*templates: str, optional: bool = False) -> tuple[Rename, ...]:
    """Rules for keys that keep their names."""
    return tuple(Rename(text, text, optional=optional) for text in templates)


def mlp_ratio(hidden: int, width: int, usual: float = 4.0) -> float:
    """The ratio that a model must be given for ``int(width * ratio)`` to be ``hidden``."""
    if int(width * usual) == hidden:
        return usual
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)


def output_norms(channels: Sequence[int], stages: Iterable[int]) -> StateDict:
    """The norms that detrex puts behind the stages it returns, ``norm0`` to ``norm3``."""
    module: StateDict = {}
    for stage in stages:
        module |= under(f"norm{stage}", norm(channels[stage]))
    return module


def found_norms(specs: Specs) -> tuple[int, ...]:
    """The stages whose output norms a state dict holds."""
    return indices(specs, "norm{n}.weight", "n")


def feature_channels(channels: Sequence[int], stages: Iterable[int]) -> dict[str, int]:
    """Channels of the feature maps ``p0`` (stride 4) to ``p3`` (stride 32)."""
    return {f"p{stage}": channels[stage] for stage in stages}


def neck_overrides(channels: Mapping[str, int]) -> dict[str, Any]:
    """Overrides for a neck's input shapes."""
    return {f"model.neck.input_shapes.{name}.channels": count for name, count in channels.items()}
