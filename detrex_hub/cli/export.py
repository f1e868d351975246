"""`detrex-hub export`"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from detrex_hub.cli.hints import SYNTHETIC
from detrex_hub.cli.options import Revision
from detrex_hub.cli.output import Output, human_size, pairs

if TYPE_CHECKING:
    from detrex_hub.exporting import Exported

EXAMPLES = (
    "detrex-hub export ./r101_v2 --to torchvision",
    "detrex-hub export ./my_detr --to original -o my_detr.pth",
    "detrex-hub export model_final.pth --to original",
)


def command(
    out: Output,
    what: Annotated[
        str,
        Argument(metavar="DIR_REPO_OR_FILE", help="A converted folder, owner/name, or a file."),
    ],
    layout: Annotated[
        str,
        Option("--to", metavar="original|torchvision|…", help="Write this layout."),
    ] = "original",
    output: Annotated[
        Path | None,
        Option(
            "--output", "-o", metavar="FILE", help="Write this file, ./NAME-LAYOUT.pth by default."
        ),
    ] = None,
    format: Annotated[
        str | None, Option("--format", metavar="pth|safetensors", help="Write this format.")
    ] = None,
    revision: Revision = None,
) -> None:
    """Write weights back in the original's names."""
    from detrex_hub.exporting import export

    with out.progress() as progress:
        done = export(
            what, output, layout=layout, format=format, revision=revision, progress=progress
        )
    if done.synthetic:
        out.hint(SYNTHETIC)
    out.show(done.to_json(), _lines(done), bare=[str(done.path)])


def _lines(done: Exported) -> Iterator[str]:
    from detrex_hub.mapping.fold import Pair, fold

    return pairs(
        {
            "exported": f"{done.architecture.name} ({done.layout})",
            "tensors": f"{len(done.plan.specs)}, every byte compared with the source",
            "weights": f"{done.path}, {human_size(done.size)}",
            "sha256": done.sha256,
            "not in it": [
                f"{one.target}  x{one.tensors}  {one.note}"
                for one in fold(Pair((key,), key, reason) for key, reason in done.absent.items())
            ],
        }
    )
