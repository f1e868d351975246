"""`check`: what a training config would load, and whether it has the values that the weights need.

The config's model is built without allocating it, the checkpointer's matching is replayed on names
and shapes, and nothing of the config is changed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from difflib import unified_diff
from importlib.metadata import version
from pathlib import Path
from shlex import quote
from typing import Any

from detrex_hub import catalogue, checkpoints
from detrex_hub.architectures import architecture, architectures, prefixes
from detrex_hub.architectures.base import Architecture, Overrides, Specs
from detrex_hub.architectures.recognise import Recognition, recognise
from detrex_hub.catalogue.models import model_of
from detrex_hub.checkpoints import Checkpoint
from detrex_hub.configs import placing, settings, source
from detrex_hub.configs.lazy import has_detectron2, load_config, model_keys
from detrex_hub.configs.matching import FileKeys, Match, ModelKeys, match
from detrex_hub.configs.settings import Setting
from detrex_hub.errors import (
    ArchitectureError,
    CheckpointError,
    ConfigError,
    DetrexHubError,
    MappingError,
    UsageError,
    did_you_mean,
)
from detrex_hub.hashing import FileSha256
from detrex_hub.identify import identify, recognised
from detrex_hub.materialising import DESCRIBED_BY
from detrex_hub.progress import Progress
from detrex_hub.records import CONFIG, RepositoryConfig, parse_json
from detrex_hub.repositories import names
from detrex_hub.resolving import resolve
from detrex_hub.staging import publish_file, staging_folder

HEURISTICS = "?matching_heuristics=True"


class NoWeightsError(UsageError):
    """A config names no weights, so that there is nothing to check."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A checkpoint as the checkpointer reads it, and what is known of it beside.

    ``absent`` are keys that no checkpoint of its kind holds, named as the file names keys;
    ``overrides`` is None where it is not known what the weights want; ``entry`` is the catalogue's
    name for the original, where the file's sha256 tells; ``alike`` are its names for files that are
    called the same, where it does not; ``prefix`` stands before all keys of a backbone that was
    materialised with one.
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


