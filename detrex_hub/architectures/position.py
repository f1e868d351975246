"""Position embeddings of feature maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detrex_hub import kinds
from detrex_hub.architectures.blocks import StateDict, tensor
from detrex_hub.architectures.declared import Fact, Facts, Specs, released
from detrex_hub.architectures.parts import Part
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Rename, Rule

_NODE = "model.position_embedding"
_SIDES = ("row", "col")


def position_facts(temperature: float, offset: float) -> dict[str, Fact]:
    """The facts of a sine position embedding, with the values of the released originals."""
    return {
        "position_temperature": Fact(
            kinds.Number(positive=True),
            "temperature of the sine position embedding",
            default=released(temperature),
            assumed=True,
            config=(f"{_NODE}.temperature",),
            applies=_is_sine,
        ),
        "position_offset": Fact(
            kinds.NUMBER,
            "offset of the sine position embedding",
            default=released(offset),
            assumed=True,
            config=(f"{_NODE}.offset",),
            applies=_is_sine,
        ),
    }


def _is_sine(specs: Specs) -> bool:
    return _read_grid(specs) is None


class SinePositions(Part, frozen=True):
    """Sine position embeddings, which have no tensor.

    Args:
        width: of an embedding, half for each side.
        temperature, offset: None where they are not known, since no weight shows them.
    """

    width: int
    temperature: float | None
    offset: float | None

    def paths(self) -> Mapping[str, Kind]:
        return {
            f"{_NODE}.num_pos_feats": kinds.SIZE,
            f"{_NODE}.temperature": kinds.Number(positive=True),
            f"{_NODE}.offset": kinds.NUMBER,
        }

    def overrides(self) -> dict[str, Any]:
        values = {
            "num_pos_feats": self.width // 2,
            "temperature": self.temperature,
            "offset": self.offset,
        }
        return {f"{_NODE}.{name}": value for name, value in values.items() if value is not None}


class LearnedPositions(Part, frozen=True):
    """Learned embeddings of rows and columns.

    Args:
        width: of an embedding, half for each side.
        grid: numbers of rows and columns.
    """

    width: int
    grid: tuple[int, int]

    def rules(self, layout: str) -> tuple[Rule, ...]:
        return tuple(
            Rename(f"backbone.1.{side}_embed.weight", f"position_embedding.{side}_embed.weight")
            for side in _SIDES
        )

    def target(self) -> StateDict:
        return {
            f"position_embedding.{side}_embed.weight": tensor(size, self.width // 2)
            for side, size in zip(_SIDES, self.grid, strict=True)
        }

    def paths(self) -> Mapping[str, Kind]:
        names = ("num_pos_feats", "row_num_embed", "col_num_embed")
        return {f"{_NODE}.{name}": kinds.SIZE for name in names}

    def overrides(self) -> dict[str, Any]:
        sizes = zip(_SIDES, self.grid, strict=True)
        return {f"{_NODE}.num_pos_feats": self.width // 2} | {
            f"{_NODE}.{side}_num_embed": size for side, size in sizes
        }


def position_embedding(
    width: int,
    temperature: float | None,
    offset: float | None,
    grid: tuple[int, int] | None = None,
) -> SinePositions | LearnedPositions:
    """The position embedding: learned where there is a grid, else sine."""
    if grid is not None:
        return LearnedPositions(width, grid)
    return SinePositions(width, temperature, offset)


def read_position(specs: Specs, facts: Facts) -> dict[str, Any]:
    """The arguments of `position_embedding`, without the width, as fields of a detector."""
    return {
        "position_grid": _read_grid(specs),
        "position_temperature": facts.get("position_temperature"),
        "position_offset": facts.get("position_offset"),
    }


def _read_grid(specs: Specs) -> tuple[int, int] | None:
    """Rows and columns of learned position embeddings; None where there are none."""
    for prefix in ("backbone.1", "detr.backbone.1", "position_embedding"):
        keys = [f"{prefix}.{side}_embed.weight" for side in _SIDES]
        if all(key in specs for key in keys):
            rows, columns = (specs[key].shape[0] for key in keys)
            return rows, columns
    return None
