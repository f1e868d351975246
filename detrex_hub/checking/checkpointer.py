"""The weights that a config names, as detectron2's checkpointer reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from shlex import quote
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from detrex_hub import catalogue, checkpoints
from detrex_hub.architectures import architecture, prefixes
from detrex_hub.architectures.base import Architecture, Overrides, Specs
from detrex_hub.architectures.recognise import Recognition
from detrex_hub.checking.findings import HEURISTICS
from detrex_hub.checkpoints import Checkpoint
from detrex_hub.configs import placing, settings
from detrex_hub.configs.matching import FileKeys
from detrex_hub.errors import (
    ArchitectureError,
    CheckpointError,
    MappingError,
    UsageError,
    refuse_special,
)
from detrex_hub.hashing import FileSha256
from detrex_hub.identify import identify, recognised
from detrex_hub.materialising import DESCRIBED_BY
from detrex_hub.progress import Progress
from detrex_hub.records import CONFIG, RepositoryConfig
from detrex_hub.repositories import names
from detrex_hub.resolving import resolve
from detrex_hub.strict_json import parse_json


class CheckedWeights(Struct, frozen=True, kw_only=True):
    """A checkpoint as the checkpointer reads it, with other known data.

    ``absent`` are keys that no checkpoint of its kind holds, named as the file names keys;
    ``overrides`` is None if the needs of the weights are not known; ``entry`` is the catalogue's
    name for the original, if the file's sha256 identifies it; ``alike`` are otherwise the
    catalogue's names for files with the same file name; ``prefix`` is the prefix of a backbone
    that was materialised with one.
    """

    name: str
    file: FileKeys
    what: str = ""
    kind: type[Architecture] | None = None
    absent: frozenset[str] = frozenset()
    overrides: Overrides | None = None
    entry: str | None = None
    alike: tuple[str, ...] = ()
    prefix: str = ""


def variable_notes(repo: str, extra: Sequence[Path]) -> Iterator[str]:
    """A training does not know the files that were named for one command."""
    if Path(repo).is_dir():
        return
    variable = catalogue.variable_for(bare(repo).rpartition("/")[2], extra)
    if variable is not None:
        yield f"from_hub finds {repo} in a catalogue of yours. Before training: export {variable}"


def read_weights(
    name: str,
    model: Any = None,
    progress: Progress | None = None,
    *,
    prefix: str | None = None,
    extra_catalogues: Sequence[Path] = (),
) -> CheckedWeights:
    """The weights that a name in ``train.init_checkpoint`` means.

    Args:
        name: a path or a repository, as detectron2 takes it.
        model: the node ``model`` of the config, where there is one.
        progress: reports the download of a repository's weights.
        prefix: as for `examine`.
        extra_catalogues: catalogue files in addition to the built-in ones.

    Raises:
        CheckpointError: detectron2 cannot read the file.
        HubError: the repository or the network fails.
        UsageError: there is no such file.
    """
    path, _, query = name.partition("?")
    if is_repository(path, extra_catalogues):
        if prefix:
            raise UsageError(f"--prefix is for files, but {path} is a repository")
        return from_repository(path.removeprefix("hf://"), name, extra_catalogues, progress)
    local = local_file(path, named=_namesakes(path, model, extra_catalogues))
    return _from_file(local, query, name, model, prefix or "", extra_catalogues)


def is_repository(path: str, extra: Sequence[Path]) -> bool:
    if path.startswith("hf://") or Path(path).is_dir():
        return True
    if Path(path).exists():
        return False
    return names.is_repo_id(bare(path)) or catalogue.look_up(bare(path), extra) is not None


def bare(text: str) -> str:
    return text.partition("@")[0]


def from_repository(
    repo: str, name: str, extra: Sequence[Path], progress: Progress | None = None
) -> CheckedWeights:
    repository = resolve(repo, extra_catalogues=extra, progress=progress)
    described = repository.config
    with checkpoints.open(repository.weights(progress)) as checkpoint:
        described.checkpoint.stored_keys(checkpoint, where=repo)
        shapes = {key: spec.shape for key, spec in checkpoint.specs.items()}
    shapes |= {alias: shapes[stored] for alias, stored in described.checkpoint.ties.items()}
    file = FileKeys(
        shapes,
        described.checkpoint.matching_heuristics,
        caffe2=described.checkpoint.author == "Caffe2",
    )
    return _described(name, file, described, f"{repo}/{CONFIG}")


def _described(
    name: str, file: FileKeys, described: RepositoryConfig, where: str
) -> CheckedWeights:
    kind = architecture(described.architecture)
    return CheckedWeights(
        name=name,
        file=file,
        what=described.architecture,
        kind=kind,
        prefix=_prefix(file, kind, described) if kind.backbone else "",
        absent=frozenset(described.checkpoint.set_by_model),
        overrides=settings.accepted(described, where=where),
    )


def _prefix(file: FileKeys, kind: type[Architecture], described: RepositoryConfig) -> str:
    """The prefix of the backbone's own names in all keys of a file."""
    names = kind.from_hyper_parameters(described.hyper_parameters).target()
    for key in file.shapes:
        for start in (0, *(dot.end() for dot in re.finditer(r"\.", key))):
            if key[start:] in names:
                alike = all(other.startswith(key[:start]) for other in file.shapes)
                return key[:start] if alike else ""
    return ""


