"""The feature maps that a detector has its backbone return, and the one that DETR reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detrex_hub import kinds
from detrex_hub.architectures.base import Architecture
from detrex_hub.architectures.parts import Part
from detrex_hub.kinds import Kind


class ReturnedMaps(Part, frozen=True):
    """Overrides for the feature maps that a backbone returns.

    Args:
        body: the backbone, which declares the paths.
        stages: of the maps; stage ``i`` has stride ``4 * 2**i``.
    """

    body: Architecture
    stages: tuple[int, ...]

    def overrides(self) -> dict[str, Any]:
        return self.body.returning(self.stages)


class LastMap(Part, frozen=True):
    """Overrides for the feature map that DETR reads: the last one of its backbone.

    Args:
        body: the backbone.
    """

    body: Architecture

    @property
    def channels(self) -> int:
        """Channels of the map."""
        return list(self.body.out_channels.values())[-1]

    def paths(self) -> Mapping[str, Kind]:
        return {"model.in_features": kinds.FEATURES, "model.in_channels": kinds.SIZE}

    def overrides(self) -> dict[str, Any]:
        fitting = [name for name, n in self.body.out_channels.items() if n == self.channels]
        # the maps of a pyramid all have the same channels: no shape shows which one is read
        features = {"model.in_features": fitting} if len(fitting) == 1 else {}
        # the weights have a norm for each returned stage, whether the stage is read or not
        returned = self.body.returning(self.body.normed) if self.body.normed else {}
        return {**returned, **features, "model.in_channels": self.channels}
