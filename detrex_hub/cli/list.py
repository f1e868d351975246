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
    from detrex_hub.catalogue import list_weights

    entries = list_weights(pattern, extra_catalogues=catalogue or ())
    rows = []
    for entry in entries:
        best = entry.metrics[0] if entry.metrics else None
        accuracy = f"{best.name} {best.value:g}" if best else ""
        rows.append(
            (
                entry.name,
                entry.architecture,
                accuracy,
                entry.license or "",
                entry.origin,
                "+".join(entry.pinned),
                entry.title,
            )
        )
    document = [
        {
            "name": entry.name,
            "aliases": list(entry.aliases),
            "architecture": entry.architecture,
            "origin": entry.origin,
            "title": entry.title,
            "license": entry.license,
            "metrics": {metric.name: metric.value for metric in entry.metrics},
            "base_config": entry.base_config,
            "pinned": list(entry.pinned),
        }
        for entry in entries
    ]
    Output(json=json, quiet=quiet).show(
        document,
        table(("NAME", "ARCHITECTURE", "ACCURACY", "LICENCE", "ORIGIN", "PINNED", "TITLE"), rows),
        bare=(entry.name for entry in entries),
    )
