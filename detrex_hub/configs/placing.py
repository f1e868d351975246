"""Find the node of a training config for weights, or build a new backbone there.

Only the architectures of this package name the classes to build, never a repository.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace

from detrex_hub.architectures import architecture, architectures
from detrex_hub.architectures.base import Architecture, BackboneCall, Call, Overrides
from detrex_hub.architectures.detector import Detector
from detrex_hub.configs.nodes import described, lineage_of, target_of
from detrex_hub.configs.settings import settings
from detrex_hub.errors import ConfigError, UsageError
from detrex_hub.records import RepositoryConfig

AUTO = "auto"

# detectors that pad images for their backbone; detrex's other detectors do not
_PADDING = ("projects.dino_eva.", "detectron2.")


def prefix_of(kind: type[Architecture], model: Any, given: str | None, where: str) -> str:
    """The prefix for the keys of a checkpoint.

    Args:
        kind: the architecture of the weights.
        model: the node ``model`` of a LazyConfig, or None.
        given: the prefix, or ``"auto"`` for that of the node in ``model`` that takes the weights.

    Raises:
        ConfigError: no node takes them.
        UsageError: there is no model to search.
    """
    if given != AUTO:
        return given or ""
    if not kind.backbone:
        return ""
    if model is None:
        raise UsageError('prefix="auto" looks for the module in a model', hint="Pass model=model")
    return f"{node_of(kind, model, where).removeprefix('model.')}."


def takes(kind: type[Architecture], node: Any) -> bool:
    """Whether a node builds a class with the state dict of an architecture."""
    return any(_same_class(ours, path) for path in lineage_of(node) for ours in _takers(kind))


def _takers(kind: type[Architecture]) -> frozenset[str]:
    return kind.taken_by or frozenset({kind.__name__})


def _same_class(declared: str, path: str) -> bool:
    """Whether an import path names a class of ``Architecture.taken_by``.

    Projects of detrex may have classes with equal names. For other classes only the name counts, so
    that a user's copy of a project is recognised.
    """
    *project, name = declared.split(".")
    *module, last = path.split(".")
    return name == last and (module[:1] != project[:1] or module[: len(project)] == project)


def check_nodes(model: Any, dataloader: Any) -> None:
    """Refuse arguments that are not the nodes of their names. Their values would not be found, and
    would stay as they are.

    Raises:
        ConfigError: one is a whole config, or no node of a LazyConfig.
    """
    for name, node in (("model", model), ("dataloader", dataloader)):
        if node is None:
            continue
        is_node = hasattr(node, "_get_node") and hasattr(node, "keys")
        if is_node and ("_target_" in node or name not in node):
            continue
        given = "a whole config" if is_node else f"{type(node).__name__}, no node of a LazyConfig"
        raise ConfigError(f"{name} is {given}", hint=f"Pass the node itself: {name}=cfg.{name}")


def check_model(kind: type[Architecture], model: Any, where: str) -> None:
    """Refuse a model of another class than the weights of a detector belong to.

    Args:
        kind: the architecture of the weights. Backbones are not checked here; see `node_of`.
        model: the node ``model`` of a LazyConfig, or None.
        where: the name of the weights, for messages.

    Raises:
        ConfigError: it is of another class; both are named.
    """
    if kind.backbone or model is None or not lineage_of(model) or takes(kind, model):
        return
    raise ConfigError(
        f"model cannot take the weights of {where}: {described(model)}, but the weights are for "
        f"{' or '.join(sorted(_takers(kind)))} ({kind.name})",
        hint="Start from a config with such a model",
    )


def check_inside(
    kind: type[Architecture], values: Mapping[str, Any], model: Any, where: str
) -> None:
    """Refuse a model with an inner module of another class that has the same settings.

    Args:
        kind: the architecture of the weights.
        values: their hyper-parameters.
        model: the node ``model`` of a LazyConfig, or None.
        where: the name of the weights, for messages.

    Raises:
        ConfigError: there is one; both classes are named.
    """
    for path, inner in kind.inside(values).items():
        node = _at(model, path) if model is not None else None
        if node is not None and lineage_of(node) and not takes(inner, node):
            raise ConfigError(
                f"{path} cannot take the weights of {where}: {described(node)}, but the weights "
                f"are for {' or '.join(sorted(_takers(inner)))}",
                hint="Start from a config with such a backbone, or replace it: "
                "from_hub(..., build=True)",
            )


def detectors_of(model: Any) -> list[type[Architecture]]:
    """The detector architectures of a model's class. The class was written for the first one."""
    if not lineage_of(model):
        return []
    found = [
        kind
        for kind in architectures().values()
        if not kind.backbone and takes(kind, model) and _marked(kind, model)
    ]
    return sorted(found, key=lambda kind: not kind.marked_by)


