"""`detrex-hub convert`"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

from typer import Option

from detrex_hub.cli import hints, options
from detrex_hub.cli.groups import ConversionGroup
from detrex_hub.cli.output import Output, human_size, pairs

if TYPE_CHECKING:
    from detrex_hub.conversion import Converted

EXAMPLES = (
    "detrex-hub convert r101_v2",
    "detrex-hub convert r101_v1.pth -o r101_v1.pkl",
    "detrex-hub convert my_detr.pth -o my_detr --dc5",
    "detrex-hub convert detr_r50 --dry-run",
    "detrex-hub convert facebook/detr-resnet-50 --revision no_timm",
    "detrex-hub convert dino_r50_4scale_12ep.pth --classes-from my_classes.txt",
    "detrex-hub convert model_final.pth --ema",
)


def command(
    out: Output,
    what: options.NameOrFile,
    output: Annotated[
        Path | None,
        Option(
            "--output",
            "-o",
            metavar="DIR_OR_FILE",
            help="Write a folder (default ./NAME or ./NAME_detrex), or only a .safetensors, .pth "
            "or .pkl file.",
        ),
    ] = None,
    format: Annotated[
        str | None,
        Option("--format", metavar="safetensors|pth|pkl", help="Write the weights in this format."),
    ] = None,
    dry_run: Annotated[bool, Option("--dry-run", help="Print the plan and write nothing.")] = False,
    *,
    conversion: ConversionGroup,
) -> None:
    """Convert weights to detrex's names and prove the result.

    Every byte of the result is compared with the original.
    """
    from detrex_hub.checkpoints import format_of, written_format
    from detrex_hub.conversion import execute, prepare

    written_format(output, format)
    hashed = not dry_run and format_of(output) is None
    with (
        out.progress() as progress,
        prepare(what, conversion.options(), progress=progress, hashed=hashed) as planned,
    ):
        if dry_run:
            from detrex_hub.cli.plan_lines import plan_lines

            out.show(planned.to_json(), plan_lines(planned), bare=planned.plan.moves)
            return
        done = execute(planned, output, format=format, progress=progress)
    for line in hints.of_conversion(done):
        out.hint(line)
    out.show(done.to_json(), _lines(done), bare=[str(done.folder or done.path)])


def _lines(done: Converted) -> Iterator[str]:
    conversion = done.conversion
    plan = conversion.plan
    # the Hub refuses seeded numbers
    into = " --to ./hub" if conversion.synthetic else ""
    return pairs(
        {
            "converted": f"{conversion.name}, {conversion.architecture.name} ({conversion.layout})",
            "tensors": f"{len(plan.moves)} moved, {len(plan.dropped)} dropped, every byte compared "
            "with the source",
            "weights": f"{done.path}, {human_size(done.size)}",
            "sha256": done.sha256,
            "next": done.folder and f"detrex-hub push {quote(str(done.folder))}{into}",
        }
    )
