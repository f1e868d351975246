"""`detrex-hub lock`"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from typer import BadParameter, Option

from detrex_hub.cli.options import Catalogues, Names
from detrex_hub.cli.output import Output

if TYPE_CHECKING:
    from detrex_hub.pinning import Pinned

EXAMPLES = (
    "detrex-hub lock r101_v2",
    "detrex-hub lock r101_v2 --check",
    "detrex-hub lock --all --catalogue my.toml",
)


def command(
    out: Output,
    names: Names = None,
    all: Annotated[bool, Option("--all", help="Pin the whole catalogue.")] = False,
    check: Annotated[
        bool, Option("--check", help="Write nothing; exit with 1 if the lock differs.")
    ] = False,
    catalogue: Catalogues = None,
) -> None:
    """Pin originals and conversions in the catalogue's lock.

    Pulls, converts, and writes size, sha256 and commit of each source, and sha256 of each result.
    The lock of my.toml is my.lock.toml beside it.

    --check asks the source itself, even if the cache has the file. The Hub states the sha256; from
    other places the file is downloaded again.
    """
    from detrex_hub.pinning import disagreement, pin_weights

    if bool(names) == all:
        raise BadParameter("give names or --all")
    with out.progress() as progress:
        found = [
            *pin_weights(
                names or (), check=check, extra_catalogues=catalogue or (), progress=progress
            )
        ]
    error = disagreement(found, check=check)
    out.show(
        [one.to_json() for one in found],
        (
            line
            for one in found
            if not error or one.error is not error
            for line in _lines(one, check)
        ),
        bare=[one.name for one in found if one.changes],
    )
    if error is not None:
        raise error


def _lines(one: Pinned, check: bool) -> Iterator[str]:
    if one.error is not None:
        yield f"{one.name}: refused: {one.error}"
    elif one.agrees:
        yield f"{one.name}: as in {one.lock}"
    else:
        yield f"{one.name}: {'differs from' if check else 'written to'} {one.lock}"
        yield from (f"  {change}" for change in one.changes)
