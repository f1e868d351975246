"""The names that torch's wrappers put into the keys of the model that they wrap."""

from __future__ import annotations

from collections.abc import Collection

# `DistributedDataParallel` and `AveragedModel`, `torch.compile`, `FullyShardedDataParallel`, and
# activation checkpointing (torch 2.9: nn/parallel/distributed.py, _dynamo/eval_frame.py,
# distributed/fsdp/fully_sharded_data_parallel.py, distributed/algorithms/_checkpoint)
_WRAPPERS = frozenset(("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"))
# each name contains one of these, which most files do not have
_HINTS = ("module.", "_orig_mod.")


def unwrapped(keys: Collection[str]) -> tuple[dict[str, str], str]:
    """The keys as the model itself has them.

    A wrapper may be anywhere in a key, except as the last name. Nothing is removed if two keys
    would become equal.

    Returns:
        key without wrappers -> key in the file, in their order; and the wrappers that were removed,
        such as ``module._orig_mod.``, empty where none was.

    Example:
        >>> unwrapped(["module.conv.weight", "n_averaged"])
        ({'conv.weight': 'module.conv.weight', 'n_averaged': 'n_averaged'}, 'module.')
    """
    as_they_are = {key: key for key in keys}
    if not any(hint in key for key in keys for hint in _HINTS):
        return as_they_are, ""
    removed: dict[str, None] = {}
    found: dict[str, str] = {}
    for key in keys:
        *outer, last = key.split(".")
        kept = [name for name in outer if name not in _WRAPPERS]
        if last and len(kept) < len(outer):
            removed.update((name, None) for name in outer if name in _WRAPPERS)
            found[".".join((*kept, last))] = key
        else:
            found[key] = key
    if len(found) < len(as_they_are):
        return as_they_are, ""
    return found, "".join(f"{name}." for name in removed)


def without_wrappers(prefix: str) -> str:
    """A prefix of a model's keys, such as ``module.backbone.``, without the names of wrappers."""
    return "".join(f"{name}." for name in prefix.split(".") if name and name not in _WRAPPERS)