def _marked(kind: type[Architecture], model: Any) -> bool:
    """Whether a model has the inner classes that mark an architecture."""
    return all(
        any(_same_class(name, one) for one in lineage_of(_at(model, path)))
        for path, name in kind.marked_by.items()
    )


def kinds_of(model: Any) -> list[type[Architecture]]:
    """The possible architectures of a model and of its backbone, detectors first."""
    return detectors_of(model) + [
        kind
        for kind in architectures().values()
        if kind.backbone and takes(kind, _at(model, kind.node))
    ]


def node_of(kind: type[Architecture], model: Any, where: str) -> str:
    """The path of the node that takes a backbone's weights, such as ``model.backbone``.

    Raises:
        ConfigError: there is none, or there are several.
    """
    usual = _at(model, kind.node)
    if usual is not None and takes(kind, usual):
        return kind.node
    found = [path for path, node in _nodes(model, "model") if takes(kind, node)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(
            f"{' and '.join(found)} can both take the weights of {where}",
            hint="Choose one: prefix='backbone.'",
        )
    if usual is not None and not lineage_of(usual):
        # a function builds it, or nothing
        return kind.node
    if takes(kind, model):
        raise ConfigError(
            f"model is the backbone itself: {described(model)}",
            hint="Pass the node that contains it: model=cfg.model",
        )
    here = "model.backbone" if _at(model, "model.backbone") is not None else "model"
    raise ConfigError(
        f"{here} cannot take the weights of {where}: {described(_at(model, here))}, "
        f"but the weights are for {' or '.join(sorted(_takers(kind)))}",
        hint="Start from a config with such a backbone, or replace it: from_hub(..., build=True)",
    )


def placed(overrides: Overrides, kind: type[Architecture], node: str) -> Overrides:
    """The overrides of a backbone at an unusual place, such as below an FPN."""
    usual = kind.node
    if node == usual:
        return overrides

    def moved(values: Mapping[str, Any]) -> dict[str, Any]:
        return {move(path): value for path, value in values.items()}

    def move(path: str) -> str:
        inside = path.startswith(f"{usual}.")
        return f"{node}{path[len(usual) :]}" if inside else path

    return replace(
        overrides,
        lazy=moved(overrides.lazy),
        lazy_if_present=moved(overrides.lazy_if_present),
        lazy_remove=tuple(map(move, overrides.lazy_remove)),
        assumed=tuple(map(move, overrides.assumed)),
    )


@contextmanager
def rebuilt(weights: RepositoryConfig, model: Any, where: str) -> Iterator[bool]:
    """A context with a model whose backbone takes the weights, also those of a detector. Otherwise
    ``model.backbone`` is replaced, and the readers of its feature maps are adapted. An error in the
    body of the ``with`` undoes this.

    Yields whether the backbone was replaced.

    Raises:
        ConfigError: there is no backbone to replace, or no known backbone to build.
    """
    if model is None:
        yield False
        return
    kind = architecture(weights.architecture)
    body = kind.from_hyper_parameters(weights.hyper_parameters)
    if isinstance(body, Detector):
        body = body.body
    if _takes(body, weights.preprocessing, model, where):
        yield False
        return
    from omegaconf import open_dict

    made = _build(body, weights, model, where)
    paths = ("backbone", "neck.input_shapes", "neck.in_features", "in_features", "in_channels")
    before = {path: _raw(model, path) for path in paths if _has(model, path)}
    wanted: dict[str, Any] = {
        "backbone": lazy_call(made),
        "neck.input_shapes": {name: {"channels": n} for name, n in made.channels.items()},
        "neck.in_features": list(made.channels),
        "in_features": list(made.channels),
        "in_channels": list(made.channels.values())[-1],
    }
    try:
        with open_dict(model):
            for path in before:
                _put(model, path, wanted[path])
        yield True
    except BaseException:
        with open_dict(model):
            for path, value in before.items():
                _put(model, path, value)
        raise


def lazy_call(call: Call) -> Any:
    """A call as a LazyConfig holds it: ``_target_`` and arguments."""
    from omegaconf import OmegaConf

    return OmegaConf.create(_plain_call(call), flags={"allow_objects": True})


def _plain_call(call: Call) -> Any:
    arguments = {name: _plain(value) for name, value in call.kwargs.items()}
    if not call.partial:
        return {"_target_": call.target, **arguments}
    from functools import partial
    from importlib import import_module

    module, _, name = call.target.rpartition(".")
    return partial(getattr(import_module(module), name), **arguments)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return _plain_call(value) if isinstance(value, Call) else value


def _takes(body: Architecture, preprocessing: Mapping[str, Any], model: Any, where: str) -> bool:
    """Whether a model has a backbone of the right class, which takes the overrides of the
    weights."""
    kind = type(body)
    try:
        node = node_of(kind, model, where)
        wanted = body.overrides(preprocessing).lazy
        own = {path: value for path, value in wanted.items() if path.startswith(f"{kind.node}.")}
        settings(placed(Overrides(lazy=own), kind, node), model=model, where=where)
        check_inside(kind, body.hyper_parameters(), model, where)
    except ConfigError:
        return False
    return takes(kind, _at(model, node))


def _build(body: Architecture, weights: RepositoryConfig, model: Any, where: str) -> BackboneCall:
    if _at(model, "model.backbone") is None:
        raise ConfigError(
            f"there is no model.backbone to replace with that of {where}: {described(model)}"
        )
    read = len(model.neck.in_features) if _has(model, "neck.in_features") else 1
    # a neck with weights keeps the number of its inputs
    trained = weights.hyper_parameters.get("neck_inputs")
    read = trained if isinstance(trained, int) else read
    call = body.build(weights.preprocessing, stages=tuple(range(4))[-read:])
    if call is None:
        raise ConfigError(
            f"detrex-hub does not know how to build a {body.name} for {where}",
            hint="Start from a config with such a backbone",
        )
    if call.square_images is not None and not target_of(model).startswith(_PADDING):
        raise ConfigError(
            f"the backbone of {where} reads only square images of {call.square_images} pixels, "
            f"but this detector does not pad to them: {described(model)}",
            hint="Start from a config of detrex's projects/dino_eva",
        )
    return call


def _nodes(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name in node:
        # an interpolation may be broken, and is not a node
        raw = node._get_node(name) if hasattr(node, "_get_node") else node[name]
        if hasattr(raw, "keys") and raw._value() is not None and not isinstance(raw._value(), str):
            yield f"{path}.{name}", raw
            yield from _nodes(raw, f"{path}.{name}")


def _at(model: Any, path: str) -> Any:
    node = model
    for name in path.split(".")[1:]:
        if not hasattr(node, "keys") or name not in node:
            return None
        node = node[name]
    return node if hasattr(node, "keys") else None


def _has(model: Any, path: str) -> bool:
    *parents, leaf = path.split(".")
    node = _at(model, ".".join(("model", *parents)))
    return node is not None and leaf in node


def _raw(model: Any, path: str) -> Any:
    *parents, leaf = path.split(".")
    node = _at(model, ".".join(("model", *parents)))
    return node._get_node(leaf)


def _put(model: Any, path: str, value: Any) -> None:
    *parents, leaf = path.split(".")
    _at(model, ".".join(("model", *parents)))[leaf] = value
