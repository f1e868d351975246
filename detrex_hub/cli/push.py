"""`detrex-hub push`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from detrex_hub.cli import options
from detrex_hub.cli.output import Output
from detrex_hub.cli.pushed import as_json, as_lines, warning

EXAMPLES = (
    "detrex-hub push ./r101_v2",
    "detrex-hub push ./r101_v2 --to ./hub",
    "detrex-hub push ./r101_v2 alice/r101_v2 --private --dry-run",
)


def command(
    folder: Annotated[Path, Argument(metavar="DIR", help="A converted folder.")],
    repo: Annotated[
        str | None, Argument(metavar="[OWNER/NAME]", help="The folder's name, if not given.")
    ] = None,
    namespace: options.Namespace = None,
    to: options.To = None,
    private: options.Private = False,
    create_pr: options.CreatePr = False,
    message: Annotated[
        str | None, Option("--message", "-m", metavar="TEXT", help="The commit's title.")
    ] = None,
    license: options.License = None,
    allow_synthetic: options.AllowSynthetic = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Push a converted folder as one commit, and read it back."""
    from detrex_hub.hub import push

    out = Output(json=json, quiet=quiet)
    result = push(
        folder,
        repo,
        namespace=namespace,
        to=to,
        private=private,
        create_pr=create_pr,
        message=message,
        license=license,
        allow_synthetic=allow_synthetic,
        dry_run=dry_run,
    )
    if told := warning(result):
        out.hint(told)
    out.show(as_json(result), as_lines(result), bare=[result.url])
