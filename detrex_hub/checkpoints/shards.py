"""A state dict in several files, with an index that names the file of each tensor.

The index is JSON: ``{"weight_map": {key: file}}``. The files are beside it, as safetensors or torch
archives.

Source: huggingface_hub/serialization/_torch.py, transformers/modeling_utils.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from detrex_hub.checkpoints.arrays import StoredArray
from detrex_hub.checkpoints.checkpoint import Checkpoint
from detrex_hub.checkpoints.containers import ContainerChoice
from detrex_hub.checkpoints.files import File, shown, size
from detrex_hub.checkpoints.siblings import check_name, sibling

_LARGEST_INDEX = 16 << 20
_LARGEST_PARSED = 64 << 20
_MOST_SHARDS = 1000
# a mark in the first bytes of a file of JSON
_MARK = b'"weight_map"'

_AGAIN = "Download the index again"


def is_index(file: File, text: bytes) -> bool:
    """Whether a file is an index, by its content.

    Args:
        text: its first bytes, which begin JSON.
    """
    if _MARK in text:
        return True
    # save_pretrained sorts the names, so other tables may come first
    return file.size <= _LARGEST_INDEX and _MARK in file.read(0, file.size)


def names(file: File) -> list[str]:
    """The names of the files that an index lists, in order.

    Raises:
        CheckpointError: it is damaged, or names files outside its folder.
    """
    found = sorted(set(_listed(file).values()))
    if len(found) > _MOST_SHARDS:
        raise file.error(
            f"refused: it names {len(found)} files, and at most {_MOST_SHARDS} are allowed"
        )
    for name in found:
        check_name(file, name)
    return found


def read(
    file: File, container: ContainerChoice, reader: Callable[[File, ContainerChoice], Checkpoint]
) -> Checkpoint:
    """Open the files of an index as one checkpoint.

    Args:
        reader: opens one of the files.

    Raises:
        CheckpointError: the index is damaged, names files outside its folder, or does not match the
            files.
    """
    listed = _listed(file)
    if callable(container):
        container = container({"": len(listed)})
    if container:
        raise file.error(f"holds no dict of tensors at {shown(container)}: shards are flat")
    wanted: dict[str, set[str]] = {}
    for key, name in listed.items():
        wanted.setdefault(name, set()).add(key)
    paths = {name: sibling(file, name) for name in names(file)}
    parts: list[File] = []
    arrays: dict[str, StoredArray] = {}
    metadata: dict[str, Any] = {}
    placeholders: dict[str, None] = {}
    try:
        for name, path in paths.items():
            part = File(path, checksums=file.checksums)
            parts.append(part)
            opened = reader(part, None)
            found = opened.stored()
            _compare(file, name, wanted[name], found)
            arrays.update(found)
            metadata.update(opened.metadata)
            placeholders.update(dict.fromkeys(opened.placeholders))
        return Checkpoint(
            file,
            "shards",
            arrays,
            containers={"": len(arrays)},
            metadata=metadata,
            placeholders=tuple(placeholders),
            parts=parts,
        )
    except BaseException:
        for part in parts:
            part.close()
        raise


def _listed(file: File) -> Mapping[str, str]:
    """The name of the file that holds each tensor, by the tensor's key."""
    if file.size > _LARGEST_INDEX:
        raise file.error(f"refused: an index of {size(file.size)}")
    text = file.read(0, file.size)
    # a rough estimate of the memory for its objects
    if 64 * (text.count(b"[") + text.count(b"{")) + 96 * text.count(b":") > _LARGEST_PARSED:
        raise file.error("refused: the index would take too much memory")

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) < len(pairs):
            raise file.error("damaged index: a name occurs twice in it", hint=_AGAIN)
        return entries

    try:
        parsed = json.loads(text.decode(), object_pairs_hook=table)
    except (ValueError, RecursionError):
        raise file.error("damaged index: it is not JSON", hint=_AGAIN) from None
    listed = parsed.get("weight_map") if isinstance(parsed, dict) else None
    if not isinstance(listed, dict) or not listed:
        raise file.error("damaged index: it has no table weight_map", hint=_AGAIN)
    if not all(isinstance(name, str) for name in listed.values()):
        raise file.error("damaged index: its weight_map names no files", hint=_AGAIN)
    return listed


def _compare(file: File, name: str, keys: set[str], found: Mapping[str, StoredArray]) -> None:
    """Refuse a shard whose tensors differ from the index."""
    missing = sorted(keys - found.keys())
    unexpected = sorted(found.keys() - keys)
    if missing or unexpected:
        what, which = ("lacks", missing) if missing else ("holds beyond the index", unexpected)
        some = ", ".join(shown(key) for key in islice(which, 3))
        more = f" and {len(which) - 3} more" if len(which) > 3 else ""
        raise file.error(
            f"is not the index of {name}, which {what} {some}{more}",
            hint="Download all files of one version again",
        )
