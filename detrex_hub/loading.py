"""`from_hub`: weights for a training config, readable by the stock `DetectionCheckpointer`.

It fetches a repository's config, plans the changes of the training config, materialises the weights
as a ``.pth``, and changes the training config at the end.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from detrex_hub.architectures import architecture
from detrex_hub.architectures.base import Architecture, Overrides
from detrex_hub.checkpoints import Checkpoint
from detrex_hub.configs import nodes, placing, settings
from detrex_hub.configs.class_counts import class_count
from detrex_hub.configs.interpolation import readable
from detrex_hub.errors import CheckpointError, ConfigError, one_line
from detrex_hub.fine_tuning import NewClasses, with_classes
from detrex_hub.materialising import materialise, open_checked
from detrex_hub.messages import log
from detrex_hub.progress import Progress
from detrex_hub.records import CONFIG
from detrex_hub.repositories import Repository
from detrex_hub.resolving import resolve
from detrex_hub.seeded import SyntheticCheckpoint
from detrex_hub.specs import TORCH_DTYPES

if TYPE_CHECKING:
    import torch


class Loaded(Struct, frozen=True, kw_only=True):
    """Weights that are ready: ``path`` of the ``.pth``, the ``overrides`` of a config (LazyConfig
    path -> value), the paths with ``assumed`` values, their ``commit`` (None for a folder), and
    whether this process has set their overrides on a config (``configured``)."""

    path: str
    overrides: Mapping[str, Any]
    assumed: tuple[str, ...]
    commit: str | None
    configured: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "overrides": dict(self.overrides),
            "assumed": list(self.assumed),
            "commit": self.commit,
        }


# sha256 of the weights whose overrides were set on a config
_configured: set[str] = set()


def from_hub(
    repo: str | os.PathLike[str],
    *,
    model: Any = None,
    dataloader: Any = None,
    revision: str | None = None,
    prefix: str | None = None,
    build: bool = False,
    num_classes: int | None = None,
    classes: Sequence[str] | str | Path | None = None,
    seed: int = 0,
) -> str:
    """Fetch and check weights, set their values on the config, and return the checkpoint's path.

    Args:
        repo: a name of the catalogue; it is converted on this machine if no folder or repository
            has it. Or ``owner/name`` on the Hub or under ``DETREX_HUB_ROOT``; or the path of a
            converted folder. A name may have ``@revision``, and ``hf://`` before it.
        model: the node ``model`` of a LazyConfig, on which depth, mean, std and so on are set.
        dataloader: its node ``dataloader``, on whose mappers the image format is set.
        revision: branch, tag or commit.
        prefix: put before every key, such as ``backbone.``; the checkpoint is then loaded by exact
            key. Without it detectron2's suffix heuristics find a backbone's keys. ``"auto"`` finds
            the node in ``model`` that takes the weights.
        build: if the class of ``model.backbone`` cannot take the weights, replace it with a
            complete backbone that can, and adapt the neck.
        num_classes: prepare the class heads of a detector for this number of classes, and set it
            wherever ``model`` has it.
        classes: their names, or a file that holds them. Classes that COCO has too keep their rows.
        seed: the seed of new rows.

    Returns:
        the path of a ``.pth`` file, a plain ``str``, for ``train.init_checkpoint``.

    Raises:
        HubError: the repository or the network fails.
        ConfigError: the config cannot take the weights, or ``model`` or ``dataloader`` is not the
            node of this name; nothing of the config is changed.
        VerificationError: the bytes differ from the repository's description.

    Example:
        >>> from detrex_hub import from_hub
        >>> train.init_checkpoint = from_hub("detrex/r101_v2", model=model, dataloader=dataloader)
    """
    with one_line():
        return load(
            repo,
            model=model,
            dataloader=dataloader,
            revision=revision,
            prefix=prefix,
            build=build,
            classes=NewClasses.of(num_classes, classes, seed),
        ).path


def load(
    repo: str | os.PathLike[str],
    *,
    model: Any = None,
    dataloader: Any = None,
    revision: str | None = None,
    prefix: str | None = None,
    build: bool = False,
    check: bool = False,
    classes: NewClasses | None = None,
    convert: bool | None = None,
    keep_original: bool | None = None,
    extra_catalogues: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Loaded:
    """As `from_hub`, but returns more than the path.

    Args:
        classes: prepare the class heads for these.
        convert: whether a name that no repository has is converted on this machine.
        keep_original: whether the original stays in the cache after a conversion.
        check: read a cached checkpoint whole, instead of comparing it with its seal.
        extra_catalogues: catalogue files in addition to the built-in ones.
        progress: reports downloads; huggingface_hub's own bar by default.
    """
    placing.check_nodes(model, dataloader)
    repository = resolve(
        repo,
        revision=revision,
        convert=convert,
        keep_original=keep_original,
        extra_catalogues=extra_catalogues,
        progress=progress,
    )
    if classes is not None:
        repository = with_classes(repository, classes, progress=progress)
    name, described = repository.name, repository.config
    overrides = settings.accepted(described, where=f"{name}/{CONFIG}")
    replacing = placing.rebuilt(described, model, name) if build else nullcontext()
    # planned before the weights are fetched, because a refusal should need no download
    counting = class_count(model, classes.count if classes is not None else None)
    with readable(name), replacing as replaced, counting as counted:
        kind = architecture(described.architecture)
        placing.check_model(kind, model, name)
        placing.check_inside(kind, described.hyper_parameters, model, name)
        ours = _placed(overrides, kind, model, prefix, name)
        settings.plan_changes(ours, model=model, dataloader=dataloader, where=name)
        put_before = placing.prefix_of(kind, model, prefix, name)
        path = materialise(repository, put_before, whole=check, progress=progress)
        settings.apply(ours, model=model, dataloader=dataloader, where=name)
        settings.log_changes(counted, name)
        if replaced:
            log(f"{name}: model.backbone replaced, {nodes.described(model.backbone)}")
    if model is not None:
        _configured.add(described.checkpoint.sha256)
    return Loaded(
        path=str(path),
        overrides=dict(overrides.lazy),
        assumed=tuple(path for path in overrides.lazy if path in overrides.assumed),
        commit=repository.commit,
        configured=described.checkpoint.sha256 in _configured,
    )


def _placed(
    overrides: Overrides, kind: type[Architecture], model: Any, prefix: str | None, name: str
) -> Overrides:
    """Overrides with the paths of the model's backbone."""
    if model is None or not kind.backbone:
        return overrides
    if prefix and prefix != placing.AUTO:
        node = f"model.{prefix.rstrip('.')}"
    else:
        node = placing.node_of(kind, model, name)
    return placing.placed(overrides, kind, node)


