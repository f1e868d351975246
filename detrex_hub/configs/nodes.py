"""The nodes of a training config: what is below them, and what they build.

Nothing is imported to look at a node, and no value of a config is run.
"""

from __future__ import annotations

import inspect
import re
import sys
from typing import Any

_INTERPOLATION = re.compile(r"\$\{(\.+)([A-Za-z]\w*(?:\.[A-Za-z]\w*)*)\}")

# parameters of classes that may be missing on the machine that reads the config
_PARAMETERS = {
    "MOT": {
        "backbone",
        "position_embedding",
        "neck",
        "transformer",
        "embed_dim",
        "num_classes",
        "num_queries",
        "criterion",
        "track_embed",
        "track_base",
        "post_process",
        "aux_loss",
        "device",
        "g_size",
    },
    "ResNet": {"stem", "stages", "num_classes", "out_features", "freeze_at"},
    "TorchvisionResNet": {"name", "train_backbone", "dilation", "return_layers"},
    "DetrDatasetMapper": {
        "augmentation",
        "augmentation_with_crop",
        "is_train",
        "mask_on",
        "img_format",
    },
}


def child(node: Any, name: str) -> Any:
    """A node below another one, or an element of a list of nodes."""
    if hasattr(node, "keys"):
        below = node.get(name)
    elif hasattr(node, "__getitem__") and name.isdecimal():
        below = node[int(name)] if int(name) < len(node) else None
    else:
        return None
    # a node or a list, not a value
    return below if hasattr(below, "__getitem__") and not isinstance(below, str | bytes) else None


def each_node(node: Any, path: str) -> list[tuple[Any, str]]:
    """The nodes of a list with their paths, or the one node that is none."""
    if node is None:
        return []
    if hasattr(node, "keys"):
        return [(node, path)]
    return [(one, f"{path}.{i}") for i, one in enumerate(node) if hasattr(one, "keys")]


def described(node: Any) -> str:
    """The class that a node builds, for messages."""
    name = target_of(node)
    return (
        f"it is a {name}" if name else f"it is not a node that can be built ({type(node).__name__})"
    )


def target_of(node: Any) -> str:
    """The import path of the class that a node builds; empty if it builds nothing."""
    target = node.get("_target_") if hasattr(node, "keys") else None
    if target is None:
        return ""
    return target if isinstance(target, str) else _path_of(target)


def lineage_of(node: Any) -> tuple[str, ...]:
    """The import path of the class that a node builds, and of the classes that it inherits from.

    Nothing is imported to find them: for a class that is not imported, only its own path is
    returned. Empty if the node builds nothing, or calls a function, which may return anything.
    """
    target = node.get("_target_") if hasattr(node, "keys") else None
    if isinstance(target, str):
        found = imported(target)
        if found is None:
            # a class is named in capitals, a function is not
            return (target,) if target.rpartition(".")[2][:1].isupper() else ()
        return (target, *lineage_of({"_target_": found})) if isinstance(found, type) else ()
    return tuple(map(_path_of, target.__mro__[:-1])) if isinstance(target, type) else ()


def _path_of(target: Any) -> str:
    return f"{target.__module__}.{getattr(target, '__qualname__', type(target).__name__)}"


def accepts(node: Any, name: str, *, guess: bool = True) -> bool:
    """Whether the callable of a node has a parameter; ``guess`` if the callable is not imported
    yet. Nothing is imported for this."""
    target = node.get("_target_")
    if target is None:
        return False
    if isinstance(target, str):
        known = _PARAMETERS.get(target.rpartition(".")[2])
        target = imported(target)
        if target is None and known is not None:
            return name in known
    if not callable(target):
        return guess
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return guess
    return any(one.name == name or one.kind is one.VAR_KEYWORD for one in parameters)


def imported(path: str) -> Any:
    """The object at a dotted path, if its module is already imported."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        found: Any = sys.modules.get(".".join(parts[:length]))
        if found is not None:
            for name in parts[length:]:
                found = getattr(found, name, None)
            return found
    return None


def source_of(node: Any, leaf: str, here: str) -> str | None:
    """The path from which a leaf takes its value through ``${..x}``. Names that begin with an
    underscore are not values."""
    raw = node._get_node(leaf)._value() if hasattr(node, "_get_node") else None
    found = _INTERPOLATION.fullmatch(raw) if isinstance(raw, str) else None
    if found is None:
        return None
    parts = here.split(".")
    up = len(found[1]) - 1
    if up >= len(parts):
        return None
    return ".".join((*parts[: len(parts) - up], found[2]))


def without_omegaconf(value: Any) -> Any:
    """A value without the wrappers of omegaconf."""
    if not hasattr(value, "_metadata"):
        return value
    from omegaconf import OmegaConf

    return OmegaConf.to_container(value, resolve=True)
