"""`detrex-hub list`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument

from detrex_hub.cli.options import Catalogues
from detrex_hub.cli.output import Output

if TYPE_CHECKING:
    from detrex_hub.catalogue import CatalogueEntry

EXAMPLES = (
    "detrex-hub list",
    "detrex-hub list resnet",
    "detrex-hub list --catalogue my.toml",
    "detrex-hub list --json",
)


def command(
    out: Output,
    pattern: Annotated[
        str | None,
        Argument(
            metavar="[TEXT]", help="Show weights with this text in their name or architecture."
        ),
    ] = None,
    catalogue: Catalogues = None,
) -> None:
    """List the weights that are known by name."""
    from detrex_hub.catalogue import list_weights

    entries = list_weights(pattern, extra_catalogues=catalogue or ())
    lines = out.table(_HEAD, [_row(one) for one in entries])
    out.show([_document(one) for one in entries], lines, bare=[one.name for one in entries])


_HEAD = ("NAME", "ARCHITECTURE", "ACCURACY", "LICENCE", "ORIGIN", "PINNED", "TITLE")


def _row(entry: CatalogueEntry) -> tuple[str, ...]:
    best = entry.metrics[0] if entry.metrics else None
    accuracy = f"{best.name} {best.value:g}" if best else ""
    return (
        entry.name,
        entry.architecture,
        accuracy,
        entry.license or "",
        entry.origin,
        "+".join(entry.pinned) or "-",
        entry.title,
    )


def _document(entry: CatalogueEntry) -> dict[str, Any]:
    return {
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
