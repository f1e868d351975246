"""From an original to a converted folder: plan, prove, write, compare, describe.

Everything up to the plan needs names and shapes alone, so that `prepare` answers in milliseconds
whatever the size of the file, and every refusal comes before the first byte is written.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from shlex import quote
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from detrex_hub import __version__, card, checkpoints
from detrex_hub.architectures import classes
from detrex_hub.architectures.base import IMAGENET_RGB, Architecture, Overrides
from detrex_hub.architectures.declared import as_options
from detrex_hub.batch_norms import has_folded_statistics
from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.catalogue.entry import Result
from detrex_hub.checkpoints import (
    Checkpoint,
    Format,
    Tensor,
    first_other,
    format_of,
    same_bytes,
    written_format,
)
from detrex_hub.computing import carried_out
from detrex_hub.configs import settings
from detrex_hub.errors import (
    ArchitectureError,
    MappingError,
    UsageError,
    VerificationError,
    suggesting,
)
from detrex_hub.floats import DTYPES, is_float
from detrex_hub.hashing import FileSha256
from detrex_hub.identify import Identified, identify, offer_backbone, recognised
from detrex_hub.mapping import Computed, ConversionPlan, Fresh, Move, Piece
from detrex_hub.originals.opening import Original, Provenance, open_original
from detrex_hub.originals.options import ConversionOptions
from detrex_hub.pictures import draw_filters, first_layer, shown
from detrex_hub.records import (
    CARD,
    CONFIG,
    CONVERSION,
    FILTERS,
    PICTURES,
    WEIGHTS,
    ConversionRecord,
    Proof,
    RecordedFile,
    RecordedResult,
    RecordedSource,
    RepositoryConfig,
    StoredCheckpoint,
    Tool,
    WeightsFile,
    dump_json,
    plan_to_json,
    recorded_plan,
    to_json,
)
from detrex_hub.seeded import SyntheticCheckpoint
from detrex_hub.staging import (
    UnwritableError,
    publish_file,
    publish_files,
    staging_folder,
    synchronise,
)

if TYPE_CHECKING:
    from detrex_hub.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Conversion:
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


@dataclass(frozen=True, kw_only=True)
class Converted:
    """The files that a conversion wrote. ``folder`` is None where a single file was asked for."""

    conversion: Conversion
    path: Path
    folder: Path | None
    sha256: str
    size: int
    documents: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        conversion = self.conversion
        return {
            "name": conversion.name,
            "architecture": conversion.architecture.name,
            "layout": conversion.layout,
            "path": str(self.path),
            "folder": self.folder and str(self.folder),
            "sha256": self.sha256,
            "size": self.size,
            "tensors": len(conversion.plan.moves),
            "dropped": len(conversion.plan.dropped),
            "assumed": dict(conversion.assumed),
            "synthetic": conversion.synthetic,
        }


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


def convert(
    what: str | os.PathLike[str],
    to: str | os.PathLike[str] | None = None,
    *,
    format: str | None = None,
    architecture: str | None = None,
    layout: str | None = None,
    facts: Mapping[str, Any] | None = None,
    container: str | None = None,
    prefix: str | None = None,
    dtype: str | None = None,
    ema: bool = False,
    revision: str | None = None,
    source: str | None = None,
    synthetic: bool = False,
    extra_catalogues: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Converted:
    """Convert weights to detrex's names, compare what was written with the source, and describe it.

    Args:
        what: a catalogue name, the path of a checkpoint or a folder, or ``owner/name`` on the Hub.
        to: the folder to write, ``./<name>`` by default, or ``./<name>_detrex`` where that is a
            folder of something else. A name that ends in ``.safetensors``, ``.pth`` or ``.pkl``
            writes just that file.
        format: ``safetensors`` (default), ``pth`` or ``pkl``.
        architecture: the architecture; recognised from the keys by default.
        layout: the layout of the keys, such as ``torchvision``; recognised by default.
        facts: what shapes cannot show, such as ``dilation``; overrides the catalogue's facts.
        container: the dict in the checkpoint that holds the weights, such as ``ema_state``.
        prefix: what stands before the keys of the weights, such as ``backbone.``; tried by default.
        dtype: the element type to which floating point numbers are rounded, such as ``float32``;
            they keep their own by default.
        ema: take the averaged weights of a training checkpoint, whatever their dict is called.
        revision: branch, tag or commit of a repository on the Hub.
        source: a file or URL to use instead of the catalogue's sources.
        synthetic: use seeded numbers with the original's keys, shapes and types.
        extra_catalogues: catalogue files beyond the built-in ones.
        progress: reports downloads and copying.

    Returns:
        where the result lies, with its sha256 and its size in bytes.

    Raises:
        DetrexHubError: as `prepare` does, or the target cannot be written; nothing is left behind.
        VerificationError: what was written is not what the source holds.

    Example:
        >>> from detrex_hub import convert
        >>> convert("r101_v1.pth", "./r101_v1").folder
        PosixPath('r101_v1')
    """
    written_format(to, format)
    options = ConversionOptions(
        architecture=architecture,
        layout=layout,
        facts=facts or {},
        container=container,
        prefix=prefix,
        dtype=dtype,
        ema=ema,
        revision=revision,
        source=source,
        synthetic=synthetic,
        extra_catalogues=tuple(extra_catalogues),
    )
    # a single file has no record beside it that would hold the source's sha256
    hashed = format_of(to) is None
    with prepare(what, options, progress=progress, hashed=hashed) as conversion:
        return execute(conversion, to, format=format, progress=progress)


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


def execute(
    conversion: Conversion,
    to: str | os.PathLike[str] | None = None,
    *,
    format: str | None = None,
    progress: Progress | None = None,
) -> Converted:
    """Carry out a prepared conversion. Arguments, result and errors are those of `convert`."""
    chosen = written_format(to, format)
    target = Path(to) if to is not None else _default_target(conversion.name)
    single = format_of(to) is not None
    try:
        _check_target(target, single=single)
    except OSError as error:
        raise UnwritableError(target, error, "-o") from None

    with (
        staging_folder(target.absolute(), option="-o") as staging,
        ThreadPoolExecutor(2) as threads,
    ):
        staged = staging / (target.name if single else WEIGHTS[chosen])
        sha256 = _write(conversion, staged, chosen, progress)
        if chosen == "safetensors":
            _compare_with_lock(conversion, sha256)
        size = staged.stat().st_size
        compared = threads.submit(_compare, conversion, staged, chosen)
        synchronised = threads.submit(synchronise, staged)
        if single:
            compared.result()
            synchronised.result()
            publish_file(staged, target.absolute())
            return Converted(
                conversion=conversion, path=target, folder=None, sha256=sha256, size=size
            )
        if conversion.hashing is not None:
            provenance = conversion.provenance.hashed(conversion.hashing)
            conversion = replace(conversion, provenance=provenance)
        with checkpoints.open(staged, checksums=False) as written:
            drawn = None
            if not conversion.synthetic:
                order = conversion.preprocessing["image_format"]
                drawn = filters_of(written, type(conversion.architecture), order)
            described = describe(
                conversion,
                file=WEIGHTS[chosen],
                sha256=sha256,
                size=size,
                filters=drawn is not None,
            )
            for name, text in described.texts.items():
                (staging / name).write_text(text, encoding="utf-8", newline="\n")
            for name, picture in described.pictures.items():
                (staging / name).write_bytes(picture)
            if drawn is not None:
                (staging / FILTERS).write_bytes(drawn)
            _read_back(staging, written)
        compared.result()
        # Windows renames nothing that is open
        synchronised.result()
        publish_files(staging, target.absolute())
    return Converted(
        conversion=conversion,
        path=target / WEIGHTS[chosen],
        folder=target,
        sha256=sha256,
        size=size,
        documents=described.texts,
    )


def _compare_with_lock(conversion: Conversion, sha256: str) -> None:
    """Refuse a result that is not the one that the catalogue's lock knows.

    Raises:
        VerificationError: it is another one; the message says what may be the reason.
    """
    expected = conversion.expected
    if expected is None or expected.sha256 == sha256:
        return
    if expected.mapper not in (None, conversion.mapper_sha256):
        why = "The lock was written with another version of the mapper"
    else:
        why = "The original or its entry in the catalogue has changed"
    raise VerificationError(
        f"{conversion.name}: the conversion has the sha256 {sha256}, but the catalogue's lock says "
        f"{expected.sha256}",
        hint=f"{why}. See what differs: detrex-hub lock {conversion.name} --check",
    )


def _read_back(folder: Path, written: Checkpoint) -> None:
    """Hold a converted folder to the rules of every load.

    Args:
        folder: the records.
        written: the weights.

    Raises:
        DetrexHubError: no load would accept it.
    """
    config = RepositoryConfig.load(folder / CONFIG, where=CONFIG)
    settings.accepted(config, where=CONFIG)
    config.checkpoint.stored_keys(written, where=CONFIG)
    ConversionRecord.load(folder / CONVERSION, where=CONVERSION)


def _default_target(name: str) -> Path:
    """``./<name>``, or ``./<name>_detrex`` where that is another folder, such as the original."""
    target = Path(name)
    return Path(f"{name}_detrex") if target.is_dir() and not _replaceable(target) else target


def _replaceable(folder: Path) -> bool:
    """Whether a folder is empty, or has its record and no other files than a conversion writes.

    A repository of transformers has files of the same names, but no record.
    """
    ours = {CONFIG, CONVERSION, CARD, *PICTURES, *WEIGHTS.values()}
    names = {path.name for path in folder.iterdir()}
    return not names or (CONVERSION in names and names <= ours)


def _check_target(target: Path, *, single: bool) -> None:
    if single:
        if target.is_dir():
            raise UsageError(f"{target} is a folder", hint="Choose another name with -o")
        return
    if not target.exists():
        return
    if not target.is_dir() or not _replaceable(target):
        raise UsageError(
            f"{target} exists and is not a converted folder",
            choices=[f"-o {quote(f'{target.name}_detrex')}"],
        )


def _write(conversion: Conversion, path: Path, format: Format, progress: Progress | None) -> str:
    metadata = {
        "format": "pt",
        "author": author_of(conversion.layout),
        "matching_heuristics": str(conversion.architecture.backbone).lower(),
    }
    tensors = [*conversion.tensors()]
    return checkpoints.write(
        path,
        format,
        reporting(tensors, progress, f"converting {conversion.name}") if progress else tensors,
        metadata=metadata if format == "safetensors" else None,
        ties=conversion.plan.ties,
        extra=None
        if format == "safetensors"
        else loading_keys(_author(conversion), conversion.architecture.backbone),
    )


def _author(conversion: Conversion) -> str:
    """The author of a single file. "torchvision" says that it wants torchvision's images too."""
    images = conversion.preprocessing
    theirs = all(images.get(name) == value for name, value in IMAGENET_RGB.items())
    if theirs and not images.get("stride_in_1x1"):
        return author_of(conversion.layout)
    return "third_party"