def _namesakes(path: str, model: Any, extra: Sequence[Path]) -> tuple[str, ...]:
    """The catalogue's names for files with the name of a file. Names for the config's model alone,
    if there are any."""
    entries = catalogue.of_name(Path(path), extra)
    kinds = {kind.name for kind in placing.kinds_of(model)}
    fitting = [one.name for one in entries if one.architecture in kinds]
    return tuple(fitting or (one.name for one in entries))


def local_file(path: str, *, named: Sequence[str] = ()) -> Path:
    """The local file to which detectron2's path manager resolves a path.

    Args:
        path: the path.
        named: the catalogue's names for files of this name, which an error suggests.
    """
    if Path(path).is_file():
        return Path(path)
    if "://" in path:
        try:
            from detectron2.utils.file_io import PathManager
        except ImportError:
            raise UsageError(
                f"{path} can be downloaded only by detectron2, which is not installed here",
                hint="Download it, then pass: --checkpoint FILE",
            ) from None
        try:
            return Path(PathManager.get_local_path(path))
        except Exception as error:
            raise CheckpointError(
                f"{path} could not be downloaded: {type(error).__name__}: {error}",
                hint="Download it, then pass: --checkpoint FILE",
            ) from error
    refuse_special(path)
    instead = " or ".join(f"--checkpoint detrex/{name}" for name in named)
    raise UsageError(
        f"there is no checkpoint {path}",
        hint=f"The catalogue has weights from a file of this name: {instead}"
        if named
        else "Give a file, a folder or owner/name",
    )


def _from_file(
    path: Path, query: str, name: str, model: Any, prefix: str, extra: Sequence[Path]
) -> CheckedWeights:
    with checkpoints.open(path, container=_container(path)) as checkpoint:
        file = _as_detectron2_reads(checkpoint, query)
        own = checkpoint.metadata.get(DESCRIBED_BY)
        if isinstance(own, str):
            where = f"{path}: {DESCRIBED_BY}"
            described = RepositoryConfig.from_json(parse_json(own, where=where), where=where)
            return _described(name, file, described, str(path))
        return _recognised(name, file, checkpoint, model, prefix, extra)


def _container(path: Path) -> str | None:
    """``model``, where the file has it: detectron2 looks nowhere else."""
    with checkpoints.open(path) as checkpoint:
        return "model" if "model" in checkpoint.containers else None


