"""Torch's stream format (torch.save before 1.6): five pickles, then the storages.

Magic number, protocol version, system information, the object, the list of storage keys; then for
each key the number of elements (eight bytes) and the elements.

Source: torch/serialization.py, ``_legacy_load`` and ``_legacy_save``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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
from detrex_hub.checkpoints.storages import FileRange

MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


def read(file: File, container: ContainerChoice) -> Checkpoint:
    """Open a stream that begins with the magic number.

    Raises:
        CheckpointError: the stream is damaged or cut short; see `contents.checkpoint`.
    """
    placeholders: dict[str, None] = {}
    root, _ = read_object(file, 0, file.size, placeholders)
    return checkpoint(file, "torch-legacy", root, container=container, placeholders=placeholders)


def read_object(
    file: File, start: int, end: int, placeholders: dict[str, None], budget: int = BUDGET
) -> tuple[Any, int]:
    """The object in the stream in ``[start, end)`` of a file.

    Args:
        budget: what all pickles of the stream may take together, see `Machine`.

    Returns:
        the object, and the rest of the budget.
    """
    window = Window(file, start, end)
    left = budget

    def load(
        known: Mapping[str, Callable[..., Any]],
        unknown: dict[str, None],
        persistent: Callable[[Any], Any] | None = None,
    ) -> Any:
        nonlocal left
        machine = Machine(window, known, unknown, persistent, budget=left)
        loaded = machine.load()
        left = machine.left
        return loaded

    def plain() -> Any:
        return load({}, {})

    if plain() != MAGIC or plain() != _PROTOCOL:
        raise file.error("is not a checkpoint of torch.save")
    system = plain()
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise file.error(
            "is big-endian, which is not supported", hint="Save it on a little-endian machine"
        )
    storages: dict[str, tuple[FileRange, str]] = {}

    def storage(name: Any) -> Any:
        if isinstance(name, tuple) and len(name) > 1 and name[0] == "module":
            return name[1]
        if not isinstance(name, tuple) or len(name) != 6 or name[0] != "storage":
            raise ValueError("refers to something that is not a storage")
        _, kind, key, _, numel, view = name
        dtype = storage_dtype(kind)
        if type(numel) is not int or not 0 <= numel < 2**63:
            raise ValueError("a storage with an invalid size")
        if not isinstance(key, str) and (type(key) is not int or abs(key) >= 2**64):
            raise ValueError("a storage with an invalid key")
        # its place is known only after all pickles are read
        place: FileRange
        place, kept_dtype = storages.setdefault(
            str(key), (FileRange(file, -1, numel * element_size(dtype)), dtype)
        )
        if kept_dtype != dtype:
            raise ValueError(f"storage {shown(str(key))} is of two types")
        if place.nbytes != numel * element_size(dtype):
            raise ValueError(f"storage {shown(str(key))} has two sizes")
        if view is not None:
            place = _View(place, view, element_size(dtype))
        return StorageReference(place, dtype)

    root = load(KNOWN, placeholders, storage)
    keys = plain()
    if not isinstance(keys, list):
        raise file.error("damaged: it has no list of storages")
    for key in keys:
        if not isinstance(key, str | int):
            raise file.error("damaged: its list of storages holds a name that is not text")
        place, dtype = storages.pop(str(key), (None, ""))
        if place is None:
            raise file.error(f"damaged: it lists the storage {shown(str(key))} wrongly")
        try:
            numel = int.from_bytes(window.take(8), "little")
            if numel * element_size(dtype) != place.nbytes:
                raise file.error(f"damaged: storage {shown(str(key))} has two sizes")
            place.offset = window.skip(place.nbytes)
        except EOFError:
            raise file.error(
                f"is truncated: storage {shown(str(key))} of {size(place.nbytes)} is incomplete",
                hint="Get the file again",
            ) from None
    if storages:
        raise file.error(f"damaged: storage {shown(next(iter(storages)))} is missing")
    return root, left


class _View(FileRange):
    """Part of a storage whose place is not known yet."""

    __slots__ = ("_start", "_whole")

    def __init__(self, whole: FileRange, view: Any, itemsize: int) -> None:
        _, start, numel = view
        if type(start) is not int or type(numel) is not int:
            raise ValueError("a view with an invalid offset")
        self._whole = whole
        self._start = start * itemsize
        super().__init__(whole.file, -1, numel * itemsize)
        if start < 0 or numel < 0 or self._start + self.nbytes > whole.nbytes:
            raise ValueError("a view that reaches outside its storage")

    @property
    def offset(self) -> int:
        return self._whole.offset + self._start

    @offset.setter
    def offset(self, value: int) -> None:
        """A view has the offset of its storage."""
