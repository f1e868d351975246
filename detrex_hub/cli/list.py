"""`detrex-hub list`"""

from __future__ import annotations

from typing import Annotated

from typer import Argument

from detrex_hub.cli.options import Catalogues, Json, Quiet
from detrex_hub.cli.output import Output, table

EXAMPLES = (
    "detrex-hub list",
    "detrex-hub list resnet",
    "detrex-hub list --catalogue my.toml",
    "detrex-hub list --json",
)


def command(
    pattern: Annotated[
        str | None, Argument(metavar="[TEXT]", help="Part of a name or an architecture.")
    ] = None,
    catalogue: Catalogues = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List the weights that are known by name."""
    from detrex_hub.catalogue import load

    entries = [
        entry
        for entry in load(catalogue or ()).values()
        if pattern is None or pattern in entry.name or pattern in entry.architecture
    ]
    rows = []
    for entry in entries:
        best = entry.metrics[0] if entry.metrics else None
        accuracy = f"{best.name} {best.value:g}" if best else ""
        rows.append((entry.name, entry.architecture, accuracy, entry.license or "", entry.title))
    document = [
        {
            "name": entry.name,
            "architecture": entry.architecture,
            "title": entry.title,
            "license": entry.license,
            "metrics": {metric.name: metric.value for metric in entry.metrics},
            "base_config": entry.base_config,
        }
        for entry in entries
    ]
    Output(json=json, quiet=quiet).show(
        document,
        table(("NAME", "ARCHITECTURE", "ACCURACY", "LICENCE", "TITLE"), rows),
        bare=(entry.name for entry in entries),
    )
