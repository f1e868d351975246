"""`detrex-hub push`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, BadParameter, Option

from detrex_hub.cli import hints, options, pushed
from detrex_hub.cli.output import Output

EXAMPLES = (
    "detrex-hub push ./r101_v2",
    "detrex-hub push ./r101_v2 --to ./hub",
    "detrex-hub push ./r101_v2 alice/r101_v2 --private --dry-run",
    "detrex-hub push model_final.pth --config config.yaml --metrics metrics.json",
)


def command(
    out: Output,
    what: Annotated[
        str,
        Argument(
            metavar="DIR_OR_CHECKPOINT",
            help="A converted folder, a name in the catalogue, or a training checkpoint.",
        ),
    ],
    repo: Annotated[
        str | None,
        Argument(
            metavar="[OWNER/NAME]",
            help="The repository. Default: the name of the folder or config.",
        ),
    ] = None,
    namespace: options.Namespace = None,
    to: options.To = None,
    private: options.Private = False,
    create_pr: options.CreatePr = False,
    message: Annotated[
        str | None, Option("--message", "-m", metavar="TEXT", help="Set the title of the commit.")
    ] = None,
    license: options.License = None,
    config: Annotated[
        Path | None,
        Option(metavar="FILE", help="Use the config that the checkpoint was trained with."),
    ] = None,
    metrics: Annotated[
        Path | None,
        Option(metavar="FILE", help="Put the accuracy of this metrics.json on the card."),
    ] = None,
    ema: options.Ema = False,
    fact: options.FactsOption = None,
    allow_synthetic: options.AllowSynthetic = False,
    dry_run: options.DryRun = False,
) -> None:
    """Push converted or trained weights as one commit.

    The commit is read back and compared.
    """
    if Path(what).is_file():
        from detrex_hub.publishing.batch import push_trained

        if config is None:
            raise BadParameter(f"{what} is a checkpoint: give its --config too")
        with out.progress() as progress:
            result = push_trained(
                what,
                repo,
                config=config,
                metrics=metrics,
                ema=ema,
                facts=options.facts(given=fact),
                namespace=namespace,
                to=to,
                private=private,
                create_pr=create_pr,
                dry_run=dry_run,
                message=message,
                license=license,
                progress=progress,
            )
    else:
        from detrex_hub.repositories import push
        from detrex_hub.resolving import folder_of

        if config or metrics or ema or fact:
            raise BadParameter("--config, --metrics, --ema and --fact need a checkpoint")
        with out.progress() as progress:
            result = push(
                folder_of(what, progress=progress),
                repo,
                namespace=namespace,
                to=to,
                private=private,
                create_pr=create_pr,
                dry_run=dry_run,
                message=message,
                allow_synthetic=allow_synthetic,
                license=license,
                progress=progress,
            )
    for line in hints.of_push(result):
        out.hint(line)
    out.show(result.to_json(), pushed.lines(result), bare=[result.url])
