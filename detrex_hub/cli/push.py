"""`detrex-hub push`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from detrex_hub.cli import hints, options
from detrex_hub.cli.groups import PushGroup, facts
from detrex_hub.cli.output import Output
from detrex_hub.cli.push_lines import push_lines

EXAMPLES = (
    "detrex-hub push ./r101_v2",
    "detrex-hub push ./r101_v2 --to ./hub",
    "detrex-hub push ./r101_v2 alice/r101_v2 --private --dry-run",
    "detrex-hub push model_final.pth --config config.yaml --metrics metrics.json",
    "detrex-hub push ./output alice/my_dino --license apache-2.0",
)


def command(
    out: Output,
    what: Annotated[
        str,
        Argument(
            metavar="DIR_OR_CHECKPOINT",
            help="A converted folder, a name in the catalogue, or a training's checkpoint or "
            "output folder.",
        ),
    ],
    repo: Annotated[
        str | None,
        Argument(
            metavar="[OWNER/NAME]",
            help="The repository. Default: the name of the folder or config.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        Option(metavar="FILE", help="Describe the checkpoint by its training config."),
    ] = None,
    metrics: Annotated[
        Path | None,
        Option(metavar="FILE", help="Put the accuracy of this metrics.json on the card."),
    ] = None,
    ema: options.Ema = False,
    fact: options.FactsOption = None,
    catalogue: options.Catalogues = None,
    *,
    push: PushGroup,
) -> None:
    """Push converted or trained weights as one commit.

    The commit is read back and compared.
    """
    from detrex_hub.publishing.single import push_any
    from detrex_hub.publishing.training_run import TrainingRun

    run = TrainingRun(config=config, metrics=metrics, ema=ema, facts=facts(fact))
    with out.progress() as progress:
        result = push_any(
            what,
            repo,
            push.options(),
            run,
            extra_catalogues=catalogue or (),
            progress=progress,
        )
    for line in hints.of_push(result):
        out.hint(line)
    out.show(result.to_json(), push_lines(result), bare=[result.url])
