"""The files that an export wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from detrex_hub.architectures.base import Architecture
from detrex_hub.exporting.labels import Labels
from detrex_hub.mapping import ConversionPlan
from detrex_hub.repositories import PushResult


class Exported(Struct, frozen=True, kw_only=True):
    """The files that an export wrote.

    ``path`` is a file or a folder; ``sha256`` and ``size`` are those of the weights. ``absent`` are
    keys that the original's file held and this one lacks, because they were dropped, with the
    reasons. ``assumed`` are facts that nothing states. ``notes`` are what a user should
    know. ``pushed`` says where it was pushed to.
    """

    path: Path
    sha256: str
    size: int
    architecture: Architecture
    layout: str
    plan: ConversionPlan
    absent: Mapping[str, str]
    synthetic: bool = False
    labels: Labels | None = None
    assumed: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    pushed: PushResult | None = None

    def to_json(self) -> dict[str, Any]:
        found = {
            "architecture": self.architecture.name,
            "layout": self.layout,
            "path": str(self.path),
            "sha256": self.sha256,
            "size": self.size,
            "tensors": len(self.plan.specs),
            "absent": dict(self.absent),
            "synthetic": self.synthetic,
        }
        if self.labels is not None:
            found["labels"] = list(self.labels.names)
            found["labels_from"] = self.labels.origin
        if self.assumed:
            found["assumed"] = dict(self.assumed)
        if self.notes:
            found["notes"] = list(self.notes)
        if self.pushed is not None:
            found["pushed"] = self.pushed.to_json()
        return found
