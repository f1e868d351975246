"""The commands by name, in the order in which help shows them."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer

from detrex_hub import __version__

COMMANDS = (
    "list",
    "info",
    "pull",
    "inspect",
    "convert",
    "card",
    "verify",
    "push",
    "convert-and-push",
    "load",
    "diff",
    "export",
)

app = typer.Typer(
    help="Pretrained weights for detrex: converted, proven equal to the original, and shared.",
    epilog="\b\nStart here:\n"
    "  detrex-hub list\n"
    "  detrex-hub convert-and-push r101_v2 --to ./hub\n"
    "  detrex-hub load ./hub/detrex/r101_v2",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"detrex-hub {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    pass


def _examples(lines: tuple[str, ...]) -> str:
    # \b keeps the lines apart
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


for _name in COMMANDS:
    _module = import_module(f"detrex_hub.cli.{_name.replace('-', '_')}")
    app.command(_name, epilog=_examples(_module.EXAMPLES))(_module.command)
