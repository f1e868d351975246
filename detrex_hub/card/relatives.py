"""The models of the catalogue that a card compares its own with."""

from __future__ import annotations

from collections.abc import Iterator

from detrex_hub import catalogue
from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.catalogue.outlines import Outline, outline
from detrex_hub.pictures import Point, scatter

_MOST = 12


def relatives(entry: CatalogueEntry) -> list[CatalogueEntry]:
    """Other weights of the same architecture on the same backbone with a published figure of the
    same kind, the best first."""
    own = outline(entry)
    found = [
        one
        for one, theirs in _comparable(entry)
        if own is not None and one.name != entry.name and theirs.backbone == own.backbone
    ]
    return sorted(found, key=lambda one: (-_value(one), one.name))[:_MOST]


def plot(entry: CatalogueEntry) -> bytes | None:
    """Accuracy against parameters of an entry's architecture, with the entry marked.

    Returns:
        a PNG file; None where fewer than three models could be shown.
    """
    own = outline(entry)
    others = [(one, theirs) for one, theirs in _comparable(entry) if one.name != entry.name]
    if own is None or entry.accuracy is None or len(others) < 2:
        return None
    points = [Point(theirs.parameters, _value(one)) for one, theirs in others]
    return scatter([*points, Point(own.parameters, _value(entry), marked=True)])


def _comparable(entry: CatalogueEntry) -> Iterator[tuple[CatalogueEntry, Outline]]:
    """Built-in weights of the architecture whose figure is of the same kind."""
    accuracy = entry.accuracy
    if accuracy is None:
        return
    kind = (accuracy.name, accuracy.dataset)
    for one in catalogue.built_in().values():
        known = outline(one) if one.architecture == entry.architecture else None
        figure = one.accuracy
        if known is not None and figure is not None and (figure.name, figure.dataset) == kind:
            yield one, known


def _value(entry: CatalogueEntry) -> float:
    assert entry.accuracy is not None
    return entry.accuracy.value
