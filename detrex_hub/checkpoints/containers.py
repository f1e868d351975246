"""The contents of an unpickled object: dicts of tensors, and plain values beside them."""

from __future__ import annotations

import re
import shlex
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from detrex_hub.checkpoints import foreign
from detrex_hub.checkpoints.arrays import StoredArray
from detrex_hub.checkpoints.checkpoint import Checkpoint
from detrex_hub.checkpoints.files import File, shown
from detrex_hub.checkpoints.known_globals import (
    NumpyArray,
    NumpyType,
    StorageReference,
    Unsupported,
)
from detrex_hub.checkpoints.pickle_machine import Blob, Global, Placeholder

ContainerChoice: TypeAlias = "str | Callable[[Mapping[str, int]], str] | None"
"""The wanted dict of tensors: its key path (``""`` is the top level), a function that chooses a key
path from all of them with their numbers of tensors, or None for the one that looks like weights."""

# the keys under which training scripts keep their weights, the first that holds weights wins
_USUAL = (
    "model",
    "state_dict",
    "model_state",
    "model_state_dict",
    "module",
    "net",
    "network",
    "weights",
    "params",
    "blobs",
)
_NOT_WEIGHTS = re.compile(r"optim|sched|scaler|(?:^|_)(?:rng|random|amp)(?:_|$)", re.IGNORECASE)
# detrex writes ema_state; other scripts write state_dict_ema, model_ema, ema_model, ema.module
_AVERAGED = re.compile(
    r"(?:^|[._])(?:ema|swa|avg|averaged?|shadow|polyak)(?:[._]|$)", re.IGNORECASE
)
# deeper dicts are searched too, but too many of them are not a reason to refuse
_USUAL_DEPTH = 3
_CONTAINER_DEPTH = 32
# a few dicts that contain each other look like very many
_MOST_DICTS = 10_000
# a longer list holds records of a training, and no state dicts
_LONGEST_LIST = 256
_MOST_ENTRIES = 2_000_000
# more than any model has: one tensor may have very many names
_MOST_TENSORS = 100_000
# the most dicts that an error offers
_MOST_CHOICES = 4
# the most listed entries beside the weights
_MOST_OTHERS = 1000

_PLAIN_DEPTH = 8
_PLAIN_ITEMS = 100_000
_PLAIN_TEXT = 64 << 10
_PLAIN_TEXTS = 4 << 20
_OMITTED = object()


class _Container(Struct, frozen=True):
    entries: Mapping[Any, Any]
    tensors: dict[str, StoredArray | Unsupported]

    def likeness(self) -> int:
        """How much it looks like weights: 2 if its keys are those of a model with modules, 1 if it
        holds more than single numbers, else 0."""
        large = [
            key
            for key, leaf in self.tensors.items()
            if isinstance(leaf, Unsupported) or leaf.spec.numel > 1
        ]
        return 2 if any("." in key for key in large) else 1 if large else 0


def is_averaged(path: str) -> bool:
    """Whether a dict holds averaged weights, by its key path."""
    return _AVERAGED.search(path) is not None


def checkpoint(
    file: File,
    format: str,
    root: Any,
    *,
    container: ContainerChoice,
    placeholders: Mapping[str, None],
    parts: Sequence[File] = (),
) -> Checkpoint:
    """The weights in an unpickled object.

    Args:
        container: the wanted dict. By default only the dicts count that look most like weights, and
            averaged ones only if there are no others. The first with a usual name wins, then the
            top level if no other holds more tensors, then the only one.
        parts: further files with tensors.

    Raises:
        CheckpointError: no such container, none at all, or several possible ones; a tensor of a
            kind that cannot be converted, or outside its storage.
    """
    found = _containers(file, root)
    _refuse_foreign(file, root, found)
    name = _choose(file, root, found, container)
    chosen = found[name]
    packed = [
        key for key in chosen.entries if isinstance(key, str) and key.endswith(foreign.PACKED)
    ]
    if packed:
        what = f"{foreign.QUANTIZED_TENSORS.what}, such as {shown(packed[0])}"
        raise foreign.refusal(file, replace(foreign.QUANTIZED_TENSORS, what=what))
    for key, value in chosen.entries.items():
        if not isinstance(key, str) and _leaf(value) is not None:
            raise file.error(
                f"cannot be converted: the key of a tensor is {_kind(key)}, not a name"
            )
    refused = [(k, value) for k, value in chosen.tensors.items() if isinstance(value, Unsupported)]
    if refused:
        named = "; ".join(f"{shown(key)} is {value.reason}" for key, value in refused[:3])
        more = f"; and {len(refused) - 3} more" if len(refused) > 3 else ""
        quantized = any(value.quantized for _, value in refused)
        raise file.error(
            f"cannot be converted: tensor {named}{more}",
            hint=foreign.QUANTIZED_TENSORS.hint(file.path) if quantized else None,
        )
    return Checkpoint(
        file,
        format,
        {k: value for k, value in chosen.tensors.items() if isinstance(value, StoredArray)},
        container=name or None,
        containers={path: len(each.tensors) for path, each in found.items()},
        metadata=_metadata(root, found),
        others=dict(islice(_others(chosen), _MOST_OTHERS)),
        placeholders=tuple(placeholders),
        parts=parts,
    )


