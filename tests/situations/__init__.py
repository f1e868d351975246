"""Common kinds of files, and the result of a command for each: the tests of `docs/situations.md`.

Each module holds some `Situation`s in ``SITUATIONS``, and ``TITLE``, the heading above them.
`python -m tests.situations` writes the page. The files are small models of the same structure.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

PAGE = Path(__file__).parents[2] / "docs" / "situations.md"

_HEAD = (
    "# Situations\n\n"
    "Which file do you have? Find it below and run the command. A refusal changes nothing and "
    "names a command that works.\n\n"
    "The tests build each of these files, run each command, and check what happens. "
    "`python -m tests.situations` writes this page.\n"
)


@dataclass(frozen=True)
class Situation:
    """A file, and the result of a command.

    Args:
        file: a description for readers.
        happens: the result of the command, in one sentence.
        command: the command, up to and with its options.
        build: a function that writes the file into a folder.
        says: texts that the output contains, on stdout or stderr.
        refused: whether the command ends with an error. The commands that the error names are then
            run too.
        elsewhere: whether these commands need another project's library, so that they are not run.
    """

    file: str
    happens: str
    command: str
    build: Callable[[Path], object]
    says: tuple[str, ...] = ()
    refused: bool = False
    elsewhere: bool = False


@cache
def modules() -> tuple[ModuleType, ...]:
    """The modules with situations, by name."""
    names = sorted(one.name for one in pkgutil.iter_modules(__path__) if one.name[0] != "_")
    found = (importlib.import_module(f"{__name__}.{name}") for name in names)
    return tuple(one for one in found if hasattr(one, "SITUATIONS"))


def situations() -> Iterator[Situation]:
    """All of them."""
    for module in modules():
        yield from module.SITUATIONS


def page() -> str:
    """The text of `docs/situations.md`."""
    parts = [_HEAD]
    for module in modules():
        rows = [
            f"| {_cell(one.file)} | {_cell(one.happens)} | `{_cell(one.command)}` |"
            for one in module.SITUATIONS
        ]
        table = ["| file | what happens | command |", "|---|---|---|", *rows]
        parts.append("\n".join([f"## {module.TITLE}", "", *table]) + "\n")
    return "\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
