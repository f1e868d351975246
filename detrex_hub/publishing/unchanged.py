"""Whether publishing a name again would change its repository.

Only `conversion.json` is downloaded. It names every source tensor with its shape, so the conversion
can be planned and described again without the original: with the present mapper, facts and card.
The result is compared with the digests of the published files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from detrex_hub import card
from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.catalogue.entry import same_address
from detrex_hub.catalogue.models import layout_of, model_of
from detrex_hub.conversion import describe
from detrex_hub.errors import DetrexHubError
from detrex_hub.originals.conversion_options import ConversionOptions
from detrex_hub.pictures import first_layer
from detrex_hub.publishing.replanning import planned_again
from detrex_hub.records import (
    CARD,
    CONVERSION,
    FILTERS,
    OF_WRONG_VALUES,
    SIGNATURE,
    WEIGHTS,
    ConversionRecord,
)
from detrex_hub.repositories.client import Remote
from detrex_hub.repositories.payload import digest
from detrex_hub.repositories.signing import Seal


class Signature(Struct, frozen=True):
    """The key that should sign a repository's files, and the content of the present signature."""

    key: str
    there: Seal | None

    def covers(self, files: Mapping[str, str]) -> bool:
        """Whether the key has signed these files. The picture of the first layer follows from the
        weights, so that its digest is not known here.

        Args:
            files: the sha256 of each by name.
        """
        if self.there is None or self.there.key != self.key:
            return False
        signed = {name: one for name, one in self.there.files.items() if name != FILTERS}
        return signed == dict(files)


def changes(
    entry: CatalogueEntry,
    options: ConversionOptions,
    there: Remote,
    record: ConversionRecord,
    *,
    license: str | None = None,
    signature: Signature | None = None,
) -> Iterator[str]:
    """The reasons why publishing would change a repository; none if it would not.

    Args:
        entry: the catalogue's entry.
        options: of the conversion.
        there: the files in the repository.
        record: its `conversion.json`.
        license: the licence that the user states.
        signature: the wanted and the present one; None where none is wanted.
    """
    result = record.result
    if record.synthetic != options.synthetic:
        yield "it holds seeded numbers" if record.synthetic else "it holds the real weights"
        return
    if not options.synthetic:
        if not _is_of_source(entry, record):
            yield "it was made from another original"
            return
        known = entry.result if options.as_catalogued else None
        if known is not None and known.sha256 != result.sha256:
            yield "the lock knows other weights"
            return
    weights = WEIGHTS["safetensors"]
    if there.files.get(weights) != result.sha256:
        yield f"{weights} is not the recorded one"
        return
    try:
        again, filters = _described(entry, options, there.id, record, license)
    except (DetrexHubError, *OF_WRONG_VALUES):
        yield f"{CONVERSION} is of another version"
        return
    names = [name for name, content in again.items() if not there.holds(name, digest(content))]
    if filters and FILTERS not in there.files:
        names.append(FILTERS)
    if signature is not None:
        expected = {name: digest(content).sha256 for name, content in again.items()}
        expected[weights] = result.sha256
        if not names and not signature.covers(expected):
            names.append(SIGNATURE)
    if names:
        yield f"{' and '.join(sorted(names))} would differ"


def _is_of_source(entry: CatalogueEntry, record: ConversionRecord) -> bool:
    """Whether the original is one of the catalogue's, according to catalogue and lock."""
    made_from = record.source
    return any(
        same_address(one.url, made_from.url or "")
        and one.layout == made_from.layout
        and one.size in (None, made_from.size)
        and (made_from.sha256 or "").startswith(one.sha256 or one.sha256_prefix or "")
        for one in entry.sources
    )


def _described(
    entry: CatalogueEntry,
    options: ConversionOptions,
    repo_id: str,
    record: ConversionRecord,
    license: str | None,
) -> tuple[dict[str, bytes], bool]:
    """The files beside the weights that a conversion of the recorded source tensors would write
    now, and whether it would draw the first layer. That picture depends on the weights."""
    specs, result = record.plan.specs(), record.result
    if options.synthetic:
        specs = dict(model_of(entry).original(layout_of(entry))[0])
    planned = planned_again(record, entry, specs, options)
    target = planned.plan.specs
    filters = planned.architecture.backbone and not options.synthetic and bool(first_layer(target))
    again = describe(
        # other data in the original is not recorded
        replace(planned, notes=record.notes),
        file=WEIGHTS["safetensors"],
        sha256=result.sha256,
        size=result.size,
        tool=record.tool,
        filters=filters,
    )
    text = card.addressed(again.texts[CARD], entry.name, repo_id)
    if license is not None:
        text = card.licensed(text, license)
    texts = {**again.texts, CARD: text}
    contents = {name: text.encode() for name, text in texts.items()}
    return {**contents, **again.pictures}, filters
