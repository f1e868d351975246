"""`detrex-hub list`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from detrex_hub.cli.options import Catalogues, architecture_names, backbone_names, license_names
from detrex_hub.cli.output import Output, human_size

if TYPE_CHECKING:
    from detrex_hub.catalogue import CatalogueEntry

EXAMPLES = (
    "detrex-hub list",
    "detrex-hub list --arch dino --backbone swin-l",
    "detrex-hub list --min-ap 55 --license apache-2.0",
    "detrex-hub list resnet --json",
    "detrex-hub list --catalogue my.toml",
)


def command(
    out: Output,
    text: Annotated[
        str | None,
        Argument(
            metavar="[TEXT]",
            help="Show weights with these words in their name, title or architecture.",
        ),
    ] = None,
    arch: Annotated[
        str | None,
        Option(
            metavar="ARCH",
            help="Show one architecture, such as dino.",
            autocompletion=architecture_names,
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="Show one backbone or family, such as r50, swin or swin-l.",
            autocompletion=backbone_names,
        ),
    ] = None,
    license: Annotated[
        str | None,
        Option(
            metavar="ID",
            help="Show one licence, such as apache-2.0.",
            autocompletion=license_names,
        ),
    ] = None,
    min_ap: Annotated[
        float | None,
        Option(metavar="AP", min=0, max=100, help="Show detectors with at least this box AP."),
    ] = None,
    catalogue: Catalogues = None,
) -> None:
    """List the weights that are known by name.

    SIZE is the size of the converted weights. DOWNLOAD is auto if the original downloads
    automatically, and Drive if it is only on Google Drive.
    """
    from detrex_hub.catalogue import load_entries
    from detrex_hub.catalogue.selection import Selection

    known = [*load_entries(catalogue or ()).values()]
    wanted = Selection(text=text, arch=arch, backbone=backbone, license=license, min_ap=min_ap)
    entries = wanted.of(known)
    if not entries:
        out.hint(wanted.why_none(known))
    lines = out.table(_HEAD, [_row(one) for one in entries])
    out.show([_document(one) for one in entries], lines, bare=[one.name for one in entries])


_HEAD = ("NAME", "BACKBONE", "ACCURACY", "SIZE", "DOWNLOAD", "LICENCE")


def _row(entry: CatalogueEntry) -> tuple[str, ...]:
    from detrex_hub.catalogue.outlines import outline

    known = outline(entry)
    accuracy = entry.accuracy
    return (
        entry.name,
        known.backbone if known else "",
        f"{accuracy.name} {accuracy.value:.1f}" if accuracy else "",
        human_size(known.size) if known else "",
        "auto" if entry.downloads else "Drive" if entry.sources else "",
        entry.license or "",
    )


def _document(entry: CatalogueEntry) -> dict[str, Any]:
    from detrex_hub.catalogue.outlines import outline

    known = outline(entry)
    return {
        "name": entry.name,
        "aliases": list(entry.aliases),
        "architecture": entry.architecture,
        "backbone": known.backbone if known else None,
        "parameters": known.parameters if known else None,
        "size": known.size if known else None,
        "origin": entry.origin,
        "title": entry.title,
        "license": entry.license,
        "metrics": {metric.name: metric.value for metric in entry.metrics},
        "base_config": entry.base_config,
        "downloads_by_itself": entry.downloads,
        "pinned": list(entry.pinned),
    }
