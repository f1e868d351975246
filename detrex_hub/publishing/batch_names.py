"""Choose the names of a batch from the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from detrex_hub import catalogue
from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.errors import UsageError, did_you_mean


def select(
    *,
    families: Sequence[str] = (),
    but: Sequence[str] = (),
    extra_catalogues: Sequence[Path] = (),
) -> list[str]:
    """Names of the catalogue. Names with a common original follow each other.

    Args:
        families: architectures, or stems of catalogue files; all by default.
        but: names or aliases that are left out.
        extra_catalogues: catalogue files in addition to the built-in ones.

    Raises:
        UsageError: there is no such family or name.
        CatalogueError: a catalogue file is malformed.

    Example:
        >>> select(families=["eva02"])
        ['eva02_B_pt_in21k_p14to16', 'eva02_L_pt_m38m_p14to16']
    """
    entries = catalogue.load_entries(extra_catalogues)
    known = {one for entry in entries.values() for one in _families(entry)}
    for family in families:
        if family in entries:
            raise UsageError(
                f"{family} is a name, not a family",
                hint=f"Publish it: detrex-hub convert-and-push {family}",
            )
        if family not in known:
            raise UsageError(
                f"no weights are of the family {family[:80]!r}",
                hint=did_you_mean(family, sorted(known), f"Families: {', '.join(sorted(known))}"),
            )
    left_out = {catalogue.find_entry(name, extra_catalogues).name for name in but}
    return [
        entry.name
        for entry in _side_by_side(entries.values())
        if entry.name not in left_out
        and (not families or not _families(entry).isdisjoint(families))
    ]


def _families(entry: CatalogueEntry) -> set[str]:
    return {entry.architecture, entry.family}


def _side_by_side(entries: Iterable[CatalogueEntry]) -> list[CatalogueEntry]:
    groups: dict[str, list[CatalogueEntry]] = {}
    for entry in entries:
        address = entry.sources[0].url if entry.sources else entry.name
        groups.setdefault(address, []).append(entry)
    return [entry for group in groups.values() for entry in group]
