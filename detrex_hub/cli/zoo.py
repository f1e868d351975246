"""`detrex-hub zoo`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from detrex_hub.cli.options import Catalogues
from detrex_hub.cli.output import Output

EXAMPLES = ("detrex-hub zoo", "detrex-hub zoo -o site/zoo.html --catalogue my.toml")


def command(
    out: Output,
    output: Annotated[
        Path, Option("--output", "-o", metavar="FILE", help="Write this file.")
    ] = Path("zoo.html"),
    catalogue: Catalogues = None,
) -> None:
    """Write a web page that lists all weights.

    The page is one file. It opens in a browser without a server or a network.
    """
    from detrex_hub.catalogue import list_weights
    from detrex_hub.zoo import write_page

    path = write_page(output, list_weights(extra_catalogues=catalogue or ()))
    out.show({"page": str(path)}, [str(path)], bare=[str(path)])
