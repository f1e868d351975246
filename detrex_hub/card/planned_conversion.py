"""The conversion that a card shows: carried out, or planned from the catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from msgspec import Struct, field

from detrex_hub.records import ConversionRecord, RecordedPlan, RecordedSource


class PlannedConversion(Struct, frozen=True, kw_only=True):
    """The part of a conversion's record that a card shows and that is known before the
    conversion."""

    name: str
    source: RecordedSource
    facts: Mapping[str, Any]
    plan: RecordedPlan | None
    parameters: int | None
    notes: Sequence[str]
    assumed: Mapping[str, Any] = field(default_factory=dict)


Record: TypeAlias = ConversionRecord | PlannedConversion
