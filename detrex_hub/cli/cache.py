"""`detrex-hub cache`"""

from __future__ import annotations

import time
from collections.abc import Iterator
from enum import Enum
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

from typer import Argument, BadParameter, Option

from detrex_hub.cli.options import Catalogues
from detrex_hub.cli.output import Output, human_size

if TYPE_CHECKING:
    from detrex_hub.cache_contents import Removal, Stored

EXAMPLES = (
    "detrex-hub cache",
    "detrex-hub cache rm r101_v2",
    "detrex-hub cache prune --older-than 30",
    "detrex-hub cache --json",
    "detrex-hub cache rm my_r50 --catalogue my.toml",
)


class Action(str, Enum):
    """The actions of the command."""

    list = "list"
    rm = "rm"
    prune = "prune"


def command(
    out: Output,
    action: Annotated[
        Action, Argument(metavar="[list|rm|prune]", help="Choose the action. Default: list.")
    ] = Action.list,
    names: Annotated[
        list[str] | None, Argument(metavar="[NAME]...", help="Names that rm removes.")
    ] = None,
    all: Annotated[bool, Option("--all", help="With rm: remove everything.")] = False,
    older_than: Annotated[
        float | None,
        Option(
            metavar="DAYS", min=0, help="With prune: also remove weights unused for this many days."
        ),
    ] = None,
    catalogue: Catalogues = None,
) -> None:
    """List the content of the cache, or remove it.

    prune removes unfinished downloads. Files that another process uses are kept. Originals have
    the names of their files, unless a catalogue names them.
    """
    from detrex_hub import cache_contents

    if (action is Action.rm) != (bool(names) or all) or (names and all):
        raise BadParameter("pass NAME or --all with rm, and only with rm")
    if older_than is not None and action is not Action.prune:
        raise BadParameter("--older-than goes with prune")
    if action is Action.list:
        found = cache_contents.contents(catalogue or ())
        table = out.table(("NAME", "ORIGIN", "KINDS", "SIZE", "LAST USE"), [*_rows(found)])
        out.show([one.to_json() for one in found], table, bare=sorted({one.name for one in found}))
        return
    if action is Action.rm:
        done = [*cache_contents.remove(names or (), extra_catalogues=catalogue or ())]
    else:
        done = [*cache_contents.prune(older_than, extra_catalogues=catalogue or ())]
    out.show(
        [one.to_json() for one in done],
        _lines(done),
        bare=sorted({one.stored.name for one in done if one.removed}),
    )


def _rows(found: list[Stored]) -> Iterator[tuple[str, ...]]:
    for (name, origin), group in groupby(found, key=lambda one: (one.name, one.origin)):
        stored = [*group]
        yield (
            name,
            origin or "-",
            ", ".join(f"{one.kind} {human_size(one.size)}" for one in stored),
            human_size(sum(one.size for one in stored)),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(max(one.last_use for one in stored))),
        )


def _lines(done: list[Removal]) -> Iterator[str]:
    for one in done:
        what = f"{one.stored.name} ({one.stored.kind}, {human_size(one.stored.size)})"
        yield f"removed {what}" if one.removed else f"kept {what}: another process uses it"
    freed = sum(one.stored.size for one in done if one.removed)
    yield f"{human_size(freed)} freed"
