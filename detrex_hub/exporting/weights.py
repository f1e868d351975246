"""The weights of an export: written, read again, and compared with their source."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from detrex_hub import checkpoints
from detrex_hub.architectures.base import Architecture
from detrex_hub.checkpoints import Tensor
from detrex_hub.computing import carried_out
from detrex_hub.conversion import reporting
from detrex_hub.errors import VerificationError
from detrex_hub.exporting.export_source import ExportSource, check_ties
from detrex_hub.mapping import ConversionPlan

if TYPE_CHECKING:
    from detrex_hub.checkpoints import Format
    from detrex_hub.progress import Progress


class Written(Struct, frozen=True):
    """Written weights: the fate of each tensor, the file's sha256 and its size in bytes."""

    plan: ConversionPlan
    sha256: str
    size: int


def write_weights(
    source: ExportSource,
    made: Architecture,
    layout: str,
    path: Path,
    format: Format,
    *,
    progress: Progress | None,
) -> Written:
    """Write the weights of a source in another layout.

    Args:
        source: the weights.
        made: its architecture, with the rules of the export.
        layout: the layout to write.
        path: the file to write, in a staging folder.
        format: ``pth`` or ``safetensors``.
        progress: reports copying.

    Raises:
        MappingError: there is no way back.
        ArchitectureError: the source does not hold the model's state dict.
        VerificationError: what was written is not what the source holds.
    """
    wrapped = layout in made.layouts and made.layouts[layout].wrapped
    with checkpoints.open(source.path) as checkpoint:
        plan = made.plan_export(checkpoint.specs, layout)
        check_ties(source, checkpoint)
        tensors = [
            Tensor(key, move.spec, partial(carried_out, move, checkpoint))
            for key, move in plan.moves.items()
        ]
        sha256 = checkpoints.write(
            path,
            format,
            reporting(tensors, progress, f"exporting {source.name}") if progress else tensors,
            metadata={"format": "pt"} if format == "safetensors" else None,
            ties=plan.ties,
            bare=format == "pth" and not wrapped,
        )
        with checkpoints.open(path) as written:
            other = checkpoints.first_other(written, tensors)
    if other is not None:
        raise VerificationError(
            f"{other} differs from the source after it was written",
            hint="Check the disk and memory of this machine, then export again",
        )
    return Written(plan, sha256, path.stat().st_size)
