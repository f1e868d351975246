"""The reference of all commands as Markdown, made from what the commands declare."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from detrex_hub.cli.app import COMMANDS, group


def reference() -> str:
    """A page with every command: its purpose, arguments, options and examples."""
    lines = [
        "# Commands",
        "",
        "Commands print data on stdout, progress and hints on stderr. `--json` prints one JSON "
        "document, and the events of a batch on stderr, `--quiet` only the bare result. Long lines "
        "are wrapped in a terminal, and stay one line in a pipe or a file. The exit code is 0 if "
        "the command did its work, 1 if it refused, and 2 for wrong usage. "
        "`python -m detrex_hub` works too.",
        "",
    ]
    for name in COMMANDS:
        lines += _command(name, group().commands[name])
    return "\n".join(lines)


def _command(name: str, command: Any) -> Iterator[str]:
    yield f"## {name}"
    yield ""
    yield from _purpose(command.help)
    yield from _parameters(command)
    module = import_module(f"detrex_hub.cli.{name.replace('-', '_')}")
    yield "```sh"
    yield from module.EXAMPLES
    yield "```"
    yield ""


def _purpose(text: str | None) -> Iterator[str]:
    for part in re.split(r"\n\s*\n", (text or "").strip()):
        # marks of a paragraph that click keeps as it is
        yield " ".join(part.replace("\b", "").split())
        yield ""


def _parameters(command: Any) -> Iterator[str]:
    rows = [_row(one) for one in command.params if not getattr(one, "hidden", False)]
    rows = [row for row in rows if row]
    if not rows:
        return
    yield "| argument or option | effect |"
    yield "|---|---|"
    yield from (f"| {shown} | {text} |" for shown, text in rows)
    yield ""


def _row(parameter: Any) -> tuple[str, str]:
    text = " ".join((parameter.help or "").split()).replace("|", "\\|")
    metavar = (parameter.metavar or "").replace("|", "\\|")
    if parameter.param_type_name == "argument":
        return f"`{metavar or parameter.name.upper()}`", text
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    return f"{names} `{metavar}`" if metavar else names, text
