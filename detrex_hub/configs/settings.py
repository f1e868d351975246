"""Overrides: the values that a repository may set on a training config.

A repository's values are untrusted. Only paths that the architecture of the weights declares are
set, and only to values of the declared kind. No value can name code, and ``_target_`` is never set.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from detrex_hub.architectures import architecture
from detrex_hub.architectures.base import Overrides, Paths
from detrex_hub.configs.interpolation import readable
from detrex_hub.configs.nodes import (
    accepts,
    child,
    described,
    each_node,
    source_of,
    target_of,
    without_omegaconf,
)
from detrex_hub.errors import ConfigError
from detrex_hub.kinds import Kind
from detrex_hub.mapping import template
from detrex_hub.messages import log
from detrex_hub.records import RepositoryConfig

# the dataset decides these, not the weights: a difference is a conflict
DECIDED_BY_CONFIG = frozenset(
    {
        "model.num_classes",
        "model.criterion.num_classes",
        "model.transformer.num_classes",
        "model.sem_seg_head.num_classes",
    }
)


class Setting(Struct, frozen=True):
    """A value that weights need in a config, with the config's own value.

    ``before`` is None if the config lacks the path, and ``wanted`` is None if it must not have the
    path. ``has_place`` is False for an image setting that neither the model nor the mapper takes:
    the config's own loader must apply it. ``assumed`` says that the value is only assumed.
    """

    path: str
    before: Any
    wanted: Any
    differs: bool = True
    has_place: bool = True
    assumed: bool = False

    @property
    def is_change(self) -> bool:
        """Whether the config has to change. An assumed value never replaces a value."""
        return self.differs and not (self.assumed and self.before is not None)

    def __str__(self) -> str:
        if self.wanted is None:
            return f"{self.path}: {self.before} removed"
        if self.before is None:
            return f"{self.path} = {self.wanted}{' (assumed)' if self.assumed else ''}"
        return f"{self.path}: {self.before} -> {self.wanted}"


def check_overrides(overrides: Overrides, paths: Paths, *, where: str) -> Overrides:
    """The overrides, after a check that every path is declared and every value is of its kind.

    Args:
        overrides: for example those of a repository.
        paths: what the architecture of the weights declares.
        where: the name of the weights, for messages.

    Raises:
        ConfigError: a path or value is not allowed.
    """
    for path, value in {**overrides.lazy, **overrides.lazy_if_present}.items():
        _check_one(path, value, paths.lazy, where)
    for path in overrides.lazy_remove:
        _kind_of(path, paths.lazy, where)
    for key, value in overrides.yacs.items():
        _check_one(key, value, paths.yacs, where)
    for path in overrides.assumed:
        if path not in {**overrides.lazy, **overrides.lazy_if_present, **overrides.yacs}:
            raise ConfigError(f"{where} assumes a value for {path[:120]!r}, which it does not set")
    return overrides


def accepted(described: RepositoryConfig, *, where: str) -> Overrides:
    """The overrides of a repository, checked by the rules of every load.

    Args:
        described: its `config.json`.
        where: the name of that file, for messages.

    Raises:
        ConfigError: an override is not one that its architecture declares.
        ArchitectureError: there is no model with its hyper-parameters.
        UsageError: the architecture is not known.
    """
    kind = architecture(described.architecture)
    made = kind.from_hyper_parameters(described.hyper_parameters)
    return check_overrides(described.overrides, made.paths(), where=where)


def _kind_of(path: str, known: Mapping[str, Kind], where: str) -> Kind:
    for text, kind in known.items():
        if template(text).match(path) is not None:
            return kind
    raise ConfigError(
        f"{where} tries to set {path[:120]!r}, which weights of this architecture may not set",
        hint="Do not trust this repository, or upgrade with: pip install -U detrex-hub",
    )


def _check_one(path: str, value: Any, known: Mapping[str, Kind], where: str) -> None:
    kind = _kind_of(path, known, where)
    if not kind.accepts(value):
        raise ConfigError(f"{where}: {path} must be {kind.meaning}, not {str(value)[:80]!r}")


def settings(
    overrides: Overrides, *, model: Any = None, dataloader: Any = None, where: str
) -> list[Setting]:
    """The values that overrides need in a LazyConfig, with its own values. Nothing is set.

    Args:
        overrides: checked ones.
        model: the node ``model`` (an omegaconf ``DictConfig``), or None.
        dataloader: the node ``dataloader``, or None.
        where: the name of the weights, for messages.

    Raises:
        ConfigError: a node cannot take the weights, or a value cannot be read; it is named.
    """
    roots = {"model": model, "dataloader": dataloader}
    with readable(where):
        return _settings(overrides, roots, where)


def _settings(overrides: Overrides, roots: Mapping[str, Any], where: str) -> list[Setting]:
    found: dict[str, Setting] = {}
    apart = _wanted_apart(roots, {**overrides.lazy_if_present, **overrides.lazy})
    for values, required in ((overrides.lazy, True), (overrides.lazy_if_present, False)):
        for path, value in values.items():
            assumed = path in overrides.assumed
            for place in _places(roots, path, value):
                try:
                    theirs = _setting(roots, place, value, where, required=required, apart=apart)
                except ConfigError:
                    if not assumed:
                        raise
                    # an assumed value is not a reason to refuse a config
                    continue
                for one in theirs:
                    found.setdefault(one.path, replace(one, assumed=assumed))
    for path in overrides.lazy_remove:
        for one in _setting(roots, path, None, where, required=False):
            found.setdefault(one.path, one)
    return list(found.values())


def plan_changes(
    overrides: Overrides, *, model: Any = None, dataloader: Any = None, where: str
) -> list[Setting]:
    """The `settings` to change. A value that is equal stays. So does any value of the config if
    the weights' value is only assumed."""
    wanted = settings(overrides, model=model, dataloader=dataloader, where=where)
    return [one for one in wanted if one.is_change]


