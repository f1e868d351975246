"""The model that an entry describes, and whether its architecture has such a model."""

from __future__ import annotations

from collections.abc import Mapping

from detrex_hub.architectures import architecture
from detrex_hub.architectures.base import Architecture
from detrex_hub.architectures.declared import IMAGE_FACTS, Fact
from detrex_hub.catalogue.entry import CatalogueEntry
from detrex_hub.errors import CatalogueError, DetrexHubError

_BODY = "backbone"


def check_entry(entry: CatalogueEntry, *, where: str) -> None:
    """Refuse an entry whose layouts or facts are not those of its architecture.

    Built-in entries are checked by the tests, since checking imports their architectures.

    Args:
        entry: the entry.
        where: file and table, for the message.

    Raises:
        CatalogueError: the architecture or that of the backbone is unknown, or has no such layout
            or fact, or the value of a fact is of another kind.
    """
    try:
        kind = architecture(entry.architecture)
        known = {**IMAGE_FACTS, **kind.facts, **_facts_of_body(entry)}
    except DetrexHubError as error:
        raise CatalogueError(f"{where} {error.message}", hint=error.hint) from None
    for source in entry.sources:
        if source.layout not in kind.layouts:
            raise CatalogueError(
                f"{where} layout is {source.layout!r}, and {kind.name} has "
                f"{', '.join(kind.layouts)}"
            )
    for name, value in entry.facts.items():
        if name not in known:
            raise CatalogueError(
                f"{where} facts has an unknown name {name!r}; {kind.name} takes "
                f"{', '.join(sorted(known))}"
            )
        if not known[name].kind.accepts(value):
            raise CatalogueError(
                f"{where} facts.{name} should be {known[name].kind.meaning}, not {value!r}"
            )


def model_of(entry: CatalogueEntry) -> Architecture:
    """The architecture with the hyper-parameters and the facts of an entry.

    Raises:
        ArchitectureError: they do not fit each other.
        UsageError: there is no such architecture.
    """
    kind = architecture(entry.architecture)
    fields = _fields(kind)
    if body := _body(entry):
        fields |= {f"{_BODY}_{name}" for name in _fields(body)}
    own = {name: value for name, value in entry.facts.items() if name in fields}
    try:
        return kind.from_hyper_parameters({**own, **entry.hyper_parameters})
    except DetrexHubError as error:
        raise type(error)(f"[weights.{entry.name}] {error.message}", hint=error.hint) from None


def layout_of(entry: CatalogueEntry) -> str:
    """The layout in which the model of an entry is shown where its file is not at hand.

    That of the first source for a backbone, and for a detector the one of its authors, which alone
    holds all that a detector's file holds.
    """
    kind = architecture(entry.architecture)
    if kind.backbone or entry.has_detrex_names:
        return entry.sources[0].layout
    return next(iter(kind.layouts))


def _facts_of_body(entry: CatalogueEntry) -> Mapping[str, Fact]:
    body = _body(entry)
    return {f"{_BODY}_{name}": fact for name, fact in body.facts.items()} if body else {}


def _body(entry: CatalogueEntry) -> type[Architecture] | None:
    """The architecture of a detector's backbone."""
    name = entry.hyper_parameters.get(_BODY)
    return architecture(name) if isinstance(name, str) else None


def _fields(kind: type[Architecture]) -> set[str]:
    return set(kind.__struct_fields__)
