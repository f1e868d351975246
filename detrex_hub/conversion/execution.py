"""Carry out a planned conversion: write, compare, describe, and give the result its name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from detrex_hub import checkpoints
from detrex_hub.architectures.base import IMAGENET_RGB
from detrex_hub.checkpoints import Checkpoint, Format, Tensor, format_of, written_format
from detrex_hub.configs import settings
from detrex_hub.conversion.description import author_of, describe, filters_of
from detrex_hub.conversion.planning import Conversion, prepare
from detrex_hub.conversion.proof import compare_with_source
from detrex_hub.errors import UsageError, VerificationError
from detrex_hub.originals.conversion_options import ConversionOptions
from detrex_hub.records import (
    CARD,
    CONFIG,
    CONVERSION,
    FILTERS,
    PICTURES,
    WEIGHTS,
    ConversionRecord,
    RepositoryConfig,
)
from detrex_hub.staging import (
    UnwritableError,
    publish_file,
    publish_files,
    staging_folder,
    synchronise,
)

if TYPE_CHECKING:
    from detrex_hub.progress import Progress


class Converted(Struct, frozen=True, kw_only=True):
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
        prefix: the prefix of the weights' keys, such as ``backbone.``; found by trying by default.
        dtype: the element type to which floating point numbers are rounded, such as ``float32``;
            they keep their own by default.
        ema: take the averaged weights of a training checkpoint, whatever their dict is called.
        revision: branch, tag or commit of a repository on the Hub.
        source: a file or URL to use instead of the catalogue's sources.
        synthetic: use seeded numbers with the original's keys, shapes and types.
        extra_catalogues: catalogue files in addition to the built-in ones.
        progress: reports downloads and copying.

    Returns:
        the path of the result, with its sha256 and its size in bytes.

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
        _check_target(target, conversion, single=single)
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
        compared = threads.submit(compare_with_source, conversion, staged, chosen)
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


def _check_target(target: Path, conversion: Conversion, *, single: bool) -> None:
    if single and target.is_dir():
        raise UsageError(f"{target} is a folder", hint="Choose another name with -o")
    if not target.exists():
        return
    another = [f"-o {quote(f'{target.stem}_detrex{target.suffix}')}"]
    if not single and not (target.is_dir() and _replaceable(target)):
        raise UsageError(f"{target} exists and is not a converted folder", choices=another)
    for path in getattr(conversion.checkpoint, "files", ()):
        if path.samefile(target) if single else path.resolve().is_relative_to(target.resolve()):
            raise UsageError(
                f"{path} is the source of the weights, and {target} would replace it",
                choices=another,
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
        else _loading_keys(_author(conversion), conversion.architecture.backbone),
    )


def _author(conversion: Conversion) -> str:
    """The author of a single file. "torchvision" says that it wants torchvision's images too."""
    images = conversion.preprocessing
    theirs = all(images.get(name) == value for name, value in IMAGENET_RGB.items())
    if theirs and not images.get("stride_in_1x1"):
        return author_of(conversion.layout)
    return "third_party"


def _loading_keys(author: str, matching_heuristics: bool) -> dict[str, Any]:
    """The entries beside ``model`` in a file for detectron2's `DetectionCheckpointer`.

    Backbones ask for its suffix heuristics, since their keys lack the model's prefix; whole models
    are loaded by exact key.
    """
    return {"__author__": author, "matching_heuristics": matching_heuristics}


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
