"""`detrex-hub pull`"""

from __future__ import annotations

from typing import Annotated

from typer import Option

from detrex_hub.cli.options import Catalogues, Name, Source
from detrex_hub.cli.output import Output, human_size

EXAMPLES = (
    "detrex-hub pull r101_v2",
    "detrex-hub pull r101_v2 -o weights/",
    "DETREX_HUB_MIRROR=https://mirror.example detrex-hub pull r101_v2",
)


def command(
    out: Output,
    name: Name,
    output: Annotated[
        str | None,
        Option(
            "--output",
            "-o",
            metavar="PATH",
            help="Copy the file to this path. A path that ends in / is a folder.",
        ),
    ] = None,
    source: Source = None,
    catalogue: Catalogues = None,
) -> None:
    """Download original weights, resumed and checked."""
    from detrex_hub.catalogue import find_entry
    from detrex_hub.originals.sources import pull

    with out.progress() as progress:
        pulled = pull(
            find_entry(name, catalogue or ()), source=source, to=output, progress=progress
        )
    out.hint(
        f"{pulled.url}, {human_size(pulled.size)}, sha256 {pulled.sha256}, compared with "
        f"{pulled.pinned_by}"
    )
    out.show(pulled.to_json(), [str(pulled.path)], bare=[str(pulled.path)])
