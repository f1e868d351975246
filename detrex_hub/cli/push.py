"""`detrex-hub push`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, BadParameter, Option

from detrex_hub.cli import options
from detrex_hub.cli.output import Output
from detrex_hub.cli.pushed import as_json, as_lines, warning

EXAMPLES = (
    "detrex-hub push ./r101_v2",
    "detrex-hub push ./r101_v2 --to ./hub",
    "detrex-hub push ./r101_v2 alice/r101_v2 --private --dry-run",
    "detrex-hub push model_final.pth --config config.yaml --metrics metrics.json",
)


def command(
    what: Annotated[
        Path,
        Argument(metavar="DIR_OR_CHECKPOINT", help="A converted folder, or what training left."),
    ],
    repo: Annotated[
        str | None, Argument(metavar="[OWNER/NAME]", help="Else the folder's or config's name.")
    ] = None,
    namespace: options.Namespace = None,
    to: options.To = None,
    private: options.Private = False,
    create_pr: options.CreatePr = False,
    message: Annotated[
        str | None, Option("--message", "-m", metavar="TEXT", help="The commit's title.")
    ] = None,
    license: options.License = None,
    config: Annotated[
        Path | None,
        Option(metavar="FILE", help="The config that a checkpoint was trained with."),
    ] = None,
    metrics: Annotated[
        Path | None,
        Option(metavar="FILE", help="The metrics.json of its training, for the card."),
    ] = None,
    ema: options.Ema = False,
    fact: options.FactsOption = None,
    allow_synthetic: options.AllowSynthetic = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Push a converted folder, or trained weights, as one commit; read it back."""
    out = Output(json=json, quiet=quiet)
    target: dict[str, Any] = {
        "namespace": namespace,
        "to": to,
        "private": private,
        "create_pr": create_pr,
        "message": message,
        "license": license,
        "dry_run": dry_run,
    }
    with out.progress() as progress:
        if what.is_file():
            from detrex_hub.publishing.batch import push_trained

            if config is None:
                raise BadParameter(f"{what} is a checkpoint: give its --config too")
            result = push_trained(
                what,
                repo,
                config=config,
                metrics=metrics,
                ema=ema,
                facts=options.facts(given=fact),
                progress=progress,
                **target,
            )
        else:
            from detrex_hub.repositories import push

            if config or metrics or ema or fact:
                raise BadParameter("--config, --metrics, --ema and --fact go with a checkpoint")
            result = push(what, repo, allow_synthetic=allow_synthetic, **target)
    if told := warning(result):
        out.hint(told)
    out.show(as_json(result), as_lines(result), bare=[result.url])
