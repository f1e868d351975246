"""Plan a conversion, and prove that nothing will be lost, before any tensor is read.

A plan needs names and shapes alone. So it takes milliseconds, whatever the size of the file, and
every refusal comes before the first byte is written.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from shlex import quote
from types import TracebackType
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from detrex_hub.architectures import classes
from detrex_hub.architectures.base import Architecture, Overrides
from detrex_hub.architectures.declared import as_options
from detrex_hub.batch_norms import has_folded_statistics
from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.catalogue.entry import Result
from detrex_hub.checkpoints import Checkpoint, Tensor
from detrex_hub.computing import carried_out
from detrex_hub.errors import ArchitectureError, MappingError, suggesting
from detrex_hub.floats import DTYPES, is_float
from detrex_hub.hashing import FileSha256
from detrex_hub.identify import Identified, identify, offer_backbone, recognised
from detrex_hub.mapping import ConversionPlan, Move
from detrex_hub.originals.conversion_options import ConversionOptions
from detrex_hub.originals.opening import Original, Provenance, open_original
from detrex_hub.records import plan_to_json
from detrex_hub.seeded import SyntheticCheckpoint

if TYPE_CHECKING:
    from detrex_hub.progress import Progress


class Conversion(Struct, frozen=True, kw_only=True):
    """A conversion that is planned and proven, and not yet carried out. Close it, or use it in a
    ``with`` statement: it holds the source open.

    ``facts`` are what the user, the file or the catalogue says of the weights and no shape shows;
    ``unsaid`` are the values of those that only the catalogue says, or nothing. ``expected`` is
    what the catalogue's lock knows of the result; None where it knows nothing, or the user wants
    something else than the catalogue describes.
    """

    name: str
    entry: CatalogueEntry | None
    checkpoint: Checkpoint | SyntheticCheckpoint
    provenance: Provenance
    hashing: FileSha256 | None
    architecture: Architecture
    layout: str
    prefix: str
    dtype: str | None
    because: tuple[str, ...]
    facts: Mapping[str, Any]
    unsaid: Mapping[str, Any]
    plan: ConversionPlan
    preprocessing: Mapping[str, Any]
    overrides: Overrides
    notes: tuple[str, ...] = ()
    synthetic: bool = False
    expected: Result | None = None

    def __enter__(self) -> Conversion:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.hashing is not None:
            self.hashing.stop()
        self.checkpoint.close()

    @property
    def mapper_sha256(self) -> str:
        """The version of the mapper: a digest of the rules of this layout."""
        rules = repr(self.architecture.rules(self.layout))
        return hashlib.sha256(rules.encode()).hexdigest()

    @property
    def another_file(self) -> bool:
        """Whether the source is known not to be the file that was published under the name."""
        source = self.provenance
        return (
            self.entry is not None
            and not self.synthetic
            and self.entry.denies(source.url, source.sha256)
        )

    @property
    def assumed(self) -> Mapping[str, Any]:
        """The assumed facts: all unstated ones. There are none if the catalogue knows the file,
        because its recipe is published."""
        source = self.provenance
        known = self.entry is not None and (
            self.synthetic or self.entry.vouches(source.url, source.sha256)
        )
        return {} if known else self.unsaid

    @property
    def assumption(self) -> str | None:
        """The assumed values, in one line that says how to change them."""
        if not self.assumed:
            return None
        return (
            f"{self.provenance.file} does not show these values, so they are assumed: "
            f"{as_options(self.assumed)}. If they are wrong, convert again with other values."
        )

    def to_json(self) -> dict[str, Any]:
        """The planned conversion; no tensor was read."""
        return {
            "name": self.name,
            "architecture": self.architecture.name,
            "layout": self.layout,
            "because": list(self.because),
            "prefix": self.prefix,
            "dtype": self.dtype,
            "hyper_parameters": self.architecture.hyper_parameters(),
            "plan": plan_to_json(self.plan, self.checkpoint.stored_specs),
            "overrides": self.overrides.lazy,
            "assumed": dict(self.assumed),
            "notes": list(self.notes),
            "synthetic": self.synthetic,
        }

    def tensors(self) -> Iterator[Tensor]:
        """The target tensors, each read from the source when its bytes are asked for."""
        for key, move in self.plan.moves.items():
            yield Tensor(key, move.spec, partial(self.chunks, move))

    def chunks(self, move: Move) -> Iterator[bytes | memoryview]:
        """The bytes of a move's pieces, one after another."""
        return carried_out(move, self.checkpoint)


def prepare(
    what: str | os.PathLike[str],
    options: ConversionOptions | None = None,
    *,
    progress: Progress | None = None,
    hashed: bool = False,
) -> Conversion:
    """Plan a conversion and prove that nothing will be lost, before any tensor is read.

    Args:
        what: a catalogue name, the path of a checkpoint or a folder, or ``owner/name`` on the Hub.
        options: where it comes from and how to read it.
        progress: reports downloads.
        hashed: start to hash a user's file, for the record of a conversion to a folder.

    Raises:
        UsageError: the name is unknown.
        SourceError: the source could not be downloaded or read.
        CheckpointError: the source is damaged or of an unknown format.
        ArchitectureError: it is of no known architecture, or not what the catalogue says.
        MappingError: its keys do not fit the mapper.
    """
    options = options or ConversionOptions()
    with suggesting(*_suggestions(what, options.container)):
        original = open_original(what, options, progress=progress, hashed=hashed)
        try:
            planned = plan_original(original, options)
        except BaseException:
            original.close()
            raise
    if original.entry is None or not options.as_catalogued:
        return planned
    return replace(planned, expected=original.entry.result)