@dataclass(frozen=True, kw_only=True)
class Check:
    """The result of loading weights into a model, and the differences between config and weights.

    ``share`` is the part of the module that the weights are for which is loaded, 0 to 1;
    ``prefix`` stands before the keys of the weights in the file;
    ``absent`` are keys of the model that no checkpoint of this kind holds, and do not count;
    ``settings`` are what the weights want of the config; ``conflict`` says why it cannot have it;
    ``heuristics_share`` is what ``share`` would be if names were matched by suffix.
    """

    checkpoint: str
    what: str
    prefix: str = ""
    heuristics: bool
    match: Match
    share: float
    min_matched: float
    absent: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()
    conflict: str | None = None
    heuristics_share: float | None = None
    entry: str | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def differences(self) -> tuple[Setting, ...]:
        """The settings that the weights need and the config lacks. Assumed facts of the weights do
        not count."""
        return tuple(one for one in self.settings if one.is_change)

    @property
    def passed(self) -> bool:
        """Whether enough is loaded, from where it belongs, into a config that fits."""
        return self.share >= self.min_matched and not self.problems

    @property
    def problems(self) -> tuple[str, ...]:
        """All problems except a small share, one line each."""
        found = []
        if self.match.doubtful:
            first = self.match.doubtful[0]
            found.append(
                f"{self.match.loaded[first]!r} of the file is loaded into {first}, outside "
                f"{self.match.home}*"
            )
        if self.conflict is not None:
            found.append(self.conflict)
        found += [
            f"{one.path} is {one.before!r}, but the weights need {one.wanted!r}"
            for one in self.differences
        ]
        return tuple(found)

    @property
    def counted(self) -> tuple[int, int]:
        """Tensors loaded, and tensors that could be, in the module that the weights are for."""
        home, absent = self.match.home, set(self.absent)
        loaded = [key for key in self.match.loaded if key.startswith(home)]
        lacking = [
            key
            for key in (*self.match.missing, *self.match.wrong_shape)
            if key.startswith(home) and key not in absent
        ]
        return len(loaded), len(loaded) + len(lacking)

    @property
    def suffixes_help(self) -> bool:
        """Whether enough would be loaded if names were matched by suffix, and is not as it is."""
        loose = self.heuristics_share
        return loose is not None and loose > self.share and loose >= self.min_matched

    @property
    def remedy(self) -> str | None:
        """The line of the config that mends it, or None."""
        if self.passed:
            return None
        if self.entry is not None and self.share < self.min_matched:
            return f'train.init_checkpoint = from_hub("detrex/{self.entry}", model=model)'
        if self.suffixes_help:
            return f'train.init_checkpoint = "{self.checkpoint}{HEURISTICS}"'
        return None

    def summary(self) -> str:
        """One line: what is loaded, and what else is wrong."""
        loaded, total = self.counted
        where = f"{self.match.home}*" if self.match.home else "the model"
        said = f"{loaded} of {total} tensors of {where} are loaded ({self.share:.1%})"
        return "; ".join((said, *self.problems))

    def to_json(self) -> dict[str, Any]:
        loaded, total = self.counted
        return {
            "checkpoint": self.checkpoint,
            "what": self.what or None,
            "prefix": self.prefix,
            "matching": "suffix" if self.heuristics else "exact",
            "passed": self.passed,
            "share": self.share,
            "min_matched": self.min_matched,
            "home": self.match.home,
            "loaded": loaded,
            "of": total,
            "modules": [asdict(one) for one in self.match.modules()],
            "missing": list(self.match.missing),
            "missing_silently": sorted(self.match.silent),
            "missing_by_nature": list(self.absent),
            "unexpected": list(self.match.unexpected),
            "wrong_shape": {
                key: {"file": list(file), "model": list(model)}
                for key, (file, model) in self.match.wrong_shape.items()
            },
            "doubtful": {key: self.match.loaded[key] for key in self.match.doubtful},
            "kept_apart_by_shape": dict(self.match.apart),
            "settings": [
                {
                    "path": one.path,
                    "config": one.before,
                    "weights": one.wanted,
                    "fits": not one.differs,
                    "has_place": one.has_place,
                    "assumed": one.assumed,
                }
                for one in self.settings
            ],
            "problems": list(self.problems),
            "remedy": self.remedy,
            "notes": list(self.notes),
        }


def check(
    cfg: Any,
    checkpoint: str | os.PathLike[str] | None = None,
    min_matched: float = 1.0,
    *,
    prefix: str | None = None,
) -> Check:
    """Refuse to train from noise: one line at the top of a training script.

    Args:
        cfg: a LazyConfig, with ``model`` and, without ``checkpoint``, ``train.init_checkpoint``.
        checkpoint: a file, ``owner/name`` on the Hub, a converted folder, or another path that
            detectron2 takes, such as ``detectron2://…``.
        min_matched: the part of the module which the weights are for (a backbone, or the whole
            model) that must be loaded, 0 to 1. Layers that no checkpoint of this kind holds do not
            count.
        prefix: what stands before the keys of the weights in a file, such as ``backbone.``.
            detectron2 does not remove it, but it tells what the weights are.

    Returns:
        what would be loaded.

    Raises:
        ConfigError: less is loaded, or the config is not as the weights want it.
        CheckpointError: detectron2 cannot read the file, or refuses it.
        UsageError: no checkpoint is named, or detectron2 is not installed.

    Example:
        >>> from detrex_hub import check
        >>> check(cfg, min_matched=0.9).share
        1.0
    """
    found = examine(cfg, checkpoint, min_matched, prefix=prefix)
    if not found.passed:
        raise refusal(found)
    return found


