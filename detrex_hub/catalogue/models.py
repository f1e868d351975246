"""The model that an entry describes, and whether its architecture has such a model."""

from __future__ import annotations

import dataclasses

from detrex_hub.architectures import architecture
from detrex_hub.architectures.base import IMAGENET_RGB, Architecture
from detrex_hub.catalogue.entry import CatalogueEntry
from detrex_hub.errors import CatalogueError, DetrexHubError


def check(entry: CatalogueEntry, *, where: str) -> None:
    """Refuse an entry whose layouts and facts are not those of its architecture.

    Built-in entries are checked by the tests, since checking imports each architecture.

    Args:
        entry: the entry.
        where: file and table, for the message.

    Raises:
        CatalogueError: the architecture is unknown, or has no such layout or fact.
    """
    try:
        kind = architecture(entry.architecture)
    except DetrexHubError as error:
        raise CatalogueError(f"{where} {error.message}", hint=error.hint) from None
    for source in entry.sources:
        if source.layout not in kind.layouts:
            raise CatalogueError(
                f"{where} layout is {source.layout!r}, and {kind.name} has "
                f"{', '.join(kind.layouts)}"
            )
    known = {*kind.facts, *IMAGENET_RGB}
    unknown = sorted(entry.facts.keys() - known)
    if unknown:
        raise CatalogueError(
            f"{where} facts has an unknown key {unknown[0]}; {kind.name} takes "
            f"{', '.join(sorted(known))}"
        )


def model_of(entry: CatalogueEntry) -> Architecture:
    """The architecture with the hyper-parameters and the facts of an entry.

    Raises:
        ArchitectureError: they do not fit each other.
        UsageError: there is no such architecture.
    """
    kind = architecture(entry.architecture)
    fields = {field.name for field in dataclasses.fields(kind)}
    own = {name: value for name, value in entry.facts.items() if name in fields}
    return kind.from_hyper_parameters({**own, **entry.hyper_parameters})
