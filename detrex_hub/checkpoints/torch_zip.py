"""Torch's checkpoint archives (torch.save since 1.6).

``<name>/data.pkl`` is a pickle that refers to storages, ``<name>/data/<key>`` are their bytes.

Source: torch/serialization.py, caffe2/serialize/inline_container.cc.
"""

from __future__ import annotations

from typing import Any

from detrex_hub.checkpoints import foreign
from detrex_hub.checkpoints.checkpoint import Checkpoint
from detrex_hub.checkpoints.containers import ContainerChoice, checkpoint
from detrex_hub.checkpoints.files import File, Window, shown, size
from detrex_hub.checkpoints.known_globals import (
    KNOWN,
    StorageReference,
    element_size,
    storage_dtype,
)
from detrex_hub.checkpoints.pickle_machine import BUDGET, Machine
from detrex_hub.checkpoints.zip_directory import Member, members

# a larger pickle holds arrays itself; it is read once for its checksum and never kept in memory
_KEPT_INDEX = 16 << 20
_INDEX = "/data.pkl"


def is_torch(found: dict[str, Member]) -> bool:
    """Whether an archive is of torch, by the names of its members."""
    return any(name.count("/") == 1 and name.endswith(_INDEX) for name in found)


def read(file: File, found: dict[str, Member], container: ContainerChoice) -> Checkpoint:
    """Open a torch archive.

    Args:
        found: its members.

    Raises:
        CheckpointError: the archive is damaged or not a checkpoint; see `containers.checkpoint`.
    """
    placeholders: dict[str, None] = {}
    root = _object(file, found, placeholders, BUDGET)
    return checkpoint(file, "torch", root, container=container, placeholders=placeholders)


def read_object(file: File, budget: int) -> Any:
    """The object in a torch archive.

    Args:
        budget: what its pickle may take, see `Machine`.

    Raises:
        CheckpointError: the archive is damaged, or of another kind.
    """
    return _object(file, members(file), {}, budget)


def _object(
    file: File, found: dict[str, Member], placeholders: dict[str, None], budget: int
) -> Any:
    index = _index(file, found)
    prefix = index.name.removesuffix(_INDEX[1:])
    order = found.get(f"{prefix}byteorder")
    if order is not None and _whole(order, 8) != b"little":
        raise file.error(
            "is big-endian, which is not supported", hint="Save it on a little-endian machine"
        )
    data = _whole(index, _KEPT_INDEX)
    window = Window(file, index.offset, index.offset + index.nbytes, data)

    kinds: dict[str, str] = {}

    def storage(name: Any) -> StorageReference:
        if not isinstance(name, tuple) or len(name) != 5 or name[0] != "storage":
            raise ValueError("refers to something that is not a storage")
        _, kind, key, _, numel = name
        dtype = storage_dtype(kind)
        if not isinstance(key, str):
            raise ValueError("refers to a storage whose name is not text")
        member = found.get(f"{prefix}data/{key}")
        if member is None:
            raise ValueError(f"refers to storage {shown(key)}, which is not in the archive")
        member.check()
        if type(numel) is not int or numel != member.nbytes // element_size(dtype):
            raise ValueError(f"storage {shown(key)} of {size(member.nbytes)} has two sizes")
        if kinds.setdefault(key, dtype) != dtype:
            raise ValueError(f"storage {shown(key)} is of two types")
        return StorageReference(member, dtype)

    return Machine(window, KNOWN, placeholders, storage, budget=budget).load()


def _whole(member: Member, limit: int) -> bytes:
    """A member's bytes if there are at most ``limit``, else none. Its checksum is always
    compared."""
    data = b"".join(member.pieces(0, member.nbytes)) if member.nbytes <= limit else b""
    member.settle()
    return data


def _index(file: File, found: dict[str, Member]) -> Member:
    names = [name for name in found if name.count("/") == 1 and name.endswith(_INDEX)]
    if any(name.endswith("/constants.pkl") for name in found):
        raise foreign.refusal(file, foreign.TORCHSCRIPT)
    if len(names) != 1:
        raise file.error("is an archive, but torch.save does not write such archives")
    return found[names[0]]
