"""Plan a recorded conversion again without its original.

`conversion.json` names every source tensor with its type and shape. Planning and describing need no
more.
"""

from __future__ import annotations

from collections.abc import Mapping

from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.conversion import Conversion, plan_original
from detrex_hub.floats import DTYPES, in_type
from detrex_hub.originals.conversion_options import ConversionOptions
from detrex_hub.originals.opening import Original, Provenance
from detrex_hub.records import ConversionRecord
from detrex_hub.seeded import SyntheticCheckpoint
from detrex_hub.specs import TensorSpec


class _RecordedCheckpoint(SyntheticCheckpoint):
    """The keys and shapes of an original that is not available. Its tensors are never read."""

    def __init__(
        self, record: ConversionRecord, specs: Mapping[str, TensorSpec], dtype: str | None
    ) -> None:
        super().__init__(specs, {})
        if dtype is not None:
            self.specs = in_type(specs, DTYPES[dtype])
        self.format = record.source.format or ""
        self.container = record.source.container
        self.wrapper = record.source.wrapper or ""


def planned_again(
    record: ConversionRecord,
    entry: CatalogueEntry,
    specs: Mapping[str, TensorSpec],
    options: ConversionOptions,
) -> Conversion:
    """The conversion of an entry as this version plans it.

    Args:
        record: of the published conversion.
        entry: the present entry of the catalogue.
        specs: the original's state dict.
        options: the user's options.

    Raises:
        DetrexHubError: this version cannot convert these tensors.
    """
    source = record.source
    original = Original(
        name=entry.name,
        entry=entry,
        checkpoint=_RecordedCheckpoint(record, specs, options.dtype),
        provenance=Provenance(
            url=source.url,
            file=source.file,
            size=source.size or 0,
            sha256=source.sha256,
            pinned_by=source.pinned_by or "",
        ),
        hashing=None,
        synthetic=record.synthetic,
    )
    return plan_original(original, options)
