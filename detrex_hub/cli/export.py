"""`detrex-hub export`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from detrex_hub.cli.options import Json, Quiet, Revision
from detrex_hub.cli.output import Output, human_size, pairs

EXAMPLES = (
    "detrex-hub export ./r101_v2 --to torchvision",
    "detrex-hub export ./my_detr --to original -o my_detr.pth",
    "detrex-hub export model_final.pth --to original",
)


def command(
    what: Annotated[
        str,
        Argument(metavar="DIR_REPO_OR_FILE", help="A converted folder, owner/name, or a file."),
    ],
    layout: Annotated[
        str,
        Option("--to", metavar="original|torchvision|…", help="The layout to be written."),
    ] = "original",
    output: Annotated[
        Path | None,
        Option("--output", "-o", metavar="FILE", help="Default: ./NAME-LAYOUT.pth"),
    ] = None,
    format: Annotated[str | None, Option("--format", metavar="pth|safetensors")] = None,
    revision: Revision = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write weights back in the original's names."""
    from detrex_hub.exporting import export
    from detrex_hub.mapping.fold import Pair, fold

    out = Output(json=json, quiet=quiet)
    with out.progress() as progress:
        done = export(
            what, output, layout=layout, format=format, revision=revision, progress=progress
        )
    if done.synthetic:
        out.hint("These are seeded numbers in the original's shapes, not the real weights.")
    shown = {
        "exported": f"{done.architecture.name} ({done.layout})",
        "tensors": f"{len(done.plan.specs)}, every byte compared with the source",
        "weights": f"{done.path}, {human_size(done.size)}",
        "sha256": done.sha256,
        "not in it": [
            f"{one.target}  x{one.tensors}  {one.note}"
            for one in fold(Pair((key,), key, reason) for key, reason in done.absent.items())
        ],
    }
    out.show(done.to_json(), pairs(shown), bare=[str(done.path)])
