"""The common base of backbones with several stages: it reads their shapes and derives overrides
from their feature maps."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures.base import (
    Architecture,
    BackboneCall,
    Overrides,
    Specs,
    image_overrides,
)
from detrex_hub.architectures.blocks import StateDict, norm, under
from detrex_hub.errors import ArchitectureError
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Rename, indices

OUTPUT_NORMS_INITIALISED = (
    "norms after the stages (weight 1 and bias 0), which the weights do not contain. detrex "
    "initialises them to the same values"
)
FINAL_NORM_INITIALISED = (
    "the norm after the last stage (weight 1 and bias 0), which the weights do not contain: use "
    "the stages, with features_only=True"
)


class Shapes:
    """Shapes of a state dict by key. An unexpected shape raises an `ArchitectureError` with the
    key."""

    def __init__(self, specs: Specs, what: str) -> None:
        self._specs = specs
        self._what = what

    def __contains__(self, key: str) -> bool:
        return key in self._specs

    def __call__(self, key: str, dimensions: int) -> tuple[int, ...]:
        """The shape of a required tensor with the given number of dimensions, none of them
        empty."""
        spec = self._specs.get(key)
        if spec is None:
            raise self.refusal(f"there is no key {key}")
        if len(spec.shape) != dimensions or 0 in spec.shape:
            raise self.refusal(f"{key} is {spec} and should have {dimensions} dimensions")
        return spec.shape

    def count(self, text: str) -> int:
        """The number of values of ``{n}`` in a key template: from 0 without gaps, at least one."""
        found = indices(self._specs, text, "n")
        if not found or found != tuple(range(len(found))):
            numbers = ", ".join(map(str, found)) or "none"
            raise self.refusal(f"{text} should be numbered from 0 without gaps, but n is {numbers}")
        return len(found)

    def norms(self) -> tuple[int, ...]:
        """The stages with output norms."""
        return found_norms(self._specs)

    def refusal(self, why: str) -> ArchitectureError:
        return ArchitectureError(
            f"this does not match {self._what}: {why}",
        )


def kept(*templates: str, optional: bool = False) -> tuple[Rename, ...]:
    """Rules for keys that keep their names."""
    return tuple(Rename(text, text, optional=optional) for text in templates)


def mlp_ratio(hidden: int, width: int, usual: float = 4.0) -> float:
    """The ratio for which ``int(width * ratio)`` is ``hidden``."""
    if int(width * usual) == hidden:
        return usual
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)


def output_norms(channels: Sequence[int], stages: Iterable[int]) -> StateDict:
    """The norms of the returned stages in detrex, ``norm0`` to ``norm3``."""
    module: StateDict = {}
    for stage in stages:
        module |= under(f"norm{stage}", norm(channels[stage]))
    return module


def found_norms(specs: Specs) -> tuple[int, ...]:
    """The stages whose output norms a state dict holds."""
    return indices(specs, "norm{n}.weight", "n")


def split_arguments(
    arguments: Mapping[str, Any], defaults: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of a class that must be given, and those that equal its defaults."""
    given = {
        name: value
        for name, value in arguments.items()
        if name not in defaults or value != defaults[name]
    }
    return given, {name: value for name, value in arguments.items() if name not in given}


class StagedBackbone(Architecture, frozen=True, kw_only=True):
    """A backbone whose stages give feature maps ``p0`` (stride 4) to ``p3`` (stride 32)."""

    backbone: ClassVar[bool] = True
    built_by: ClassVar[str]
    """Import path of detrex's or detectron2's class."""
    defaults: ClassVar[Mapping[str, Any]]
    """Defaults of the class's arguments, for arguments that not every config of detrex states."""
    lazy_paths: ClassVar[Mapping[str, Kind]] = {
        ".out_indices": kinds.COUNTS,
        "model.neck.input_shapes.*.channels": kinds.SIZE,
    }

    @property
    @abstractmethod
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """The arguments of the class for these weights, by its own names."""

    @property
    def drop_path_rate(self) -> float | None:
        """The value in detrex's configs for this size; None for the class's default."""
        return None

    @property
    def out_channels(self) -> dict[str, int]:
        return {f"p{stage}": channels for stage, channels in enumerate(self.widths)}

    @property
    def normed(self) -> tuple[int, ...]:
        stages: tuple[int, ...] = getattr(self, "output_norms", ())
        return stages

    def overrides(self, preprocessing: Mapping[str, Any]) -> Overrides:
        given, usual = split_arguments(self.arguments(), self.defaults)
        images = image_overrides(preprocessing)
        shapes = {
            f"model.neck.input_shapes.{name}.channels": channels
            for name, channels in self.out_channels.items()
        }
        return Overrides(
            lazy={f"{self.node}.{name}": value for name, value in given.items()} | images.lazy,
            lazy_if_present={f"{self.node}.{name}": value for name, value in usual.items()}
            | shapes
            | images.lazy_if_present,
            yacs=images.yacs,
        )

    def returning(self, stages: Sequence[int]) -> dict[str, Any]:
        return {f"{self.node}.out_indices": list(stages)}

    def build(
        self, preprocessing: Mapping[str, Any], stages: Sequence[int] = (1, 2, 3)
    ) -> BackboneCall:
        given, _ = split_arguments(self.arguments(), self.defaults)
        if self.drop_path_rate is not None:
            given["drop_path_rate"] = self.drop_path_rate
        channels = {f"p{stage}": self.widths[stage] for stage in stages}
        return BackboneCall(self.built_by, given | {"out_indices": list(stages)}, channels=channels)
