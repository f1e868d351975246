"""`detrex-hub card`"""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Option

from detrex_hub.cli.options import Catalogues
from detrex_hub.cli.output import Output

EXAMPLES = ("detrex-hub card r101_v2", "detrex-hub card ./r101_v2 --repo alice/r101_v2")


def command(
    out: Output,
    what: Annotated[
        str, Argument(metavar="NAME_OR_DIR", help="A name in the catalogue, or a converted folder.")
    ],
    repo: Annotated[
        str | None,
        Option(metavar="OWNER/NAME", help="Name this repository in the card's commands."),
    ] = None,
    catalogue: Catalogues = None,
) -> None:
    """Print the model card of a name or a converted folder."""
    from detrex_hub.resolving import card_of

    card = card_of(what, repo_id=repo, extra_catalogues=catalogue or ())
    lines = card.rstrip().split("\n")
    out.show({"card": card}, lines, bare=lines)