def apply_overrides(cfg: Any, repo: str | os.PathLike[str], *, revision: str | None = None) -> Any:
    """Set the values that weights need on a whole config, without fetching the weights.

    Args:
        cfg: a LazyConfig (with ``model`` and perhaps ``dataloader``) or a classic ``CfgNode``.
        repo: as for `from_hub`.
        revision: branch, tag or commit.

    Returns:
        ``cfg``.

    Raises:
        HubError: the repository or the network fails.
        ConfigError: the config cannot take the weights; nothing of it is changed.

    Example:
        >>> from detrex_hub import apply_overrides
        >>> cfg = apply_overrides(cfg, "detrex/r101_v2")
    """
    with one_line():
        return _apply_overrides(cfg, resolve(repo, revision=revision))


def _apply_overrides(cfg: Any, repository: Repository) -> Any:
    name, described = repository.name, repository.config
    overrides = settings.accepted(described, where=f"{name}/{CONFIG}")
    with readable(name):
        if "MODEL" in cfg:
            settings.apply_yacs(overrides, cfg, where=name)
        else:
            model, dataloader = cfg.get("model"), cfg.get("dataloader")
            if model is None:
                raise ConfigError(
                    f"the config has no model, so no value of {name} can be set on it",
                    hint="Pass the whole config",
                )
            kind = architecture(described.architecture)
            placing.check_model(kind, model, name)
            placing.check_inside(kind, described.hyper_parameters, model, name)
            ours = _placed(overrides, kind, model, None, name)
            settings.apply(ours, model=model, dataloader=dataloader, where=name)
    _configured.add(described.checkpoint.sha256)
    return cfg


def overrides(repo: str | os.PathLike[str], *, revision: str | None = None) -> dict[str, Any]:
    """The overrides of a repository: LazyConfig path -> value.

    Raises:
        HubError: the repository or the network fails.
        ConfigError: its config is malformed or forbidden.

    Example:
        >>> from detrex_hub import overrides
        >>> overrides("detrex/r101_v2")["model.backbone.stages.depth"]
        101
    """
    with one_line():
        return dict(checked_overrides(repo, revision=revision).lazy)


def checked_overrides(repo: str | os.PathLike[str], *, revision: str | None = None) -> Overrides:
    """All overrides of a repository, in both config languages."""
    repository = resolve(repo, revision=revision)
    return settings.accepted(repository.config, where=f"{repository.name}/{CONFIG}")


def load_state_dict(
    repo: str | os.PathLike[str], *, revision: str | None = None
) -> dict[str, torch.Tensor]:
    """The tensors of a repository on the CPU. Tied keys share one tensor.

    Raises:
        HubError: the repository or the network fails.
        VerificationError: the bytes differ from the repository's description.

    Example:
        >>> from detrex_hub import load_state_dict
        >>> load_state_dict("detrex/r101_v2")["stem.conv1.weight"].shape
        torch.Size([64, 3, 7, 7])
    """
    with one_line():
        repository = resolve(repo, revision=revision)
        with open_checked(repository) as checkpoint:
            return tensors_of(checkpoint, repository.config.checkpoint.ties)


def tensors_of(
    checkpoint: Checkpoint | SyntheticCheckpoint, ties: Mapping[str, str]
) -> dict[str, torch.Tensor]:
    """All tensors of an open checkpoint, on the CPU, and the tied ones (alias -> stored key)."""
    import torch

    tensors: dict[str, torch.Tensor] = {}
    for key, spec in checkpoint.specs.items():
        dtype = getattr(torch, _TORCH_NAMES[spec.dtype], None)
        if dtype is None:
            raise CheckpointError(
                f"{key} is {spec}, which torch {torch.__version__} does not support",
                hint="Upgrade: pip install -U torch",
            )
        data = bytearray()
        for piece in checkpoint.chunks(key):
            data += piece
        flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        tensors[key] = flat.reshape(spec.shape)
    for alias, stored in ties.items():
        tensors[alias] = tensors[stored]
    return tensors


_TORCH_NAMES = {ours: theirs for theirs, ours in TORCH_DTYPES.items()}
