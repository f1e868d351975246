"""The metadata of a card, which the Hub searches and filters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from detrex_hub.architectures import architecture
from detrex_hub.card.markdown import clean, web_address
from detrex_hub.card.planned_conversion import Record
from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.catalogue.entry import Metric, hub_file, same_address
from detrex_hub.records import RepositoryConfig

# where the Hub has a name of its own for a metric
_METRIC_TYPES = {"acc@1": "accuracy", "acc@5": "top_5_accuracy"}


def metadata(
    config: RepositoryConfig, record: Record, entry: CatalogueEntry | None
) -> dict[str, Any]:
    """The metadata between the dashes: plain values for the Hub's search and filters.

    Synthetic weights claim no accuracy, no data that they were trained on, and no model that they
    were made from.
    """
    kind = architecture(config.architecture)
    tags = ["detrex", "detectron2", config.architecture, *kind.tags]
    found: dict[str, Any] = {
        "library_name": "detrex",
        "pipeline_tag": kind.task,
    }
    if entry is not None and entry.license is not None:
        found["license"] = entry.license
        if entry.license == "other":
            found["license_name"] = _slug(entry.license_name or "other")
            if entry.license_link and web_address(entry.license_link):
                found["license_link"] = web_address(entry.license_link)
    if config.synthetic:
        return found | {"tags": [*tags, "synthetic"]}
    found["tags"] = tags
    if entry is not None and entry.datasets:
        found["datasets"] = [clean(name) for name in entry.datasets]
    on_hub = _on_hub(record, entry)
    if on_hub is not None:
        found["base_model"] = on_hub
        # Without a relation the Hub infers a fine-tuned model. It lists models whose format was
        # converted as quantized ones: it knows no nearer relation.
        found["base_model_relation"] = "quantized"
    if entry is not None and entry.metrics:
        found["model-index"] = [
            {"name": clean(entry.name), "results": _results(entry.metrics, entry.datasets)}
        ]
    return found


def _on_hub(record: Record, entry: CatalogueEntry | None) -> str | None:
    """The repository on the Hub that holds the original, be it as one of several sources."""
    own = record.source.url or ""
    addresses = [one.url for one in entry.sources] if entry is not None else []
    if not any(same_address(own, one) for one in addresses):
        addresses = []
    addresses.insert(0, own)
    return next((found[0] for found in map(hub_file, addresses) if found), None)


def _results(metrics: Sequence[Metric], datasets: Sequence[str]) -> list[dict[str, Any]]:
    """Metrics as the Hub's model-index wants them: one result for a task, a dataset and a page."""
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for one in metrics:
        kind = _METRIC_TYPES.get(one.name, _slug(one.name, "_"))
        found.setdefault((one.task, one.dataset, one.source), []).append(
            {"type": kind, "value": one.value, "name": clean(one.name)}
        )
    results = []
    for (task, dataset, page), figures in found.items():
        result: dict[str, Any] = {
            "task": {"type": _slug(task), "name": clean(task).replace("-", " ").title()},
            "dataset": {"type": _dataset_type(dataset, datasets), "name": clean(dataset)},
            "metrics": figures,
        }
        if address := web_address(page):
            result["source"] = {"name": urlsplit(address).hostname, "url": address}
        results.append(result)
    return results


def _dataset_type(name: str, datasets: Sequence[str]) -> str:
    """The dataset's identifier on the Hub where the catalogue has it."""
    slug = _slug(name)
    for one in datasets:
        if slug.startswith(_slug(one.rpartition("/")[2])):
            return clean(one)
    return slug


def _slug(value: str, blank: str = "-") -> str:
    return re.sub(r"[^a-z0-9.]+", blank, clean(value).lower()).strip(blank) or "unknown"
