"""`detrex-hub export`"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from detrex_hub.cli import options
from detrex_hub.cli.groups import facts
from detrex_hub.cli.hints import SYNTHETIC
from detrex_hub.cli.options import Catalogues, FactsOption, Revision
from detrex_hub.cli.output import Output, human_size, pairs

if TYPE_CHECKING:
    from detrex_hub.exporting import Exported

EXAMPLES = (
    "detrex-hub export ./r101_v2 --to torchvision",
    "detrex-hub export ./my_detr --to original -o my_detr.pth",
    "detrex-hub export model_final.pth --to original",
    "detrex-hub export detrex/detr_r50 --to transformers -o ./detr",
    "detrex-hub export alice/my_detr --to transformers --push alice/my_detr-transformers",
)


def command(
    out: Output,
    what: Annotated[
        str,
        Argument(
            metavar="DIR_REPO_OR_FILE",
            help="A converted folder, owner/name, a name in the catalogue, or a file.",
            autocompletion=options.repositories,
        ),
    ],
    layout: Annotated[
        str,
        Option("--to", metavar="original|transformers|…", help="Write this layout."),
    ] = "original",
    output: Annotated[
        Path | None,
        Option(
            "--output",
            "-o",
            metavar="FILE_OR_FOLDER",
            help="Write here. Default: the folder ./NAME-LAYOUT for transformers and timm, "
            "else the file ./NAME-LAYOUT.pth.",
        ),
    ] = None,
    format: Annotated[
        str | None, Option("--format", metavar="pth|safetensors", help="Write this format.")
    ] = None,
    revision: Revision = None,
    classes_from: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Read the names of the classes: one per line, a JSON list, or COCO annotations.",
        ),
    ] = None,
    fact: FactsOption = None,
    catalogue: Catalogues = None,
    push: Annotated[
        str | None,
        Option(
            "--push",
            metavar="OWNER/NAME",
            help="Push the folder to this repository, and link both cards to each other.",
        ),
    ] = None,
    private: options.Private = False,
    create_pr: options.CreatePr = False,
    message: options.Message = None,
    license: options.License = None,
    collection: options.Collection = None,
    allow_synthetic: options.AllowSynthetic = False,
) -> None:
    """Export weights to the original, transformers or timm.

    With --to transformers, the folder of a detector opens in pipeline("object-detection").
    """
    from detrex_hub.architectures.class_names import read_names
    from detrex_hub.exporting import export
    from detrex_hub.repositories import PushOptions

    with out.progress() as progress:
        done = export(
            what,
            output,
            layout=layout,
            format=format,
            revision=revision,
            class_names=read_names(classes_from) if classes_from is not None else None,
            facts=facts(fact),
            extra_catalogues=catalogue or (),
            push_to=push,
            push=PushOptions(
                private=private,
                create_pr=create_pr,
                message=message,
                license=license,
                collection=collection,
                allow_synthetic=allow_synthetic,
            ),
            progress=progress,
        )
    for note in done.notes:
        out.hint(note)
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
            "classes": done.labels and f"{len(done.labels.names)}, {done.labels.origin}",
            "sha256": done.sha256,
            "pushed": done.pushed and done.pushed.url,
            "not in it": [
                f"{one.target}  x{one.tensors}  {one.note}"
                for one in fold(Pair((key,), key, reason) for key, reason in done.absent.items())
            ],
        }
    )