def _suggestions(what: str | os.PathLike[str], container: str | None) -> tuple[str, str | None]:
    """The command that takes what a refusal offers, and what to do if it offers nothing."""
    file = quote(os.fspath(what))
    if container is not None:
        file += f" --container {quote(container)}"
    look = f"Look at the keys: detrex-hub inspect {file} --keys" if Path(what).exists() else None
    return f"detrex-hub convert {file}", look


def plan_original(original: Original, options: ConversionOptions) -> Conversion:
    """Plan the conversion of an opened original. Arguments and errors are those of `prepare`."""
    try:
        return _planned(original, options)
    except (ArchitectureError, MappingError) as error:
        if original.entry is None and options.prefix is None and error.hint is None:
            offer_backbone(error, original.checkpoint.specs)
        raise


def _planned(original: Original, options: ConversionOptions) -> Conversion:
    entry, checkpoint, file = original.entry, original.checkpoint, original.provenance.file
    known = recognised(
        checkpoint.specs,
        name=file,
        architecture=options.architecture or (entry.architecture if entry else None),
        layout=options.layout,
        prefix=options.prefix,
        facts=options.facts,
    )
    found = identify(
        checkpoint.specs,
        known,
        given=dict(options.facts),
        metadata=checkpoint.metadata,
        catalogue=entry.facts if entry is not None else None,
    )
    if entry is None:
        _check_origin(checkpoint, file, found.assumed)
    else:
        # the classes that the user wants say nothing of the file
        theirs = {name: value for name, value in found.facts.items() if name not in classes.FACTS}
        _check_entry(entry, found.of_facts(theirs), file)
    dtype = None if options.dtype is None else DTYPES[options.dtype]
    return Conversion(
        name=original.name,
        entry=entry,
        checkpoint=checkpoint,
        provenance=original.provenance,
        hashing=original.hashing,
        architecture=found.architecture,
        layout=found.layout,
        prefix=found.prefix,
        dtype=dtype,
        because=found.because,
        facts=found.facts,
        unsaid=found.unsaid,
        plan=found.plan,
        preprocessing=found.preprocessing,
        overrides=found.overrides,
        notes=(
            *original.notes,
            *known.notes(),
            *found.lacking.notes(),
            *_types(found.plan, checkpoint, dtype),
            *found.architecture.notes_on(found.layout),
            *_kept_classes(found),
        ),
        synthetic=original.synthetic,
    )


def _kept_classes(found: Identified) -> Iterator[str]:
    """The names of the classes of a detector whose rows are all taken."""
    names = found.facts.get("source_classes")
    if names and getattr(found.architecture, "classes_cut_from", None) is None:
        yield classes.named(names)


def _types(
    plan: ConversionPlan, checkpoint: Checkpoint | SyntheticCheckpoint, dtype: str | None
) -> Iterator[str]:
    """Which type the numbers have, where it is another than F32."""
    sources = {key for move in plan.moves.values() for key in move.sources}
    had = {checkpoint.stored_specs[key].dtype for key in sources}
    types = ", ".join(sorted(filter(is_float, had)))
    if dtype is not None:
        yield f"floating point numbers were rounded from {types} to {dtype}"
    elif types not in ("", "F32"):
        yield f"floating point numbers are {types}, as in the file. --dtype float32 changes that"


# what differs between networks of Caffe's, with the values of MSRA's ResNets
_OF_MSRA: Mapping[str, Any] = {
    "image_format": "BGR",
    "pixel_mean": [103.53, 116.28, 123.675],
    "pixel_std": [1.0, 1.0, 1.0],
    "stride_in_1x1": True,
    "backbone_stride_in_1x1": True,
}


def _check_origin(
    checkpoint: Checkpoint | SyntheticCheckpoint, file: str, assumed: Mapping[str, Any]
) -> None:
    """Refuse to assume which images weights from Caffe need.

    Raises:
        ArchitectureError: they come from there, and not every fact that matters was said.
    """
    unsaid = [name for name in assumed if name in _OF_MSRA]
    if unsaid and isinstance(checkpoint, Checkpoint) and has_folded_statistics(checkpoint):
        theirs = as_options({name: _OF_MSRA[name] for name in unsaid})
        raise ArchitectureError(
            f"{file} comes from Caffe, since every running mean in it is 0 and every running "
            f"variance 1. It does not show {', '.join(unsaid)}: set all of them. This command has "
            "the values of MSRA's ResNets",
            choices=[theirs],
        )


def _check_entry(entry: CatalogueEntry, made: Architecture, file: str) -> None:
    found = made.hyper_parameters()
    wrong = {
        name: (found[name], value)
        for name, value in entry.hyper_parameters.items()
        if name in found and found[name] != value
    }
    if wrong:
        says = ", ".join(
            f"{name} {value[0]} instead of {value[1]}" for name, value in wrong.items()
        )
        raise ArchitectureError(
            f"{file} is not {entry.name}: it has {says}",
            hint=f"Convert the file itself: detrex-hub convert {quote(file)}",
        )
