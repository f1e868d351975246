"""The values of a card's body, from the records and the catalogue. The template gives the form."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from detrex_hub.architectures import architecture
from detrex_hub.card.markdown import Markdown, clean, code, joined, md, number, prose
from detrex_hub.card.moved import as_codes, plan_values
from detrex_hub.card.planned_conversion import Record
from detrex_hub.card.provenance import (
    licence_of,
    linked_pages,
    pages_of,
    proof_of,
    result_rows,
    source_rows,
)
from detrex_hub.card.relatives import relatives
from detrex_hub.card.training_config import (
    IMAGES,
    as_python,
    in_transformers,
    override_values,
    snippet_values,
)
from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.catalogue.entry import ORIGINS
from detrex_hub.mapping.fold import fold_keys
from detrex_hub.records import ACCURACY, FILTERS, ConversionRecord, RepositoryConfig


def body_values(
    config: RepositoryConfig,
    record: Record,
    entry: CatalogueEntry | None,
    repo_id: str,
    *,
    another: bool,
    pictures: Collection[str] = (),
) -> dict[str, Any]:
    """The values of the body, by the names that the template uses.

    Args:
        config: what is described.
        record: its `conversion.json`.
        entry: what the catalogue says of the weights.
        repo_id: the repository that the commands name, which is checked.
        another: whether the weights are known to be of another file than the entry's.
        pictures: the names of the pictures that lie beside the card.

    Raises:
        ConfigError: the recorded plan is malformed.
    """
    kind = architecture(config.architecture)
    name = record.name
    # weights that were trained here and not published elsewhere have no source
    trained = entry is not None and not entry.sources
    plan = plan_values(record.plan)
    return {
        "name": name,
        "title": clean(entry.title if entry else name, 200),
        "summary": entry.summary if entry else "",
        "repo_id": Markdown(repo_id),
        "backbone": kind.backbone,
        "synthetic": config.synthetic,
        "another": another,
        # in the order of the record, which is sorted
        "assumed": [(name, as_python(value)) for name, value in sorted(record.assumed.items())],
        "non_commercial": entry is not None and entry.non_commercial,
        "licence": licence_of(entry),
        "licence_evidence": entry.license_evidence if entry else None,
        **snippet_values(config, name),
        **override_values(config),
        **plan,
        "facts": _facts(config, record, entry, plan["types"]),
        "metrics": _metrics(entry),
        "filters": FILTERS in pictures,
        "plotted": _plotted(entry) if ACCURACY in pictures else None,
        "relatives": [] if config.synthetic else _relatives(entry),
        "metric_pages": linked_pages(one.source for one in entry.metrics if one.source)
        if entry
        else "",
        # weights that were trained in detrex have no original to differ from
        "differences": []
        if trained or (entry and entry.origin == "trained")
        else _differences(config, record.facts),
        "transformers": in_transformers(config, name),
        "trained": trained,
        "authors": ", ".join(entry.authors) if entry else "",
        "pages": pages_of(entry),
        "citation": entry.citation if entry else None,
        "provenance": [
            *source_rows(record, entry, synthetic=config.synthetic),
            *result_rows(config, record),
        ],
        "proof": proof_of(record),
        "notes": record.notes,
        "set_by_model": as_codes(one.target for one in fold_keys(config.checkpoint.set_by_model)),
    }


def _facts(
    config: RepositoryConfig, record: Record, entry: CatalogueEntry | None, types: str
) -> list[tuple[str, Markdown]]:
    """The few things to know at a glance, as (name, Markdown)."""
    chosen = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in sorted(config.hyper_parameters.items())
        if value is not None
    ]
    rows = [("Architecture", code(config.architecture))]
    if chosen:
        rows.append(("Hyper-parameters", prose(", ".join(chosen))))
    made = record.result if isinstance(record, ConversionRecord) else record
    if record.plan is not None and made.parameters is not None:
        size = f"{made.parameters / 1e6:,.1f} M in {number(len(record.plan.moves))} tensors"
        rows.append(("Parameters", prose(f"{size} of {types}" if types else size)))
    images = config.preprocessing
    if all(name in images for name in IMAGES):
        order, mean, std = (images[name] for name in IMAGES)
        scale = {"order": order, "mean": code(mean), "std": code(std)}
        rows.append(("Images", md("{order}, mean {mean}, std {std}, in 0..255", **scale)))
    if entry is not None:
        licence = licence_of(entry) or prose("not stated by the authors")
        rows.append(("Licence", licence))
        if entry.sources:
            rows.append(("Origin", prose(ORIGINS[entry.origin])))
        if entry.aliases:
            rows.append(("Also called", joined(", ", map(code, entry.aliases))))
    return rows


def _metrics(entry: CatalogueEntry | None) -> list[tuple[str, str, str]]:
    """Published figures as (dataset, metric, value), all with as many decimals."""
    if entry is None:
        return []
    decimals = max((len(str(m.value).partition(".")[2]) for m in entry.metrics), default=0)
    return [
        (one.dataset, one.name, f"{one.value:.{decimals}f}{f' {one.unit}' if one.unit else ''}")
        for one in entry.metrics
    ]


def _plotted(entry: CatalogueEntry | None) -> str | None:
    """The label of the plot's vertical axis."""
    found = entry.accuracy if entry is not None else None
    return f"{found.name} on {found.dataset}" if found is not None else None


def _relatives(entry: CatalogueEntry | None) -> list[tuple[str, str, Markdown]]:
    """Relatives as (name, title, figure)."""
    if entry is None:
        return []
    return [
        (one.name, one.title, md("{name} {value}", name=one.accuracy.name, value=f"{value:.1f}"))
        for one in relatives(entry)
        if one.accuracy is not None and (value := one.accuracy.value) is not None
    ]


def _differences(config: RepositoryConfig, facts: Mapping[str, Any]) -> list[str]:
    """How the detrex model computes differently from the original, for any mapping."""
    if not config.hyper_parameters:
        # an entry of the catalogue that leaves them to the file's shapes
        return []
    kind = architecture(config.architecture)
    fields = kind.__struct_fields__
    # an entry of the catalogue leaves to its facts what shapes cannot show
    said = {name: value for name, value in facts.items() if name in fields}
    return [*kind.from_hyper_parameters({**said, **config.hyper_parameters}).differences()]