def apply(
    overrides: Overrides, *, model: Any = None, dataloader: Any = None, where: str
) -> list[Setting]:
    """Set overrides on the nodes of a LazyConfig, all of them or none, and log each change. If
    the config differs from an assumed value, log a warning instead.

    Arguments, return value and errors are those of `plan_changes`.
    """
    wanted = settings(overrides, model=model, dataloader=dataloader, where=where)
    changes = [one for one in wanted if one.is_change]
    for change in changes:
        set_value({"model": model, "dataloader": dataloader}, change)
    log_changes(changes, where)
    for note in loader_notes(wanted, model):
        log(f"{where}: {note}", logging.WARNING)
    _warn_of_assumed(wanted, where)
    return changes


def loader_notes(wanted: Iterable[Setting], model: Any) -> Iterator[str]:
    """The image settings that the config's data loader must apply if no node takes the values.

    Args:
        wanted: the needed values, from `settings`.
        model: the node ``model``, for the message.
    """
    values = {one.path.rpartition(".")[2]: one for one in wanted}
    order = [str(values[name].wanted) for name in _MAPPER_FORMATS if name in values][:1]
    done = {"pixel_mean": "subtract", "pixel_std": "divide by"}
    lacking = [name for name in done if name in values and not values[name].has_place]
    if lacking:
        names = " and no ".join(lacking)
        numbers = ", ".join(
            f"{do} {values[name].wanted}" for name, do in done.items() if name in values
        )
        yield (
            f"the model takes no {names} ({described(model)}): the config's data loader must "
            f"normalise {' '.join((*order, 'images'))}: {numbers} (pixels of 0 to 255; for pixels "
            "of 0 to 1 divide these numbers by 255)"
        )
    for one in wanted:
        if not one.has_place and one.path.startswith("dataloader."):
            mapper = one.path.rpartition(".")[0]
            yield f"{mapper} takes no image format: it must produce {one.wanted} images"


