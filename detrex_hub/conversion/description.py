"""The files beside converted weights: the config, the record, the card and its pictures."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from detrex_hub import __version__, card
from detrex_hub.architectures.base import Architecture
from detrex_hub.checkpoints import Checkpoint
from detrex_hub.conversion.planning import Conversion
from detrex_hub.pictures import draw_filters, first_layer, shown_filters
from detrex_hub.records import (
    CARD,
    CONFIG,
    CONVERSION,
    FILTERS,
    ConversionRecord,
    Proof,
    RecordedFile,
    RecordedResult,
    RecordedSource,
    RepositoryConfig,
    StoredCheckpoint,
    Tool,
    WeightsFile,
    recorded_plan,
    to_json,
)
from detrex_hub.strict_json import dump_json


class Description(Struct, frozen=True, kw_only=True):
    """The files beside converted weights, by name: `config.json`, `conversion.json` and the
    card, and the pictures that need no weights."""

    texts: Mapping[str, str]
    pictures: Mapping[str, bytes]


_THIS_TOOL = Tool(name="detrex-hub", version=__version__)


def describe(
    conversion: Conversion,
    *,
    file: WeightsFile,
    sha256: str,
    size: int,
    tool: Tool = _THIS_TOOL,
    filters: bool = False,
) -> Description:
    """Describe a conversion.

    Args:
        conversion: which is carried out.
        file, sha256, size: the weights that it gave.
        tool: what made them.
        filters: whether there is a picture of the first layer.

    Returns:
        what stands beside the weights.
    """
    config = _config(conversion, file=file, sha256=sha256)
    record = _conversion_record(conversion, file=file, sha256=sha256, size=size, tool=tool)
    pictures = card.pictures_of(config, record, conversion.entry)
    names = (*pictures, FILTERS) if filters else tuple(pictures)
    texts = {
        CONFIG: dump_json(to_json(config)),
        CONVERSION: dump_json(to_json(record)),
        CARD: card.render(config, record, entry=conversion.entry, pictures=names),
    }
    return Description(texts=texts, pictures=pictures)


def filters_of(weights: Checkpoint, kind: type[Architecture], image_format: str) -> bytes | None:
    """Draw the first layer of a backbone.

    Args:
        weights: the converted weights.
        kind: their architecture.
        image_format: ``RGB`` or ``BGR``.

    Returns:
        a PNG file; None for a detector.
    """
    key = first_layer(weights.specs) if kind.backbone else None
    if key is None:
        return None
    spec = weights.specs[key]
    content = b"".join(weights.chunks(key, [(0, shown_filters(spec))]))
    return draw_filters(content, spec, image_format)


def _config(conversion: Conversion, *, file: WeightsFile, sha256: str) -> RepositoryConfig:
    made, plan = conversion.architecture, conversion.plan
    return RepositoryConfig(
        architecture=made.name,
        hyper_parameters=made.hyper_parameters(),
        preprocessing=dict(conversion.preprocessing),
        overrides=made.assuming(conversion.overrides, conversion.assumed),
        base_config=conversion.entry.base_config if conversion.entry else None,
        checkpoint=StoredCheckpoint(
            file=file,
            sha256=sha256,
            author=author_of(conversion.layout),
            matching_heuristics=made.backbone,
            ties=plan.ties,
            set_by_model=tuple(sorted(made.set_by_model() - plan.specs.keys())),
        ),
        synthetic=conversion.synthetic,
    )


def _conversion_record(
    conversion: Conversion, *, file: WeightsFile, sha256: str, size: int, tool: Tool
) -> ConversionRecord:
    plan, source = conversion.plan, conversion.provenance
    return ConversionRecord(
        name=conversion.name,
        tool=tool,
        source=RecordedSource(
            url=source.url,
            file=source.file,
            size=source.size,
            sha256=source.sha256,
            pinned_by=source.pinned_by,
            files=tuple(
                RecordedFile(file=one.file, size=one.size, sha256=one.sha256)
                for one in source.files
            ),
            format=conversion.checkpoint.format,
            container=conversion.checkpoint.container,
            wrapper=conversion.checkpoint.wrapper,
            prefix=conversion.prefix,
            layout=conversion.layout,
        ),
        architecture=conversion.architecture.name,
        recognised_by=conversion.because,
        facts=dict(conversion.facts),
        assumed=dict(conversion.assumed),
        plan=recorded_plan(
            plan,
            conversion.checkpoint.stored_specs,
            mapper_sha256=conversion.mapper_sha256,
        ),
        result=RecordedResult(
            file=file,
            sha256=sha256,
            size=size,
            tensors=len(plan.moves),
            parameters=sum(move.spec.numel for move in plan.moves.values()),
        ),
        proof=Proof(
            tensors_compared=len(plan.moves),
            bytes_compared=sum(move.spec.nbytes for move in plan.moves.values()),
            tensors_that_differ=0,
            missing=0,
            unexpected=0,
            mismatched=0,
        ),
        notes=conversion.notes,
        synthetic=conversion.synthetic,
        dtype=conversion.dtype,
    )


def author_of(layout: str) -> str:
    """The author of the file's names; detectron2 would convert a file by "Caffe2" a second time."""
    return "torchvision" if layout == "torchvision" else "third_party"
