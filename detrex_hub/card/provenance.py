"""Where weights come from, as rows and links."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from detrex_hub.card.markdown import Markdown, code, joined, link, md, number, prose
from detrex_hub.card.planned_conversion import Record
from detrex_hub.card.training_config import IMAGES, as_python
from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.catalogue.entry import Source, hub_file
from detrex_hub.records import ConversionRecord, RepositoryConfig
from detrex_hub.redaction import public_url


def licence_of(entry: CatalogueEntry | None) -> Markdown | None:
    if entry is None or entry.license is None:
        return None
    name = entry.license_name if entry.license == "other" else entry.license
    shown = prose(name or entry.license)
    return link(entry.license_link, shown) if entry.license_link else shown


def proof_of(record: Record) -> dict[str, int] | None:
    """The counts of the conversion's proof; None before a conversion."""
    return msgspec.structs.asdict(record.proof) if isinstance(record, ConversionRecord) else None


def result_rows(config: RepositoryConfig, record: Record) -> list[tuple[str, Markdown]]:
    """The output of a conversion, as (name, Markdown)."""
    if not isinstance(record, ConversionRecord):
        return []
    tool, size = record.tool, number(record.result.size)
    return [
        ("Converted by", prose(f"{tool.name} {tool.version}, mapper {record.plan.mapper}")),
        ("Result", md("{file}, {size} bytes", file=code(config.checkpoint.file), size=size)),
        ("sha256", code(config.checkpoint.sha256)),
    ]


def source_rows(
    record: Record, entry: CatalogueEntry | None, *, synthetic: bool
) -> list[tuple[str, Markdown]]:
    """The origin of the weights, as (name, Markdown)."""
    source = record.source
    file, url, size, sha256 = source.file, source.url, source.size, source.sha256
    shown = link(web_page(url), _label(url, file)) if url else code(file)
    if url and url.startswith("gdrive-folder"):
        command = code(f"detrex-hub convert {record.name} --source FILE")
        shown = md("{shown} (download it yourself): {command}", shown=shown, command=command)
    others = _links_to(entry.sources if entry else (), without=url)
    if synthetic:
        rows = [("Original", prose("none: seeded random numbers")), ("Real weights", others)]
    else:
        if size:
            shown = md("{shown}, {size} bytes", shown=shown, size=number(size))
        rows = [("Original", shown), ("Also at", others)]
    rows = [row for row in rows if row[1]]
    if sha256 is not None:
        shown = code(sha256)
        if pinned_by := source.pinned_by:
            shown = md("{shown}, compared with {pinned_by}", shown=shown, pinned_by=pinned_by)
        rows.append(("sha256", shown))
    shown = code(source.layout)
    if container := source.container:
        shown = md("{shown}, under {container}", shown=shown, container=code(container))
    if wrapper := source.wrapper:
        shown = md("{shown}, without {wrapper}", shown=shown, wrapper=code(wrapper))
    if prefix := source.prefix:
        shown = md("{shown}, below {prefix}", shown=shown, prefix=code(prefix))
    rows.append(("Its layout", shown))
    facts = {name: value for name, value in sorted(record.facts.items()) if name not in IMAGES}
    if facts:
        values = (code(f"{name} = {as_python(value)}") for name, value in facts.items())
        rows.append(("Not shown by shapes", joined(", ", values)))
    return rows


def web_page(url: str) -> str:
    """The web page of a source of the catalogue."""
    scheme, _, rest = url.partition("://")
    if scheme == "gdrive":
        return f"https://drive.google.com/file/d/{rest}/view"
    if scheme == "gdrive-folder":
        return f"https://drive.google.com/drive/folders/{rest}"
    on_hub = hub_file(url)
    if on_hub is not None:
        repo, revision, path = on_hub
        return f"https://huggingface.co/{repo}/blob/{revision or 'main'}/{path}"
    # the query of a private address grants access
    return public_url(url)


def _links_to(sources: Iterable[Source], *, without: str | None) -> Markdown:
    return joined(
        ", ",
        (
            link(web_page(one.url), _label(one.url, one.file))
            for one in sources
            if one.url != without
        ),
    )


def _label(url: str, file: str) -> Markdown:
    """The label of a source's file."""
    if url.startswith("gdrive-folder"):
        return prose("a folder of Google Drive")
    on_hub = hub_file(url)
    return code(f"{on_hub[0]}/{on_hub[2]}" if on_hub else file)


def linked_pages(pages: Iterable[str]) -> Markdown:
    return joined(", ", map(link, dict.fromkeys(pages)))


def pages_of(entry: CatalogueEntry | None) -> list[Markdown]:
    """Paper and code of the original."""
    found = {"Paper": entry.paper, "Code": entry.homepage} if entry else {}
    return [
        md("{name}: {page}", name=name, page=link(page)) for name, page in found.items() if page
    ]