def apply_yacs(overrides: Overrides, cfg: Any, *, where: str) -> list[Setting]:
    """Set overrides on a classic config (a yacs ``CfgNode``), all of them or none.

    Raises:
        ConfigError: a key is missing, or a classic config has no key for what the weights need;
            nothing is changed.
    """
    if not overrides.yacs:
        raise ConfigError(
            f"a classic config has no keys for the settings that the weights of {where} need",
            hint="Start from a LazyConfig of detrex's projects",
        )
    wanted: list[Setting] = []
    for key, value in overrides.yacs.items():
        node = cfg
        *parents, leaf = key.split(".")
        for name in parents:
            node = child(node, name)
        if not hasattr(node, "keys") or leaf not in node:
            if key in overrides.assumed:
                continue
            raise ConfigError(
                f"this config has no {key}, which {where} needs as {value!r}",
                hint="Start from a config of detectron2's model zoo",
            )
        differs = _differs(node[leaf], value)
        assumed = key in overrides.assumed
        wanted.append(Setting(key, node[leaf], value, differs=differs, assumed=assumed))
    changes = [one for one in wanted if one.is_change]
    # a frozen config takes it: yacs freezes attributes, and this sets items
    for change in changes:
        cfg.merge_from_list([change.path, change.wanted])
    log_changes(changes, where)
    _warn_of_assumed(wanted, where)
    return changes


_MAPPER_FORMATS = ("img_format", "image_format")
_OF_IMAGES = ("model.pixel_mean", "model.pixel_std", "dataloader.")


def _places(roots: Mapping[str, Any], path: str, value: Any) -> list[str]:
    """The nodes of a config for a path.

    An image format is ``img_format`` in detrex's mappers and ``image_format`` in detectron2's;
    there may be several loaders and several mappers, each a list.
    """
    root, *inner = path.split(".")
    if root != "dataloader":
        return [path]
    mappers = [
        (mapper, place)
        for loader, at in each_node(child(roots[root], inner[0]), f"{root}.{inner[0]}")
        for mapper, place in each_node(child(loader, "mapper"), f"{at}.mapper")
    ]
    found = []
    for mapper, place in mappers:
        named = [name for name in _MAPPER_FORMATS if name in mapper]
        if not named:
            named = [name for name in _MAPPER_FORMATS if accepts(mapper, name, guess=False)][:1]
        if not named and value != "RGB":
            # a mapper that names no format reads RGB
            named = [_MAPPER_FORMATS[0]]
        found += [f"{place}.{name}" for name in named]
        if "img_format" in (child(mapper, "augmentation") or ()):
            found.append(f"{place}.augmentation.img_format")
    return found


def _setting(
    roots: Mapping[str, Any],
    path: str,
    value: Any,
    where: str,
    *,
    required: bool,
    apart: Collection[str] = (),
) -> list[Setting]:
    """The settings at a path: none, or one with its present and its wanted value.

    Args:
        apart: the paths of `_wanted_apart`.
    """
    root, *parents, leaf = path.split(".")
    node = roots[root]
    if node is None:
        return []
    here = root
    for name in parents:
        below = child(node, name)
        if below is None:
            if not required:
                return []
            what = described(node)
            if hasattr(node, "keys") and not target_of(node):
                what = f"it has no {name}"
            raise ConfigError(
                f"{here} cannot take the weights of {where}: {what}, "
                f"and they need {path} = {value!r}",
                hint=_elsewhere(path),
            )
        node, here = below, f"{here}.{name}"
    if not hasattr(node, "keys"):
        if not required:
            return []
        raise ConfigError(f"{here}: {described(node)}, and {where} needs {path} = {value!r}")
    present = leaf in node
    if value is None:
        return [Setting(path, without_omegaconf(node[leaf]), None)] if present else []
    if not present:
        if not required:
            return []
        if path.startswith(_OF_IMAGES) and not accepts(node, leaf, guess=root == "model"):
            return [Setting(path, None, value, differs=False, has_place=False)]
        if not accepts(node, leaf):
            raise ConfigError(
                f"{here} cannot take the weights of {where}: {described(node)}, "
                f"which has no {leaf}, and they need {path} = {value!r}",
                hint=_elsewhere(path),
            )
        return [Setting(path, None, value)]
    before = without_omegaconf(node[leaf])
    if isinstance(before, Mapping):
        raise ConfigError(
            f"{here}.{leaf}: {described(node[leaf])}, and {where} needs the value {value!r}"
        )
    differs = _differs(before, value)
    if differs and path in DECIDED_BY_CONFIG:
        raise ConfigError(
            f"the config says {path} = {before}, but the weights of {where} need {value}",
            hint=(
                f"Set {path} = {value} and the settings that depend on it, or convert with "
                "--num-classes"
            ),
        )
    source = source_of(node, leaf, here) if differs else None
    if source is not None and source not in apart:
        # a literal in place of ${..x} would not change when x is set later
        return _setting(roots, source, value, where, required=required, apart=apart)
    return [Setting(path, before, value, differs)]