def _as_detectron2_reads(checkpoint: Checkpoint, query: str) -> FileKeys:
    """The keys that ``DetectionCheckpointer._load_file`` reads from a file. The suffix decides.

    Raises:
        CheckpointError: it cannot read it.
    """
    # it knows only one wrapper, and removes it itself
    shapes = {checkpoint.names[key]: spec.shape for key, spec in checkpoint.specs.items()}
    metadata, container, path = checkpoint.metadata, checkpoint.container, checkpoint.path
    flagged = bool(metadata.get("matching_heuristics", False))
    caffe2 = metadata.get("__author__") == "Caffe2"
    if path.suffix == ".pkl":
        if checkpoint.format != "pickle":
            raise _unreadable(checkpoint, f"it is not a pickle, but {checkpoint.format}")
        if container == "model" and "__author__" in metadata:
            return FileKeys(shapes, flagged, caffe2)
        if container not in (None, "blobs"):
            raise _unreadable(checkpoint, f"it has {container!r} and no '__author__'")
        kept = {key: shape for key, shape in shapes.items() if not key.endswith("_momentum")}
        return FileKeys(kept, heuristics=True, caffe2=True)
    if checkpoint.format == "pickle":
        raise _unreadable(checkpoint, f"it is a pickle, but its name ends in {path.suffix!r}")
    if checkpoint.placeholders and _torch_is_wary():
        raise _unreadable(
            checkpoint, f"torch 2.6 and newer refuse {', '.join(checkpoint.placeholders[:3])} in it"
        )
    if path.suffix == ".pyth":
        if container != "model_state":
            raise _unreadable(checkpoint, "a .pyth has its weights under 'model_state'")
        ours = {key: s for key, s in shapes.items() if not key.endswith("num_batches_tracked")}
        return FileKeys(ours, heuristics=True)
    if container not in (None, "model"):
        raise _unreadable(checkpoint, f"its weights are under {container!r} instead of 'model'")
    if container is None and checkpoint.format != "safetensors":
        flagged = caffe2 = False
    if query not in ("", HEURISTICS[1:]) and not query.startswith("matching_heuristics="):
        raise _unreadable(checkpoint, f"detectron2 knows no ?{query}")
    return FileKeys(shapes, flagged or query == HEURISTICS[1:], caffe2)


def _torch_is_wary() -> bool:
    """Whether ``torch.load`` accepts only tensors and plain values, as from torch 2.6."""
    major, minor, *_ = (int(part) for part in re.findall(r"\d+", version("torch")))
    return (major, minor) >= (2, 6)


def _unreadable(checkpoint: Checkpoint, why: str) -> CheckpointError:
    return CheckpointError(
        f"detectron2 cannot read {checkpoint.path}: {why}",
        hint=f"Convert it: detrex-hub convert {quote(str(checkpoint.path))}",
    )


def _recognised(
    name: str,
    file: FileKeys,
    checkpoint: Checkpoint,
    model: Any,
    prefix: str,
    extra: Sequence[Path],
) -> CheckedWeights:
    """Weights in their original's layout. Their needs follow from their architecture. Facts that
    the file does not state are assumed, unless the catalogue knows the file by its sha256.

    Args:
        model: the config's model. Its class distinguishes look-alikes, and the class of its
            backbone decides between several models for one original.
    """
    path = checkpoint.path
    kinds = placing.kinds_of(model)
    entries = catalogue.of_file(path, lambda: FileSha256(path).result(), extra)
    ours = {kind.name for kind in kinds}
    entry = next((one for one in entries if one.architecture in ours), next(iter(entries), None))
    listed = entry.name if entry is not None else None
    alike = () if entry is not None else catalogue.of_name(path, extra)
    weights = CheckedWeights(
        name=name, file=file, entry=listed, alike=tuple(one.name for one in alike)
    )
    specs, metadata = checkpoint.specs, checkpoint.metadata
    try:
        if entry is not None:
            found = recognised(specs, name=path, architecture=entry.architecture, prefix=prefix)
        else:
            found = _told_apart(specs, kinds, prefix, name)
        known = identify(
            specs, found, metadata=metadata, catalogue=entry.facts if entry is not None else None
        )
    except (ArchitectureError, MappingError, UsageError):
        if prefix:
            raise
        return weights
    made, overrides = known.architecture, known.overrides
    return replace(
        weights,
        what=f"{made.name}, {made.describe()}",
        kind=type(made),
        prefix=known.prefix,
        absent=frozenset(known.prefix + key for key in made.set_by_model()),
        overrides=overrides
        if entry is not None
        else made.assuming(overrides, tuple(known.assumed)),
    )


def _told_apart(
    specs: Specs, kinds: Sequence[type[Architecture]], prefix: str, name: str
) -> Recognition:
    """The architecture of a state dict by its keys. If the recognised one is not among ``kinds``,
    but the keys fit one of these, it is that one."""
    found, refusal = None, None
    try:
        found = prefixes.find(specs, name=name, prefix=prefix)
    except ArchitectureError as error:
        refusal = error
    for kind in kinds if found is None or found.architecture not in kinds else ():
        try:
            return prefixes.find(specs, among=[kind], prefix=prefix)
        except ArchitectureError:
            continue
    if found is None:
        assert refusal is not None
        raise refusal
    return found
