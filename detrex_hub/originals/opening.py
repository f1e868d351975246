"""The original of a conversion: it is looked up, pulled, opened and hashed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from detrex_hub import checkpoints
from detrex_hub.checkpoints import Checkpoint, is_averaged
from detrex_hub.errors import UsageError, VerificationError, no_file
from detrex_hub.floats import DTYPES
from detrex_hub.folder_files import WEIGHTS_SUFFIXES
from detrex_hub.hashing import FileSha256
from detrex_hub.originals import snapshots
from detrex_hub.originals.conversion_options import ConversionOptions
from detrex_hub.originals.snapshots import Snapshot

if TYPE_CHECKING:
    from detrex_hub.catalogue import CatalogueEntry
    from detrex_hub.progress import Progress
    from detrex_hub.seeded import SyntheticCheckpoint
    from detrex_hub.specs import TensorSpec


class FurtherFile(Struct, frozen=True, kw_only=True):
    """A further file that was read: a shard, or a description. ``sha256`` is None until the file
    has been read whole."""

    file: str
    size: int
    sha256: str | None = None


class Provenance(Struct, frozen=True, kw_only=True):
    """The origin of the source's bytes. ``sha256`` is None until they have been read. ``files``
    are the files beside ``file``, if the source is a whole folder."""

    url: str | None
    file: str
    size: int
    sha256: str | None
    pinned_by: str
    files: tuple[FurtherFile, ...] = ()

    def hashed(self, hashing: FileSha256) -> Provenance:
        """The same with the digests of its files. Waits for them.

        Raises:
            VerificationError: a file of the Hub's cache differs from its name's digest.
        """
        results = hashing.results()
        for path, digest in results.items():
            # the Hub's cache names the content of a large file by its sha256
            named = path.readlink().name if path.is_symlink() else ""
            if re.fullmatch("[0-9a-f]{64}", named) and named != digest:
                raise VerificationError(
                    f"{path} is damaged: its sha256 is {digest}, and the cache names it {named}",
                    hint=f"Remove it, and download it again: rm {quote(str(path.resolve()))}",
                )
        found = {path.name: digest for path, digest in results.items()}
        return replace(
            self,
            sha256=found[self.file],
            files=tuple(replace(one, sha256=found[one.file]) for one in self.files),
        )


class Original(Struct, frozen=True, kw_only=True):
    """An opened checkpoint, or a synthetic one. Close it, because it holds the file open.

    ``name`` is the catalogue's, or that of the file. ``entry`` is None for the user's own file.
    ``hashing`` is None if the digest is known or not wanted. ``notes`` are remarks for the user on
    the chosen dict, one line each.
    """

    name: str
    entry: CatalogueEntry | None
    checkpoint: Checkpoint | SyntheticCheckpoint
    provenance: Provenance
    hashing: FileSha256 | None
    synthetic: bool
    notes: tuple[str, ...] = ()

    def close(self) -> None:
        if self.hashing is not None:
            self.hashing.stop()
        self.checkpoint.close()


def open_original(
    what: str | os.PathLike[str],
    options: ConversionOptions,
    *,
    progress: Progress | None = None,
    hashed: bool = False,
) -> Original:
    """Open a checkpoint by its name in the catalogue or by its path; only its index is read.

    Args:
        what: a catalogue name, or the path of a checkpoint.
        options: its source, and the dict that holds the weights.
        progress: reports downloads.
        hashed: start to hash the user's own file.

    Raises:
        UsageError: the name is unknown, or the options exclude each other.
        SourceError: the source could not be downloaded.
        CheckpointError: the source cannot be read.
    """
    source, synthetic, container = options.source, options.synthetic, options.container
    entry, path = _look_up(what, options, progress)
    checkpoint: Checkpoint | SyntheticCheckpoint
    if synthetic:
        assert entry is not None
        checkpoint, provenance = _synthesise(entry)
    elif isinstance(path, Snapshot):
        checkpoint = _open(path.weights, container, options.ema)
        provenance = _of_snapshot(path, checkpoint)
    elif path is not None:
        checkpoint = _open(path, container, options.ema)
        provenance = Provenance(
            url=None,
            file=path.name,
            size=path.stat().st_size,
            sha256=None,
            pinned_by="nothing: a file of the user's",
        )
    else:
        assert entry is not None
        from detrex_hub.originals import sources

        pulled = sources.pull(entry, source=source, progress=progress)
        container = container if container is not None else pulled.source.container
        checkpoint = _open(pulled.path, container, options.ema)
        provenance = Provenance(
            url=pulled.url,
            file=Path(pulled.url).name,
            size=pulled.size,
            sha256=pulled.sha256,
            pinned_by=pulled.pinned_by,
        )
    original = Original(
        name=_name(what, entry, path),
        entry=entry,
        checkpoint=checkpoint,
        provenance=provenance,
        hashing=_begin_hashing(checkpoint, provenance) if hashed else None,
        synthetic=synthetic,
        notes=tuple(_passed_over(checkpoint)),
    )
    if options.dtype is not None and isinstance(checkpoint, Checkpoint):
        checkpoint.round_to(DTYPES[options.dtype])
    return original


def file_stem(path: Path) -> str:
    """The name of a file without its ending, which may be ``.pth.tar``."""
    return Path(path.stem).stem if path.name.endswith((".pth.tar", ".pt.tar")) else path.stem


def _name(
    what: str | os.PathLike[str], entry: CatalogueEntry | None, path: Path | Snapshot | None
) -> str:
    if entry is not None:
        return entry.name
    return path.name if isinstance(path, Snapshot) else file_stem(Path(what))


def catalogued(what: str | os.PathLike[str], options: ConversionOptions) -> CatalogueEntry | None:
    """The catalogue entry; None for a user's file, folder or repository.

    Raises:
        UsageError: there is no such name, or the options do not fit it.
    """
    text = os.fspath(what)
    path = Path(text)
    if os.sep in text or text.endswith(WEIGHTS_SUFFIXES) or (path.suffix and path.is_file()):
        return None
    # a name takes precedence over a file or folder of this name, such as an earlier ./r101_v2
    from detrex_hub import catalogue

    entry = catalogue.look_up(text, options.extra_catalogues)
    if entry is None and not path.suffix and not path.exists():
        entry = catalogue.find_entry(text, options.extra_catalogues)
    if entry is not None:
        _refuse(f"{text} is a name of the catalogue", options, "revision")
        if options.source is not None and options.synthetic:
            raise UsageError("--source and --synthetic cannot be combined")
    return entry


def _look_up(
    what: str | os.PathLike[str], options: ConversionOptions, progress: Progress | None
) -> tuple[CatalogueEntry | None, Path | Snapshot | None]:
    """The catalogue entry, or the user's file, folder or repository."""
    entry = catalogued(what, options)
    if entry is not None:
        return entry, None
    text = os.fspath(what)
    path = Path(text)
    if path.is_dir() or path.is_file():
        kind = "folder" if path.is_dir() else "file"
        _refuse(f"{text} is a {kind}", options, "synthetic", "source", "revision")
        if path.is_dir():
            return None, snapshots.in_folder(path)
        return None, snapshots.of_file(path) or path
    if snapshots.is_on_hub(text):
        _refuse(f"{text} is a repository", options, "synthetic", "source")

        def check(specs: Mapping[str, TensorSpec]) -> None:
            from detrex_hub.identify import recognised

            recognised(
                specs,
                name=text,
                architecture=options.architecture,
                layout=options.layout,
                prefix=options.prefix,
                facts=options.facts,
            )

        return None, snapshots.on_hub(text, options.revision, progress, check=check)
    raise no_file(text, "See the known names: detrex-hub list")