def _refuse_foreign(file: File, root: Any, found: Mapping[str, _Container]) -> None:
    """Refuse the partitioned weights of DeepSpeed.

    Source: deepspeed/runtime/engine.py, ``_save_checkpoint`` and ``_save_zero_checkpoint``.
    """
    entries = _entries(root) or {}
    if "ds_version" not in entries:
        return
    if "optimizer_state_dict" in entries:
        raise foreign.refusal(file, foreign.zero_optimizer(file.path))
    parts = entries.get("mp_world_size")
    if isinstance(parts, int) and parts > 1:
        raise foreign.refusal(file, foreign.MODEL_PARALLEL)
    # in stage 3 each process has an empty tensor in place of a parameter
    tensors = found["module"].tensors.values() if "module" in found else ()
    if any(isinstance(one, StoredArray) and not one.spec.numel for one in tensors):
        raise foreign.refusal(file, foreign.ZERO_3)


def _others(container: _Container) -> Iterator[tuple[str, str]]:
    for key, value in container.entries.items():
        if key not in container.tensors:
            yield key if isinstance(key, str) else f"<{_kind(key)}>", _kind(value)


# --- dicts of tensors ----------------------------------------------------------------------------


def _entries(value: Any) -> dict[Any, Any] | None:
    """The items of a dict, of an unknown kind of dict, or of a list of dicts by their numbers."""
    if isinstance(value, Placeholder):
        value = value.items
    if isinstance(value, list | tuple) and len(value) <= _LONGEST_LIST:
        if not any(isinstance(item, dict | list | tuple | Placeholder) for item in value):
            return None
        return {str(number): item for number, item in enumerate(value)}
    return value if isinstance(value, dict) and value else None


def _leaf(value: Any) -> StoredArray | Unsupported | None:
    if isinstance(value, NumpyArray):
        return value.content
    return value if isinstance(value, StoredArray | Unsupported) else None


_TOO_MANY_ENTRIES = "its nested dicts hold too many entries"


def _containers(file: File, root: Any) -> dict[str, _Container]:
    found: dict[str, _Container] = {}
    # each with the dicts around it, which it must not contain
    pending: deque[tuple[str, Any, tuple[int, ...]]] = deque([("", root, ())])
    # a dict with several names is searched once
    known: dict[tuple[int, bool], _Container] = {}
    seen = dicts = 0
    while pending:
        path, value, outer = pending.popleft()
        depth = len(outer)
        entries = _entries(value)
        if entries is None or {"state", "param_groups"} <= entries.keys():
            continue
        seen += len(entries)
        if seen > _MOST_ENTRIES:
            raise file.error(_TOO_MANY_ENTRIES)
        # Caffe2 keeps the optimizer's state among the weights
        caffe2 = path.endswith("blobs")
        container = known.get((id(entries), caffe2))
        if container is None:
            leaves = (
                (key, leaf)
                for key, item in entries.items()
                if isinstance(key, str)
                and (leaf := _leaf(item)) is not None
                and not (caffe2 and key.endswith("_momentum"))
            )
            tensors = dict(islice(leaves, _MOST_TENSORS + 1))
            if len(tensors) > _MOST_TENSORS:
                raise file.error(f"refused: more than {_MOST_TENSORS:,} tensors in one dict")
            container = known[id(entries), caffe2] = _Container(entries, tensors)
        if container.tensors:
            found[path] = container
        if depth == _CONTAINER_DEPTH:
            continue
        outer = (*outer, id(value))
        for key, item in entries.items():
            if id(item) in outer:
                continue
            if isinstance(key, str) and _entries(item) and not _NOT_WEIGHTS.search(key):
                if dicts == _MOST_DICTS:
                    if depth < _USUAL_DEPTH:
                        raise file.error(_TOO_MANY_ENTRIES)
                    break
                pending.append((f"{path}.{key}" if path else key, item, outer))
                dicts += 1
    return found


def _choose(
    file: File, root: Any, found: Mapping[str, _Container], container: ContainerChoice
) -> str:
    counts = {name: len(each.tensors) for name, each in found.items()}
    if callable(container):
        return container(counts)
    if container is not None:
        if container in found:
            return container
        has = f"it has {_listed(counts)}" if found else "it has none"
        raise file.error(
            f"holds no dict of tensors at {shown(container)}; {has}", choices=_choices(counts)
        )
    if not found:
        raise file.error(*_nothing(file, root))
    likely = {name: counts[name] for name in _likely(found)}
    nested = [f"{outer}.{inner}" for outer in _USUAL for inner in _USUAL]
    for name in (*_USUAL, *nested):
        if name in likely:
            return name
    most = max(likely, key=lambda name: likely[name])
    if likely.get("") == likely[most]:
        return ""
    if len(likely) == 1:
        return most
    lists = Counter(name.rpartition(".")[0] for name in likely if name.rpartition(".")[2].isdigit())
    at, number = next(iter(lists.items()), ("", 0))
    several = (
        f"a list of {number} state dicts" if number == len(likely) else "several dicts of tensors"
    )
    where = f" at {shown(at)}" if at and number == len(likely) else ""
    raise file.error(f"holds {several}{where}: {_listed(likely)}", choices=_choices(likely))


