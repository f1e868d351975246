"""`detrex-hub pull`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from detrex_hub.cli.options import Catalogues, Json, Name, Quiet, Source
from detrex_hub.cli.output import Output, human_size

EXAMPLES = (
    "detrex-hub pull r101_v2",
    "detrex-hub pull r101_v2 -o weights/",
    "DETREX_HUB_MIRROR=https://mirror.example detrex-hub pull r101_v2",
)


def command(
    name: Name,
    output: Annotated[
        Path | None, Option("--output", "-o", metavar="PATH", help="Put a copy there.")
    ] = None,
    source: Source = None,
    catalogue: Catalogues = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Download original weights, resumed and checked."""
    from detrex_hub.catalogue import find
    from detrex_hub.originals.sources import pull

    out = Output(json=json, quiet=quiet)
    with out.progress() as progress:
        pulled = pull(find(name, catalogue or ()), source=source, to=output, progress=progress)
    out.hint(f"{pulled.url}, {human_size(pulled.size)}, sha256 {pulled.sha256}, {pulled.pinned_by}")
    document = {
        "path": str(pulled.path),
        "url": pulled.url,
        "size": pulled.size,
        "sha256": pulled.sha256,
        "pinned_by": pulled.pinned_by,
    }
    out.show(document, [str(pulled.path)], bare=[str(pulled.path)])
