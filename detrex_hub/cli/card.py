"""`detrex-hub card`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from detrex_hub.cli.options import Catalogues, Json, Quiet
from detrex_hub.cli.output import Output

EXAMPLES = ("detrex-hub card r101_v2", "detrex-hub card ./r101_v2 --repo alice/r101_v2")


def command(
    what: Annotated[
        str, Argument(metavar="NAME_OR_DIR", help="A name in the catalogue, or a converted folder.")
    ],
    repo: Annotated[
        str | None, Option(metavar="OWNER/NAME", help="The repository that its commands name.")
    ] = None,
    catalogue: Catalogues = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Print the model card of a name or a converted folder."""
    from detrex_hub.card import render_folder, render_for
    from detrex_hub.catalogue import find, load

    extra = catalogue or ()
    folder = Path(what)
    # a name wins over a folder of the same name, as in every command
    if "/" not in what and (what in load(extra) or not folder.is_dir()):
        card = render_for(find(what, extra), repo_id=repo)
    else:
        card = render_folder(folder, load(extra), repo_id=repo)
    lines = card.rstrip().split("\n")
    Output(json=json, quiet=quiet).show({"card": card}, lines, bare=lines)