def refusal(found: Check, *, where: str | None = None) -> ConfigError:
    """A check that did not pass, as an error.

    Args:
        where: the config, for the message.
    """
    if found.remedy:
        hint = f"Write: {found.remedy}"
    elif found.differences:
        hint = f"Try: detrex-hub check {where or 'CONFIG'} --fix"
    elif found.what and found.share < found.min_matched:
        below = f" --prefix {quote(found.prefix)}" if found.prefix else ""
        hint = f"Convert it: detrex-hub convert {quote(found.checkpoint.partition('?')[0])}{below}"
    else:
        hint = "Start from a config whose model these weights belong to"
    begin = f"{where} with " if where else ""
    return ConfigError(f"{begin}{found.checkpoint}: {found.summary()}", hint=hint)


def check_config(
    path: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str] | None = None,
    min_matched: float = 1.0,
    *,
    overrides: Sequence[str] = (),
    target: str | None = None,
    prefix: str | None = None,
    extra_catalogues: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Check:
    """As `examine`, of a config file.

    Args:
        path: the config, ``.py`` or ``.yaml``.
        overrides: ``path=value``, as on the training script's command line.
        target: what the model holds, see `target_keys`; with it detectron2 is not needed, and
            where that is not installed, of a ``.py`` no more than ``train.init_checkpoint`` is
            read.
        prefix: as for `examine`.
        extra_catalogues: catalogue files beyond the built-in ones.
        progress: reports the download of a repository's weights.
    """
    cfg = None
    if target is None or has_detectron2() or Path(path).suffix != ".py":
        cfg = load_config(path, overrides)
    if checkpoint is None:
        checkpoint = _init_checkpoint(cfg) if cfg is not None else _written(Path(path))
    keys = None
    if target is not None:
        keys = target_keys(target, os.fspath(checkpoint), extra_catalogues=extra_catalogues)
    return examine(
        cfg,
        checkpoint,
        min_matched,
        target=keys,
        prefix=prefix,
        extra_catalogues=extra_catalogues,
        progress=progress,
    )


def _written(path: Path) -> str:
    name = source.assigned(_text(path), "train.init_checkpoint")
    if not isinstance(name, str) or not name:
        raise NoWeightsError(
            f"{path} itself does not set train.init_checkpoint",
            hint="Pass --checkpoint PATH",
        )
    return name


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"there is no config {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def fix_config(
    path: str | os.PathLike[str],
    found: Check,
    *,
    checkpoint: str | None = None,
    extra_catalogues: Sequence[Path] = (),
) -> list[str]:
    """Write into a config what a check found wrong with it. The file as it was is kept beside it
    as ``NAME.orig``.

    Args:
        path: the config, a ``.py``.
        found: its check.
        checkpoint: what to start from, where it is not what the config says.
        extra_catalogues: catalogue files beyond the built-in ones.

    Returns:
        the change, as lines of a unified diff, and a line about the variable that the training
        needs if a name is only in ``extra_catalogues``; none if nothing can be fixed.

    Raises:
        ConfigError: the config cannot be read or written.
    """
    path = Path(path)
    if path.suffix != ".py":
        raise ConfigError(
            f"{path} is not a Python file, and --fix edits only those",
            hint="Pass its values on the training script's command line",
        )
    before = _text(path)
    values = _corrections(found, checkpoint, extra_catalogues)
    after = source.corrected(before, values) if values else before
    if after == before:
        return []
    with staging_folder(path, option=None) as staging:
        kept = _unused(path.with_name(f"{path.name}.orig"))
        copied = staging / kept.name
        copied.write_text(before, encoding="utf-8")
        publish_file(copied, kept)
        written = staging / path.name
        written.write_text(after, encoding="utf-8")
        written.chmod(path.stat().st_mode)
        publish_file(written, path)
    lines = unified_diff(
        before.splitlines(), after.splitlines(), str(kept), str(path), lineterm="", n=0
    )
    repo = _repository(found, checkpoint, extra_catalogues)
    return [*lines, *(_variable_notes(repo, extra_catalogues) if repo is not None else ())]