def _refuse(what: str, options: ConversionOptions, *names: str) -> None:
    """
    Raises:
        UsageError: one of these options is given, but has no meaning here.
    """
    for name in names:
        if getattr(options, name):
            needs = "a repository on the Hub" if name == "revision" else "a catalogue name"
            raise UsageError(f"--{name} needs {needs}, and {what}")


def _of_snapshot(snapshot: Snapshot, checkpoint: Checkpoint) -> Provenance:
    """The origin of a whole folder's bytes. The folder's documents are added to the checkpoint's
    own metadata."""
    weights = snapshot.weights
    checkpoint.metadata |= snapshots.documents(weights)
    further = (*checkpoint.files[1:], *snapshots.document_files(weights))
    return Provenance(
        url=snapshot.url,
        file=weights.name,
        size=weights.stat().st_size,
        sha256=None,
        pinned_by="the digests that the Hub reports"
        if snapshot.url
        else "nothing: a folder of the user's",
        files=tuple(FurtherFile(file=path.name, size=path.stat().st_size) for path in further),
    )


def _open(path: Path, container: str | None, ema: bool) -> Checkpoint:
    if not ema:
        return checkpoints.open(path, container=container)

    def averaged(counts: Mapping[str, int]) -> str:
        names = [name for name in counts if is_averaged(name)]
        if len(names) == 1:
            return names[0]
        others = ", ".join(name for name in counts if name)
        found = f"several: {', '.join(names)}" if names else f"none among {others or 'its dicts'}"
        choices = [f"--container {quote(name)}" for name in names or counts if name]
        raise UsageError(
            f"--ema needs averaged weights, and {path} has {found}",
            hint=f"Leave out --ema: detrex-hub convert {quote(str(path))}",
            choices=choices[:4],
        )

    return checkpoints.open(path, container=averaged)


# the least share of averaged tensors in a model: named_parameters() has no buffers
_AVERAGED_PART = 4


def _passed_over(checkpoint: Checkpoint | SyntheticCheckpoint) -> Iterator[str]:
    """A note that the file also has averaged weights, which are often more accurate."""
    taken = checkpoint.container or ""
    if is_averaged(taken):
        return
    names = [
        f"{name} ({count} tensors)"
        for name, count in checkpoint.containers.items()
        if is_averaged(name) and _AVERAGED_PART * count >= len(checkpoint.specs)
    ]
    if names:
        yield f"the file also has averaged weights: {', '.join(names)}. Use them with --ema"


def _synthesise(entry: CatalogueEntry) -> tuple[SyntheticCheckpoint, Provenance]:
    from detrex_hub.catalogue.models import layout_of, model_of
    from detrex_hub.seeded import SyntheticCheckpoint

    specs, same_as = model_of(entry).original(layout_of(entry))
    checkpoint = SyntheticCheckpoint(specs, same_as)
    return checkpoint, Provenance(
        url=None,
        file="synthetic",
        size=sum(spec.nbytes for spec in specs.values()),
        sha256=None,
        pinned_by="none: seeded numbers instead of weights",
    )


def _begin_hashing(
    checkpoint: Checkpoint | SyntheticCheckpoint, provenance: Provenance
) -> FileSha256 | None:
    """Hash the source file, unless its digest is known from the download.

    A user's file with mostly other data, such as the state of an optimizer, is not hashed, because
    that would take far longer than the conversion.
    """
    if provenance.sha256 is not None or not isinstance(checkpoint, Checkpoint):
        return None
    weights = sum(spec.nbytes for spec in checkpoint.specs.values())
    if provenance.size + sum(one.size for one in provenance.files) > 2 * weights + 2**20:
        return None
    folder = checkpoint.path.parent
    return FileSha256(checkpoint.path, *(folder / one.file for one in provenance.files))