def _choices(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"--container {shlex.quote(name)}" for name in islice(names, _MOST_CHOICES))


def _likely(found: Mapping[str, _Container]) -> list[str]:
    """The dicts that look most like weights."""
    if len(found) < 2:
        return [*found]
    likeness = {name: each.likeness() for name, each in found.items()}
    if any(degree for name, degree in likeness.items() if not is_averaged(name)):
        likeness = {name: each for name, each in likeness.items() if not is_averaged(name)}
    return [name for name, degree in likeness.items() if degree == max(likeness.values())]


def _listed(counts: Mapping[str, int]) -> str:
    first = [
        f"{shown(name)} ({count} tensor{'s' * (count != 1)})"
        for name, count in islice(counts.items(), 8)
    ]
    return ", ".join(first) + (f" and {len(counts) - 8} more" if len(counts) > 8 else "")


def _nothing(file: File, root: Any) -> tuple[str]:
    values = [root, *(_entries(root) or {}).values()]
    for value in values:
        if isinstance(value, Placeholder) and "_modules" in (_members(value) or {}):
            module = f"{foreign.MODULE.what} ({value.name})"
            raise foreign.refusal(file, replace(foreign.MODULE, what=module))
    if isinstance(root, dict):
        keys = ", ".join(shown(str(key)) for key in list(root)[:5])
        return (f"holds no state dict, only {keys or 'an empty dict'}",)
    return (f"holds no state dict but {_kind(root)}",)


# --- plain values --------------------------------------------------------------------------------


def _kind(value: Any) -> str:
    """A description of a value in a word or two."""
    if isinstance(value, Placeholder | Global):
        return value.name
    if isinstance(value, Blob):
        return f"{'text' if value.is_text else 'bytes'} of length {value.length}"
    if isinstance(value, list | tuple | dict):
        return f"{type(value).__name__} of {len(value)}"
    if _leaf(value) is not None:
        return "tensor"
    return type(value).__name__


def _metadata(root: Any, found: Mapping[str, _Container]) -> dict[str, Any]:
    """Plain values at the top level, without weights and optimizers."""
    weights = {path.partition(".")[0] for path in found}
    weights |= found[""].tensors.keys() if "" in found else set()
    metadata = {}
    plainly = _Plain()
    for key, value in (_entries(root) or {}).items():
        if plainly.exhausted:
            break
        if isinstance(key, str) and key not in weights and not _NOT_WEIGHTS.search(key):
            plain = plainly.convert(value)
            if plain is not _OMITTED:
                metadata[_readable(key)] = plain
    return metadata


class _Plain:
    """Turns an unpickled object into JSON values of limited size.

    A Namespace or another object with attributes becomes a dict of them. Tensors are left out.
    Large and unknown values become their name in angle brackets.
    """

    def __init__(self) -> None:
        self._left = _PLAIN_ITEMS
        self._texts_left = _PLAIN_TEXTS

    @property
    def exhausted(self) -> bool:
        return self._left < 0

    def _text(self, text: str) -> str:
        self._texts_left -= len(text)
        return _readable(text) if self._texts_left >= 0 else f"<text of length {len(text)}>"

    def convert(self, value: Any, depth: int = 0) -> Any:
        self._left -= 1
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, NumpyType):
            return value.code
        if (
            isinstance(value, Blob)
            and value.is_text
            and value.length <= min(_PLAIN_TEXT, self._texts_left)
        ):
            text = value.file.read(value.offset, value.length)
            return self._text(text.decode(value.encoding, "replace"))
        if _leaf(value) is not None or isinstance(value, StorageReference):
            return _OMITTED
        members = _members(value)
        size = 0 if members is None else len(members)
        if members is None or depth > _PLAIN_DEPTH or size > self._left:
            return f"<{_kind(value)}>"
        if isinstance(members, dict):
            converted = {
                self._text(str(key)): self.convert(item, depth + 1)
                for key, item in members.items()
                if isinstance(key, str | int | float)
            }
            kept = {key: item for key, item in converted.items() if item is not _OMITTED}
            return kept if kept or not members else _OMITTED
        items = [self.convert(item, depth + 1) for item in members]
        kept_items = [item for item in items if item is not _OMITTED]
        return kept_items if kept_items or not members else _OMITTED


def _members(value: Any) -> dict[Any, Any] | list[Any] | tuple[Any, ...] | None:
    if isinstance(value, Placeholder):
        members = value.items or value.members or value.state
        return members if isinstance(members, dict | list) else None
    return value if isinstance(value, dict | list | tuple) else None


def _readable(text: str) -> str:
    """The same text without characters that UTF-8 cannot encode."""
    return text.encode("utf-8", "backslashreplace").decode()
