"""One file in another layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from detrex_hub.architectures.transformers_layout import LAYOUTS as TRANSFORMERS
from detrex_hub.checkpoints import written_format
from detrex_hub.errors import UsageError
from detrex_hub.exporting.export_source import ExportSource
from detrex_hub.exporting.exported import Exported
from detrex_hub.exporting.weights import write_weights
from detrex_hub.staging import publish_file, staging_folder

if TYPE_CHECKING:
    from detrex_hub.progress import Progress


def write_file(
    source: ExportSource,
    layout: str,
    target: Path,
    format: str | None,
    *,
    progress: Progress | None,
) -> Exported:
    """Write weights as one file. Arguments and errors are those of `export`."""
    kind = written_format(target, format)
    if kind == "pkl":
        raise UsageError("the originals have no pickles of arrays", hint="Write a .pth instead")
    if target.is_dir():
        raise UsageError(f"{target} is a folder", hint="Name a file with -o")
    if target.exists() and target.samefile(source.path):
        raise UsageError(f"{target} is the source of the weights", hint="Name another with -o")
    made = source.architecture
    if layout in TRANSFORMERS:
        # the config of transformers has the number of classes, so cut heads are written unchanged
        made = made.as_stored()
    with staging_folder(target.absolute(), option="-o") as staging:
        staged = staging / target.name
        written = write_weights(source, made, layout, staged, kind, progress=progress)
        publish_file(staged, target.absolute())
    return Exported(
        path=target,
        sha256=written.sha256,
        size=written.size,
        architecture=source.architecture,
        layout=layout,
        plan=written.plan,
        absent=source.absent,
        synthetic=source.synthetic,
    )
