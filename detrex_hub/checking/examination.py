"""Replay the checkpointer's matching on a config's model.

The model is built without allocating it, and nothing of the config is changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from detrex_hub.architectures.base import Overrides
from detrex_hub.checking.checkpointer import CheckedWeights, read_weights, variable_notes
from detrex_hub.checking.findings import Check, as_error
from detrex_hub.configs import placing, settings
from detrex_hub.configs.interpolation import readable
from detrex_hub.configs.lazy import model_keys
from detrex_hub.configs.matching import Match, ModelKeys, match
from detrex_hub.configs.settings import Setting
from detrex_hub.errors import CheckpointError, ConfigError, UsageError
from detrex_hub.progress import Progress


class NoWeightsError(UsageError):
    """A config names no weights, so that there is nothing to check."""


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
        prefix: the prefix of the weights\' keys in a file, such as ``backbone.``. detectron2 does
            not remove it, but it identifies the weights.

    Returns:
        the weights that would be loaded.

    Raises:
        ConfigError: less is loaded, or the config lacks values that the weights need.
        CheckpointError: detectron2 cannot read the file, or refuses it.
        UsageError: no checkpoint is named, or detectron2 is not installed.

    Example:
        >>> from detrex_hub import check
        >>> check(cfg, min_matched=0.9).share
        1.0
    """
    found = examine(cfg, checkpoint, min_matched, prefix=prefix)
    if not found.passed:
        raise as_error(found)
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
    """As `check`, but problems are in the result instead of raised.

    Args:
        target: what the model holds; without it the config's model is built.
        prefix: the prefix of the weights\' keys in a file, such as ``backbone.``. detectron2 does
            not remove it, but it identifies the weights.
        extra_catalogues: catalogue files in addition to the built-in ones.
        progress: reports the download of a repository's weights.
    """
    with readable("check"):
        return _examined(cfg, checkpoint, min_matched, target, prefix, extra_catalogues, progress)


def _examined(
    cfg: Any,
    checkpoint: str | os.PathLike[str] | None,
    min_matched: float,
    target: ModelKeys | None,
    prefix: str | None,
    extra_catalogues: Sequence[Path],
    progress: Progress | None,
) -> Check:
    name = os.fspath(checkpoint) if checkpoint is not None else init_checkpoint(cfg)
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
        conflict=conflict.message if conflict is not None else None,
        conflict_hint=conflict.hint if conflict is not None else None,
        heuristics_share=loose,
        entry=weights.entry,
        notes=(
            *_notes(found, weights),
            *(variable_notes(f"detrex/{weights.entry}", extra_catalogues) if weights.entry else ()),
            *settings.loader_notes(wanted, getattr(cfg, "model", None)),
        ),
    )


def init_checkpoint(cfg: Any) -> str:
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


def _loose_share(keys: ModelKeys, weights: CheckedWeights, absent: frozenset[str]) -> float | None:
    try:
        loose = replace(weights.file, heuristics=True)
        return match(keys, loose, weights.prefix).share(absent)
    except CheckpointError:
        return None


def _notes(found: Match, weights: CheckedWeights) -> Iterator[str]:
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


def _settings(cfg: Any, weights: CheckedWeights) -> tuple[tuple[Setting, ...], ConfigError | None]:
    """The values that the weights need with those of the config, or why it cannot take them."""
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
        return (), error