def _elsewhere(path: str) -> str:
    hint = "Start from a config whose model these weights belong to"
    if path.startswith("model.backbone."):
        hint += ", or replace the backbone: from_hub(..., build=True)"
    if path.endswith("_num_embed"):
        hint += ", with model.position_embedding = L(detrex.layers.PositionEmbeddingLearned)()"
    return hint


def _wanted_apart(roots: Mapping[str, Any], wanted: Mapping[str, Any]) -> frozenset[str]:
    """The paths of a config from which several others take their value, although these others need
    different values: Mask DINO's ``params.feed_forward``, if encoder and decoder differ.

    Args:
        roots: the nodes of the config.
        wanted: path -> value.
    """
    values: dict[str, list[Any]] = {}
    for place, value in wanted.items():
        path: str | None = place
        passed: set[str] = set()
        while path is not None and path not in passed:
            passed.add(path)
            values.setdefault(path, []).append(value)
            root, *parents, leaf = path.split(".")
            node: Any = roots.get(root)
            here = root
            for name in parents:
                node, here = child(node, name), f"{here}.{name}"
            path = source_of(node, leaf, here) if hasattr(node, "keys") and leaf in node else None
    return frozenset(
        path for path, those in values.items() if any(_differs(those[0], one) for one in those)
    )


def set_value(roots: Mapping[str, Any], change: Setting) -> None:
    """Set one value on the nodes of a LazyConfig, or remove it if no value is wanted."""
    from omegaconf import open_dict

    root, *parents, leaf = change.path.split(".")
    node = roots[root]
    for name in parents:
        node = child(node, name)
    with open_dict(node):
        if change.wanted is None:
            del node[leaf]
        else:
            node[leaf] = change.wanted


def _differs(before: Any, after: Any) -> bool:
    if isinstance(before, list | tuple) and isinstance(after, list | tuple):
        return len(before) != len(after) or any(map(_differs, before, after))
    if type(before) in (int, float) and type(after) in (int, float):
        return not math.isclose(before, after, rel_tol=_ROUNDING)
    return type(before) is not type(after) or bool(before != after)


# 0.224 * 255 is 57.120000000000005, which is the 57.12 of detectron2's configs
_ROUNDING = 1e-14


def _warn_of_assumed(wanted: list[Setting], where: str) -> None:
    for one in wanted:
        if one.assumed and one.differs and not one.is_change:
            log(
                f"{where}: {one.path} stays {one.before}. {one.wanted} is assumed for "
                "these weights; their file does not show it",
                logging.WARNING,
            )


def log_changes(changes: list[Setting], where: str) -> None:
    """Log each change once, and only on the main process of a distributed run."""
    for change in changes:
        log(f"{where}: {change}")
