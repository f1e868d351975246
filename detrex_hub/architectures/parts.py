"""The parts of a detector, each with its keys in detrex and their sources.

A detector lists its parts. Its mapper, state dict, ties and overrides are those of all parts. So
one list can be checked by eye beside the two models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from detrex_hub.architectures.blocks import StateDict, under
from detrex_hub.architectures.transformers_layout import LAYOUTS as TRANSFORMERS
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Drop, Rename, Rule
from detrex_hub.specs import TensorSpec


class Part(Struct, frozen=True):
    """A part of a detector. The defaults are empty."""

    def rules(self, layout: str) -> tuple[Rule, ...]:
        """From any layout except detrex's own to detrex's names."""
        return ()

    def kept(self) -> tuple[Rule, ...]:
        """From detrex's names to the same names. Class heads may lose rows."""
        return tuple(Rename(key, key) for key in self.target())

    def target(self) -> StateDict:
        """Its state dict in detrex, by full names."""
        return {}

    def ties(self) -> tuple[tuple[str, ...], ...]:
        """Groups of keys that are one tensor in detrex."""
        return ()

    def set_by_model(self) -> frozenset[str]:
        """Keys that no checkpoint holds."""
        return frozenset()

    def paths(self) -> Mapping[str, Kind]:
        """The LazyConfig paths that `overrides` may set; ``*`` stands for one name."""
        return {}

    def overrides(self) -> dict[str, Any]:
        """The settings that it needs: LazyConfig path -> value."""
        return {}


class Module(Part, frozen=True):
    """A module whose inner names stay the same.

    Args:
        name: in detrex.
        state: its state dict, names relative to it.
        original: its name in the original layout, where it has another one.
        transformers: its name in the layouts of transformers, likewise.

    Example:
        >>> Module("bbox_embed", {}, transformers="bbox_predictor").rules("transformers")
        (Rename(source='bbox_predictor.**', target='bbox_embed.**', optional=False),)
    """

    name: str
    state: Mapping[str, TensorSpec]
    original: str | None = None
    transformers: str | None = None

    def rules(self, layout: str) -> tuple[Rule, ...]:
        source = self.transformers if layout in TRANSFORMERS else self.original
        return (Rename(f"{source or self.name}.**", f"{self.name}.**"),)

    def target(self) -> StateDict:
        return under(self.name, self.state)


class Constant(Part, frozen=True):
    """A tensor that the model sets itself. A checkpoint may hold it or not.

    Args:
        name: in detrex.
        spec: of the tensor.
        by_classes: whether it has a row for each class. If rows of the class heads change, the
            tensor in a checkpoint is dropped.
    """

    name: str
    spec: TensorSpec
    by_classes: bool = False

    def kept(self) -> tuple[Rule, ...]:
        if self.by_classes:
            return (Drop(self.name, "weights of the classes in the loss", optional=True),)
        return (Rename(self.name, self.name, optional=True),)

    def target(self) -> StateDict:
        return {self.name: self.spec}

    def set_by_model(self) -> frozenset[str]:
        return frozenset({self.name})


class ConfigValue(Part, frozen=True):
    """A value that a config must have, at one path.

    Args:
        path: a LazyConfig path.
        kind: of the values that the path can have.
        value: the value; None where it is not known, and the config keeps its own.
    """

    path: str
    kind: Kind
    value: Any

    def paths(self) -> Mapping[str, Kind]:
        return {self.path: self.kind}

    def overrides(self) -> dict[str, Any]:
        return {} if self.value is None else {self.path: self.value}
