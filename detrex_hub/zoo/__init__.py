"""The zoo page: one HTML file with all weights of the catalogue.

The page contains every row, its style and its script, and sends no request. So it opens from a
file, on a web server, and offline.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from detrex_hub.card import NAMESPACE, config_line
from detrex_hub.card.markdown import web_address
from detrex_hub.card.provenance import web_page
from detrex_hub.card.training_config import DETREX
from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.catalogue.entry import ORIGINS, Metric, Source
from detrex_hub.catalogue.outlines import outline
from detrex_hub.staging import publish_file, staging_folder

_HERE = Path(__file__).parent
_HOSTS = {"hf": "Hugging Face", "gdrive": "Google Drive", "gdrive-folder": "Google Drive"}


class Link(Struct, frozen=True, kw_only=True):
    """A source of weights: its host, its page, and the digest that a download is compared with."""

    host: str
    page: str | None
    pin: str


class Row(Struct, frozen=True, kw_only=True):
    """An entry's row on the page. ``parameters`` and ``size`` (bytes) are 0 if not known."""

    entry: CatalogueEntry
    kind: str
    backbone: str
    backbone_family: str
    parameters: int
    size: int
    accuracy: Metric | None
    others: tuple[Metric, ...]
    sources: tuple[Link, ...]
    origin: str
    config_page: str | None
    line: str


def write_page(path: Path, entries: Iterable[CatalogueEntry]) -> Path:
    """Write the page of some entries.

    Args:
        path: the file to write. Its folder must exist.
        entries: the entries to list, such as `detrex_hub.list_weights()`.

    Returns:
        the path.

    Raises:
        UnwritableError: the file cannot be written.

    Example:
        >>> from detrex_hub import list_weights
        >>> from detrex_hub.zoo import write_page
        >>> write_page(Path("zoo.html"), list_weights(arch="dino"))  # doctest: +SKIP
    """
    with staging_folder(path, option="--output") as staging:
        staged = staging / path.name
        staged.write_text(page(entries), encoding="utf-8", newline="\n")
        publish_file(staged, path)
    return path


def page(entries: Iterable[CatalogueEntry]) -> str:
    """The page of some entries, as HTML: the best detectors first, then the best backbones."""
    from jinja2 import Environment, StrictUndefined

    # escapes all text of a catalogue
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(millions=_millions, bytes=_bytes, address=web_address)
    style, script = (_text(name) for name in ("page.css", "page.js"))
    rows = sorted(map(_row, entries), key=_order)
    return environment.from_string(_text("page.html.jinja")).render(
        rows=rows,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        architectures=_counts(row.entry.architecture for row in rows),
        backbones=_counts(row.backbone_family for row in rows),
        licences=_counts(row.entry.license or "" for row in rows),
    )


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """The hash by which a Content-Security-Policy allows one style or script, and no other."""
    # a browser hashes the text between the tags; the template puts the tags on separate lines
    digest = hashlib.sha256(f"\n{text}".encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _row(entry: CatalogueEntry) -> Row:
    from detrex_hub.architectures import architecture

    known = outline(entry)
    accuracy = entry.accuracy
    config = entry.base_config
    return Row(
        entry=entry,
        kind="backbone" if architecture(entry.architecture).backbone else "detector",
        backbone=known.backbone if known else "",
        backbone_family=known.backbone_family if known else "",
        parameters=known.parameters if known else 0,
        size=known.size if known else 0,
        accuracy=accuracy,
        others=tuple(one for one in entry.metrics if one is not accuracy),
        sources=tuple(map(_link, entry.sources)),
        origin=ORIGINS[entry.origin],
        config_page=web_address(f"{DETREX}/blob/main/{config}") if config else None,
        line=config_line(entry, f"{NAMESPACE}/{entry.name}"),
    )


def _link(source: Source) -> Link:
    address = web_address(web_page(source.url))
    digest = source.sha256 or source.sha256_prefix
    pin = f"sha256 {digest}" if digest else f"commit {source.commit}" if source.commit else ""
    host = _HOSTS.get(source.scheme) or (urlsplit(source.url).hostname or source.url)
    return Link(host=host.removeprefix("www."), page=address, pin=pin)


def _order(row: Row) -> tuple[bool, bool, float, str]:
    """The order: detectors before backbones, the best first, those without a comparable figure
    last."""
    found = row.accuracy
    comparable = found is not None and found.name in ("box AP", "acc@1")
    value = found.value if found and comparable else 0.0
    return row.kind == "backbone", not comparable, -value, row.entry.name


def _counts(values: Iterable[str]) -> list[tuple[str, int]]:
    """The number of each value, in the order of the values. The empty value is left out."""
    found: dict[str, int] = {}
    for value in values:
        found[value] = found.get(value, 0) + 1
    return sorted((one for one in found.items() if one[0]), key=lambda one: one[0].lower())


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count < 1e9 else f"{count / 1e9:.2f} B"


def _bytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"