def loading_keys(author: str, matching_heuristics: bool) -> dict[str, Any]:
    """The entries beside ``model`` in a file for detectron2's `DetectionCheckpointer`.

    Backbones ask for its suffix heuristics, since their keys lack the model's prefix; whole models
    are loaded by exact key.
    """
    return {"__author__": author, "matching_heuristics": matching_heuristics}


def author_of(layout: str) -> str:
    """The author of the file's names; detectron2 would convert a file by "Caffe2" a second time."""
    return "torchvision" if layout == "torchvision" else "third_party"


def reporting(tensors: Sequence[Tensor], progress: Progress, description: str) -> Iterator[Tensor]:
    """The same tensors, which report every chunk that a writer takes."""
    progress.start(description, sum(tensor.spec.nbytes for tensor in tensors))

    def counted(tensor: Tensor) -> Iterator[bytes | memoryview]:
        for chunk in tensor.chunks():
            yield chunk
            progress.advance(len(chunk))

    for tensor in tensors:
        yield replace(tensor, chunks=partial(counted, tensor))
    progress.finish()


def _compare(conversion: Conversion, path: Path, format: Format) -> None:
    """Reopen what was written and compare every tensor with the source, byte by byte.

    Also compares the tensors of a tie with each other: one is stored for all of them.

    Raises:
        VerificationError: naming the first tensor that differs.
    """
    plan = conversion.plan
    with checkpoints.open(path, checksums=False) as written:
        expected = (
            plan.specs if format != "safetensors" else {k: m.spec for k, m in plan.moves.items()}
        )
        if dict(written.specs) != expected:
            raise VerificationError(f"{path.name} does not hold the planned tensors")
        other = first_other(written, conversion.tensors())
    if other is not None:
        raise VerificationError(
            f"{other} differs from the source after it was written",
            hint="Check the disk and memory of this machine, then convert again",
        )
    for alias, move in plan.twins.items():
        stored = plan.moves[plan.ties[alias]]
        if _identities(conversion, move) == _identities(conversion, stored):
            continue
        # fresh rows of two names are made alike
        alike = msgspec.structs.replace(move, target=stored.target)
        if not same_bytes(conversion.chunks(alike), conversion.chunks(stored)):
            raise VerificationError(
                f"{alias} and {stored.target} differ in {conversion.provenance.file}, "
                "but the detrex model has one tensor for both",
                hint="The checkpoint is from a modified model and cannot be converted",
            )


def _identities(conversion: Conversion, move: Move) -> list[Any]:
    """The parts of a move. They are equal for two moves only if both give the same bytes."""
    identity = conversion.checkpoint.identity

    def of(piece: Piece | Computed | Fresh) -> Any:
        match piece:
            case Piece():
                return identity(piece.key), piece.rows
            case Computed():
                return piece.operation, tuple(map(identity, piece.of))
            case _:
                return piece

    return [of(piece) for piece in move.pieces]


@dataclass(frozen=True, kw_only=True)
class Description:
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
    config = config_of(conversion, file=file, sha256=sha256)
    record = _conversion_record(conversion, file=file, sha256=sha256, size=size, tool=tool)
    pictures = card.pictures_of(config, record, conversion.entry)
    shown = (*pictures, FILTERS) if filters else tuple(pictures)
    texts = {
        CONFIG: dump_json(to_json(config)),
        CONVERSION: dump_json(to_json(record)),
        CARD: card.render(config, record, entry=conversion.entry, pictures=shown),
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
    content = b"".join(weights.chunks(key, [(0, shown(spec))]))
    return draw_filters(content, spec, image_format)


def config_of(conversion: Conversion, *, file: WeightsFile, sha256: str) -> RepositoryConfig:
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