def _corrections(found: Check, checkpoint: str | None, extra: Sequence[Path]) -> dict[str, Any]:
    """Path of the config -> what to write there."""
    if (repo := _repository(found, checkpoint, extra)) is not None:
        # it sets all the rest by itself
        call = f"from_hub({repo!r}, model=model, dataloader=dataloader)"
        return {"train.init_checkpoint": source.Expression(call, "from detrex_hub import from_hub")}
    values: dict[str, Any] = {one.path: one.wanted for one in found.differences}
    if found.suffixes_help:
        values["train.init_checkpoint"] = f"{found.checkpoint}{HEURISTICS}"
    elif checkpoint is not None:
        values["train.init_checkpoint"] = found.checkpoint
    return values


def _repository(found: Check, checkpoint: str | None, extra: Sequence[Path]) -> str | None:
    """What `from_hub` should load in the config; None if the weights are a file."""
    path, _, query = found.checkpoint.partition("?")
    if checkpoint is not None and not query and _is_repository(path, extra):
        return path.removeprefix("hf://")
    if checkpoint is None and found.entry is not None and found.share < found.min_matched:
        return f"detrex/{found.entry}"
    return None


def _variable_notes(repo: str, extra: Sequence[Path]) -> Iterator[str]:
    """A training does not know the files that were named for one command."""
    if Path(repo).is_dir():
        return
    variable = catalogue.variable_for(_bare(repo).rpartition("/")[2], extra)
    if variable is not None:
        yield f"from_hub finds {repo} in a catalogue of yours. Before training: export {variable}"


def _unused(path: Path) -> Path:
    found, number = path, 1
    while found.exists():
        found, number = path.with_name(f"{path.name}.{number}"), number + 1
    return found


