"""Set the number of classes of a config, for weights with heads for these classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from detrex_hub.configs.settings import Setting, set_value

_LEAF = "num_classes"
# their classes are those of ImageNet
_NOT_BELOW = "backbone"


@contextmanager
def class_count(model: Any, number: int | None) -> Iterator[list[Setting]]:
    """Set the number of classes at every path of a model's config, and undo it after an error.

    A value that refers to another one (``${..num_classes}``) is not changed.

    Args:
        model: the node ``model`` of a LazyConfig, or None.
        number: of classes; None leaves the config as it is.

    Yields:
        the values that were set.
    """
    if number is None:
        yield []
        return
    changes = [one for one in _counts(model, "model") if one.before != number]
    wanted = [Setting(one.path, one.before, number) for one in changes]
    for one in wanted:
        set_value({"model": model}, one)
    try:
        yield wanted
    except BaseException:
        for one in changes:
            set_value({"model": model}, Setting(one.path, number, one.before))
        raise


def _counts(node: Any, path: str) -> Iterator[Setting]:
    if not hasattr(node, "keys"):
        return
    for name in node:
        if name == _NOT_BELOW:
            continue
        raw = node._get_node(name) if hasattr(node, "_get_node") else None
        value = raw._value() if raw is not None and not hasattr(raw, "keys") else None
        if name == _LEAF and type(value) is int:
            yield Setting(f"{path}.{name}", value, value)
        elif raw is not None and hasattr(raw, "keys"):
            yield from _counts(node[name], f"{path}.{name}")
