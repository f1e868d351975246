"""The card of an exported folder."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detrex_hub.architectures.declared import as_options
from detrex_hub.card import license_of
from detrex_hub.card.markdown import Markdown, escaping_template
from detrex_hub.card.yaml_metadata import read_metadata
from detrex_hub.exporting.export_source import ExportSource
from detrex_hub.records import read_bytes
from detrex_hub.repositories.names import is_repo_id

if TYPE_CHECKING:
    from jinja2 import Template

# of every detector in transformers
PIPELINE_DIFFERENCES = (
    "detrex rounds the longer side of a resized image up or down, transformers always down. If "
    "the sizes differ by a pixel, boxes differ by about one pixel and scores by about 0.001.",
    "transformers masks padding in a batch of images of different sizes, detrex does not. One "
    "image at a time is equal.",
    "A pipeline prints at most 100 detections, and does not clip boxes to the image.",
)


def origin_of(source: ExportSource) -> str | None:
    """The repository on the Hub from which the weights were taken; None if there is none."""
    repository = source.repository
    if repository is None or repository.commit is None or not is_repo_id(repository.address):
        return None
    return repository.address


def license_of_source(source: ExportSource) -> str | None:
    """The licence in the source's card; None if it states none.

    Raises:
        ConfigError: the card cannot be read.
    """
    card = source.repository.card if source.repository is not None else None
    if card is None:
        return None
    return license_of(read_bytes(card).decode(errors="replace"))


def render(
    source: ExportSource,
    *,
    software: str,
    architecture: str,
    task: str | None,
    snippet: str,
    packages: tuple[str, ...],
    differences: tuple[str, ...],
    classes: str | None,
    assumed: dict[str, Any],
    license: str | None,
) -> str:
    """The text of the card. The same export gives the same text.

    Args:
        source: the weights.
        software: ``transformers``, ``transformers_no_timm`` or ``timm``.
        architecture: the software's name of the model.
        task: of a pipeline; None for a backbone.
        snippet: the lines that open the folder.
        packages: the packages to install.
        differences: from the detrex model, one sentence or more each.
        classes: the origin of the class names; None for a backbone.
        assumed: facts that nothing states.
        license: an identifier of the Hub; None if it is unknown.
    """
    import yaml

    library = "timm" if software == "timm" else "transformers"
    origin = origin_of(source)
    head: dict[str, Any] = {
        "library_name": library,
        "pipeline_tag": task or "image-feature-extraction",
    }
    if license is not None:
        head["license"] = license
        head |= _license_details(source, license)
    head["tags"] = [library, architecture, "detrex", *(["synthetic"] if source.synthetic else [])]
    if origin is not None and not source.synthetic:
        head["base_model"] = origin
    where = origin or f"./{source.name}"
    body = _template().render(
        name=source.name,
        software=library,
        synthetic=source.synthetic,
        origin=Markdown(origin) if origin else None,
        snippet=Markdown(snippet),
        packages=Markdown(" ".join(packages)),
        assumed=list(assumed.items()),
        classes=classes,
        differences=differences,
        command=f"detrex-hub export {where} --to {software}"
        + (f" {as_options(assumed)}" if assumed else ""),
    )
    dumped = yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=float("inf"))
    return f"---\n{dumped}---\n\n{body}"


def _license_details(source: ExportSource, license: str) -> dict[str, str]:
    """The metadata that the Hub needs for a licence that is not in its list."""
    card = source.repository.card if source.repository is not None else None
    if license != "other" or card is None:
        return {}
    found = read_metadata(read_bytes(card).decode(errors="replace"), where=str(card))
    names = ("license_name", "license_link")
    return {name: str(found[name])[:500] for name in names if found.get(name)}


@cache
def _template() -> Template:
    return escaping_template(Path(__file__).with_name("card.md.jinja").read_text(encoding="utf-8"))