def examine(
    cfg: Any,
    checkpoint: str | os.PathLike[str] | None = None,
    min_matched: float = 1.0,
    *,
    target: ModelKeys | None = None,
    prefix: str | None = None,
    extra_catalogues: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Check:
    """As `check`, but what is wrong is in the result instead of raised.

    Args:
        target: what the model holds; without it the config's model is built.
        prefix: what stands before the keys of the weights in a file, such as ``backbone.``.
            detectron2 does not remove it, but it tells what the weights are.
        extra_catalogues: catalogue files beyond the built-in ones.
        progress: reports the download of a repository's weights.
    """
    name = os.fspath(checkpoint) if checkpoint is not None else _init_checkpoint(cfg)
    weights = read_weights(
        name,
        getattr(cfg, "model", None),
        progress,
        prefix=prefix,
        extra_catalogues=extra_catalogues,
    )
    keys = target if target is not None else model_keys(_model(cfg))
    found = match(keys, weights.file, weights.prefix)
    absent = _in_model(weights.absent, found.home, keys)
    loose = None
    if not weights.file.heuristics and found.share(absent) < 1:
        loose = _loose_share(keys, weights, absent)
    wanted, conflict = _settings(cfg, weights)
    return Check(
        checkpoint=name,
        what=weights.what,
        prefix=weights.prefix,
        heuristics=weights.file.heuristics,
        match=found,
        share=found.share(absent),
        min_matched=min_matched,
        absent=tuple(sorted(absent)),
        settings=wanted,
        conflict=conflict,
        heuristics_share=loose,
        entry=weights.entry,
        notes=(
            *_notes(found, weights),
            *(
                _variable_notes(f"detrex/{weights.entry}", extra_catalogues)
                if weights.entry
                else ()
            ),
            *settings.loader_notes(wanted, getattr(cfg, "model", None)),
        ),
    )


def _init_checkpoint(cfg: Any) -> str:
    train = getattr(cfg, "train", None)
    name = getattr(train, "init_checkpoint", None)
    if not name:
        raise NoWeightsError(
            "train.init_checkpoint of the config names no checkpoint", hint="Pass --checkpoint PATH"
        )
    return str(name)


def _model(cfg: Any) -> Any:
    if getattr(cfg, "model", None) is None:
        raise ConfigError(
            "the config has no model", hint="Give a LazyConfig, as in detrex's projects/"
        )
    return cfg.model


def _in_model(absent: frozenset[str], home: str, keys: ModelKeys) -> frozenset[str]:
    return frozenset(name for key in absent for name in (key, home + key) if name in keys.shapes)


def _loose_share(keys: ModelKeys, weights: Weights, absent: frozenset[str]) -> float | None:
    try:
        loose = replace(weights.file, heuristics=True)
        return match(keys, loose, weights.prefix).share(absent)
    except CheckpointError:
        return None


def _notes(found: Match, weights: Weights) -> Iterator[str]:
    if found.silent:
        yield (
            f"{len(found.silent)} of the missing tensors are statistics of FrozenBatchNorm2d, "
            "which detectron2 sets to 0 and 1 without a message in the log"
        )
    if found.apart:
        key, source = next(iter(found.apart.items()))
        yield (
            f"{source!r} of the file also matches {key} by name, but has another shape "
            f"({len(found.apart)} such tensors)"
        )
    if weights.alike:
        names = " or ".join(f"detrex/{name}" for name in weights.alike)
        yield (
            f"the file is named like the original of {names}, but its content does "
            "not show that it is that file"
        )
    if weights.overrides is None:
        yield "the file does not show which images these weights need"
    elif assumed := _lazy(weights.overrides):
        yield f"the file does not show {', '.join(assumed)}: the config keeps its values"


def _lazy(overrides: Overrides) -> list[str]:
    """The paths of a LazyConfig whose values are assumed."""
    return [path for path in overrides.assumed if path not in overrides.yacs]


def _settings(cfg: Any, weights: Weights) -> tuple[tuple[Setting, ...], str | None]:
    """The values that the weights need, beside those of the config, or why it cannot take them."""
    if weights.overrides is None or cfg is None:
        return (), None
    overrides, model = weights.overrides, cfg.get("model")
    try:
        if weights.kind is not None:
            placing.check_model(weights.kind, model, weights.name)
        if model is not None and weights.kind is not None and weights.kind.backbone:
            node = placing.node_of(weights.kind, model, weights.name)
            overrides = placing.placed(overrides, weights.kind, node)
        wanted = settings.settings(
            overrides, model=model, dataloader=cfg.get("dataloader"), where=weights.name
        )
        return tuple(wanted), None
    except ConfigError as error:
        return (), error.message


def read_weights(
    name: str,
    model: Any = None,
    progress: Progress | None = None,
    *,
    prefix: str | None = None,
    extra_catalogues: Sequence[Path] = (),
) -> Weights:
    """The weights that a name in ``train.init_checkpoint`` stands for.

    Args:
        name: a path or a repository, as detectron2 takes it.
        model: the node ``model`` of the config, where there is one.
        progress: reports the download of a repository's weights.
        prefix: as for `examine`.
        extra_catalogues: catalogue files beyond the built-in ones.

    Raises:
        CheckpointError: detectron2 cannot read the file.
        HubError: the repository or the network fails.
        UsageError: there is no such file.
    """
    path, _, query = name.partition("?")
    if _is_repository(path, extra_catalogues):
        if prefix:
            raise UsageError(f"--prefix is for files, but {path} is a repository")
        return _from_repository(path.removeprefix("hf://"), name, extra_catalogues, progress)
    return _from_file(_local(path), query, name, model, prefix or "", extra_catalogues)


def _is_repository(path: str, extra: Sequence[Path]) -> bool:
    if path.startswith("hf://") or Path(path).is_dir():
        return True
    if Path(path).exists():
        return False
    return names.is_repo_id(_bare(path)) or catalogue.look_up(_bare(path), extra) is not None


def _bare(text: str) -> str:
    return text.partition("@")[0]


def _from_repository(
    repo: str, name: str, extra: Sequence[Path], progress: Progress | None = None
) -> Weights:
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


def _described(name: str, file: FileKeys, described: RepositoryConfig, where: str) -> Weights:
    kind = architecture(described.architecture)
    return Weights(
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


def _local(path: str) -> Path:
    """The file that detectron2's path manager makes of a path."""
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
    raise UsageError(f"there is no checkpoint {path}", hint="Give a file, a folder or owner/name")


def _from_file(
    path: Path, query: str, name: str, model: Any, prefix: str, extra: Sequence[Path]
) -> Weights:
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
    # it knows of one wrapper alone, and takes that off itself
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
    """Whether ``torch.load`` refuses all but tensors and plain values, as it does from 2.6 on."""
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
) -> Weights:
    """Weights in their original's layout. What they are says what they want, and what the file
    itself does not say is assumed, unless it is a file that the catalogue knows by its sha256.

    Args:
        model: the config's, whose class tells look-alikes apart, and whose backbone's class tells
            for which of several models an original is meant.
    """
    path = checkpoint.path
    kinds = placing.kinds_of(model)
    entries = catalogue.of_file(path, lambda: FileSha256(path).result(), extra)
    ours = {kind.name for kind in kinds}
    entry = next((one for one in entries if one.architecture in ours), next(iter(entries), None))
    listed = entry.name if entry is not None else None
    alike = () if entry is not None else catalogue.of_name(path, extra)
    weights = Weights(name=name, file=file, entry=listed, alike=tuple(one.name for one in alike))
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
    """The architecture of a state dict, judged by its keys. Where they say none of ``kinds``, and
    fit one of these all the same, it is that one."""
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


def target_keys(
    what: str, like: str | None = None, *, extra_catalogues: Sequence[Path] = ()
) -> ModelKeys:
    """The keys of a model, from a checkpoint of it, a name in the catalogue, or an architecture.

    A backbone's keys stand under ``backbone.``, as in a detrex model.

    Args:
        what: a file, a folder, ``owner/name``, a catalogue name, or an architecture's name.
        like: a checkpoint to read an architecture's hyper-parameters from.
        extra_catalogues: catalogue files beyond the built-in ones.

    Raises:
        UsageError: it is nothing of that, or an architecture of unknown size.
    """
    if (entry := catalogue.look_up(what, extra_catalogues)) is not None:
        return _keys_of(model_of(entry))
    if what in architectures():
        return _keys_of(_sized(architectures()[what], like, extra_catalogues))
    path = Path(what)
    if path.is_file():
        with checkpoints.open(path) as checkpoint:
            return ModelKeys({key: spec.shape for key, spec in checkpoint.specs.items()})
    if path.is_dir() or names.is_repo_id(_bare(what)):
        return ModelKeys(_from_repository(what, what, extra_catalogues).file.shapes)
    raise UsageError(
        f"{what[:120]!r} is not a checkpoint, weights or an architecture",
        hint=did_you_mean(
            what, architectures(), f"Architectures: {', '.join(sorted(architectures()))}"
        ),
    )


def _sized(kind: type[Architecture], like: str | None, extra: Sequence[Path]) -> Architecture:
    if like is not None:
        try:
            path = like.partition("?")[0]
            if _is_repository(path, extra):
                local = resolve(path, extra_catalogues=extra).weights()
            else:
                local = _local(path)
            with checkpoints.open(local) as checkpoint:
                found = recognise(checkpoint.specs, among=[kind])
                known = identify(checkpoint.specs, found, metadata=checkpoint.metadata)
                return known.architecture
        except DetrexHubError:
            pass
    try:
        return kind()
    except TypeError:
        raise UsageError(
            f"the size of the {kind.name} is not known",
            hint="Pass weights of that size to --target. See: detrex-hub list",
        ) from None


def _keys_of(made: Architecture) -> ModelKeys:
    prefix = f"{made.node.removeprefix('model.')}." if made.backbone else ""
    return ModelKeys(
        shapes={prefix + key: spec.shape for key, spec in made.target().items()},
        ties=tuple(tuple(prefix + key for key in group) for group in made.ties()),
    )
