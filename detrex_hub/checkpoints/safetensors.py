"""Safetensors files: eight bytes of header length, a JSON header, the tensors without gaps.

Source: https://github.com/huggingface/safetensors, README and ``safetensors/src/tensor.rs``.
"""

from __future__ import annotations

import json
from typing import Any

from detrex_hub.checkpoints.arrays import MAX_DIMENSIONS, StoredArray
from detrex_hub.checkpoints.checkpoint import Checkpoint
from detrex_hub.checkpoints.containers import ContainerChoice
from detrex_hub.checkpoints.files import File, shown, size
from detrex_hub.checkpoints.storages import FileRange
from detrex_hub.specs import DTYPE_BITS, TensorSpec

_LARGEST_HEADER = 16 << 20
_LARGEST_PARSED = 64 << 20
_PREFIX = 8


def read(file: File, container: ContainerChoice) -> Checkpoint:
    """Open a safetensors file.

    Raises:
        CheckpointError: the header is damaged or contradicts the file.
    """
    length = int.from_bytes(file.read(0, 8), "little")
    if length > file.size - 8:
        raise file.error("is truncated: its header does not end", hint="Get the file again")
    if length > _LARGEST_HEADER:
        raise file.error(f"refused: a header of {size(length)}")
    header = _parse(file, file.read(8, length))
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise file.error("damaged header: __metadata__ is not a table of strings")
    if callable(container):
        container = container({"": len(header)})
    if container:
        raise file.error(f"holds no dict of tensors at {shown(container)}: safetensors is flat")

    data = FileRange(file, 8 + length, file.size - 8 - length)
    placed = sorted((_placed(file, key, entry) for key, entry in header.items()), key=_place)
    arrays: dict[str, StoredArray] = {}
    end = 0
    for key, spec, start, stop in placed:
        if start != end or stop - start != spec.nbytes:
            what = "overlaps another" if start < end else "leaves a gap before it"
            if start == end:
                what = f"is {spec} in {size(stop - start)}"
            raise file.error(f"damaged header: tensor {shown(key)} {what}")
        arrays[key] = StoredArray(data, spec, start)
        end = stop
    if end != data.nbytes:
        what = "is truncated" if end > data.nbytes else "is longer than its tensors"
        raise file.error(
            f"{what}: {size(data.nbytes)} of data, the header says {size(end)}",
            hint="Get the file again",
        )
    return Checkpoint(file, "safetensors", arrays, containers={"": len(arrays)}, metadata=metadata)


def header_end(first: bytes) -> int | None:
    """The end of a file's header, from its first eight bytes; None if they do not start a header,
    or the header is too large."""
    length = int.from_bytes(first[:_PREFIX], "little")
    return _PREFIX + length if len(first) >= _PREFIX and length <= _LARGEST_HEADER else None


def specs_in(header: bytes) -> dict[str, TensorSpec]:
    """The tensors in a header, from the beginning of a file up to the end of the header; none if
    it is damaged.

    The whole file is checked when it is opened.
    """
    found = {}
    try:
        for key, entry in json.loads(header[_PREFIX:]).items():
            if key != "__metadata__":
                found[key] = TensorSpec(entry["dtype"], tuple(map(int, entry["shape"])))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return {}
    return found if all(spec.dtype in DTYPE_BITS for spec in found.values()) else {}


def _place(placed: tuple[str, TensorSpec, int, int]) -> tuple[int, int]:
    return placed[2:]


def _parse(file: File, header: bytes) -> dict[str, Any]:
    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) < len(pairs):
            names = iter(entries)
            twice = next(name for name, _ in pairs if name != next(names, None))
            raise file.error(f"damaged header: {shown(twice)} occurs twice")
        return entries

    # a rough estimate of the memory for the header's objects
    brackets = header.count(b"[") + header.count(b"{")
    parsed_size = 64 * brackets + 96 * header.count(b":") + 32 * header.count(b",")
    if parsed_size > _LARGEST_PARSED:
        raise file.error("refused: its header would take too much memory")
    try:
        parsed = json.loads(header.decode(), object_pairs_hook=table)
    except (ValueError, RecursionError):
        raise file.error("damaged header: it is not JSON", hint="Get the file again") from None
    if not isinstance(parsed, dict):
        raise file.error("damaged header: it is not a table")
    return parsed


def _placed(file: File, key: str, entry: Any) -> tuple[str, TensorSpec, int, int]:
    """Check one tensor's entry. Returns the key, its spec, and the first and last offset of its
    bytes."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise file.error(f"damaged header: tensor {shown(key)} lacks dtype, shape or data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        named = f" {shown(dtype)}" if isinstance(dtype, str) else ""
        raise file.error(f"tensor {shown(key)} has an unknown type{named}")
    if not _sizes(shape) or not _sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise file.error(f"damaged header: tensor {shown(key)} has no valid shape or offsets")
    return key, TensorSpec(dtype, tuple(shape)), offsets[0], offsets[1]


def _sizes(values: Any) -> bool:
    return (
        isinstance(values, list)
        and len(values) <= MAX_DIMENSIONS
        and all(type(n) is int and 0 <= n < 2**63 for n in values)
    )
