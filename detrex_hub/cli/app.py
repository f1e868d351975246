"""The commands by name, in the order in which help shows them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from inspect import Parameter, signature
from typing import Annotated, Any

import typer
from msgspec import Struct

from detrex_hub import __version__
from detrex_hub.cli.options import Json, Quiet
from detrex_hub.cli.output import Output
from detrex_hub.cli.wrapping import on_terminal

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
    "check",
    "diff",
    "export",
    "lock",
    "cache",
    "zoo",
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


# columns before each line of help
_HELP_INDENT = 2


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
    shown = (on_terminal(f"  {line}", sys.stdout, _HELP_INDENT) for line in lines)
    return "\n".join(("\b", "Examples:", *shown))


def _with_output(command: Callable[..., None]) -> Callable[..., None]:
    """The command for typer: with the options ``--json`` and ``--quiet``, which create its first
    parameter ``out``, and with the options of its groups."""
    own = signature(command, eval_str=True)
    _, *declared = own.parameters.values()
    annotations: dict[str, Any] = {one.name: one.annotation for one in declared}
    groups: dict[str, Any] = {
        name: kind
        for name, kind in annotations.items()
        if isinstance(kind, type) and issubclass(kind, Struct)
    }

    def run(*, json: bool, quiet: bool, **given: Any) -> None:
        with Output(json=json, quiet=quiet) as out:
            for name, group in groups.items():
                options = {one: given.pop(one) for one in group.__struct_fields__}
                given[name] = group(**options)
            command(out, **given)

    parameters = [
        option
        for one in declared
        for option in (_options_of(groups[one.name]) if one.name in groups else [one])
    ]
    for name, kind in (("json", Json), ("quiet", Quiet)):
        parameters.append(Parameter(name, Parameter.KEYWORD_ONLY, default=False, annotation=kind))
    keywords = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in parameters]
    # what typer reads
    run.__signature__ = own.replace(parameters=keywords)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in keywords}
    run.__doc__ = command.__doc__
    return run


def _options_of(group: type[Any]) -> list[Parameter]:
    """The fields of a group of options, as parameters."""
    return list(signature(group, eval_str=True).parameters.values())


def _read_as_a_path(parameter: Any) -> None:
    """Refuse the empty text of an unset shell variable where a name or path is expected. As a path,
    it would mean the current folder. In the path of an option, expand ``~``: shells leave it in
    ``--output=~/weights``."""
    is_path = parameter.type.name in ("path", "file") or parameter.name == "output"
    if parameter.param_type_name != "argument" and not is_path:
        return
    cast = parameter.type_cast_value

    def read(context: Any, text: Any) -> Any:
        if text == "":
            raise typer.BadParameter("it is empty", ctx=context, param=parameter)
        # a Path would lose a separator at its end
        return os.path.expanduser(text) if is_path and text else text  # noqa: PTH111

    def cast_text(context: Any, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return cast(context, [read(context, one) for one in value])
        return cast(context, read(context, value))

    parameter.type_cast_value = cast_text


class _Commands(Mapping[str, Any]):
    """Commands by name. Each is imported on request, so that one command does not import the code
    of all."""

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        module = import_module(f"detrex_hub.cli.{name.replace('-', '_')}")
        one = typer.Typer(
            add_completion=False,
            rich_markup_mode=None,
            context_settings=app.info.context_settings,
        )
        one.command(name, epilog=_examples(module.EXAMPLES))(_with_output(module.command))
        made = typer.main.get_command(one)
        for parameter in made.params:
            _read_as_a_path(parameter)
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


def group() -> Any:
    """The group of all commands, which is called with the arguments of a command line."""
    made: Any = typer.main.get_command(app)
    made.commands = _Commands()
    return made
