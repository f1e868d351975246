"""Torch's distributed checkpoints: a folder with ``.metadata`` and one ``.distcp`` file a process.

``.metadata`` is a pickle with the shape and type of each tensor, its blocks, and for each block the
file and the position of a torch archive. No code in it is run: its classes are a closed set of
inert records. The archives are opened one by one when a tensor is read.

Source: torch/distributed/checkpoint/metadata.py, filesystem.py and planner.py (2.0 to 2.13).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from msgspec import Struct

from detrex_hub.checkpoints import torch_zip
from detrex_hub.checkpoints.arrays import MAX_DIMENSIONS, StoredArray
from detrex_hub.checkpoints.checkpoint import Checkpoint
from detrex_hub.checkpoints.containers import ContainerChoice, checkpoint
from detrex_hub.checkpoints.files import File, Section, Window, shown
from detrex_hub.checkpoints.known_globals import KNOWN, torch_dtype
from detrex_hub.checkpoints.pickle_machine import BUDGET, Machine
from detrex_hub.checkpoints.siblings import sibling
from detrex_hub.checkpoints.tiles import Tile, Tiles
from detrex_hub.specs import TORCH_DTYPES, TensorSpec

# Each of its many small objects needs a third of its charge. A model with 1000 tensors that is
# trained with Adam on 8 processes has 24,000 blocks.
_METADATA_BUDGET = 3 * BUDGET
# the pickle of one block's archive names one tensor
_BLOCK_BUDGET = 64 << 10
# the most plain values that are read, and the largest archive of one in bytes
_MOST_VALUES = 64
_LARGEST_VALUE = 64 << 10
_VALUE_BUDGET = 1 << 20
_MOST_FILES = 10_000
_DEEPEST = 32


class _Record:
    """An instance of one of the metadata's classes: its attributes, by name."""

    __slots__ = ("kind", "state")

    def __init__(self, kind: str, *args: Any) -> None:
        self.kind = kind
        self.state: Any = args[0] if len(args) == 1 else args

    def set_state(self, state: Any) -> None:
        self.state = state

    def __getitem__(self, name: str) -> Any:
        return self.state.get(name) if isinstance(self.state, dict) else None


_CLASSES = (
    "torch.distributed.checkpoint.metadata.Metadata",
    "torch.distributed.checkpoint.metadata.TensorStorageMetadata",
    "torch.distributed.checkpoint.metadata.BytesStorageMetadata",
    "torch.distributed.checkpoint.metadata.ChunkStorageMetadata",
    "torch.distributed.checkpoint.metadata.TensorProperties",
    "torch.distributed.checkpoint.metadata._MEM_FORMAT_ENCODING",
    "torch.distributed.checkpoint.metadata.MetadataIndex",
    "torch.distributed.checkpoint.metadata.StorageMeta",
    "torch.distributed.checkpoint.filesystem._StorageInfo",
    # before torch 2.2
    "torch.distributed._shard.sharded_tensor.metadata.TensorProperties",
    "torch.distributed._shard.sharded_tensor.metadata.MEM_FORMAT_ENCODING",
    # a member of an enum, as Python 3.11 writes it
    "builtins.getattr",
    # the place where it was saved, which is not needed
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
)
_KNOWN: Mapping[str, Callable[..., Any]] = {
    **KNOWN,
    **{name: partial(_Record, name.rpartition(".")[2]) for name in _CLASSES},
}


class _Place(Struct, frozen=True):
    """The place of an item: its file, and its first and last byte in it."""

    name: str
    start: int
    nbytes: int


def read(file: File, container: ContainerChoice) -> Checkpoint:
    """Open a ``.metadata``, and the files that it names.

    Raises:
        CheckpointError: it is damaged, hostile, or names files outside its folder; see
            `containers.checkpoint`.
    """
    placeholders: dict[str, None] = {}
    metadata = Machine(
        Window(file, 0, file.size), _KNOWN, placeholders, budget=_METADATA_BUDGET
    ).load()
    if not isinstance(metadata, _Record) or metadata.kind != "Metadata":
        raise file.error("is not the metadata of a distributed checkpoint")
    items, stored = metadata["state_dict_metadata"], metadata["storage_data"]
    if not isinstance(items, dict) or not isinstance(stored, dict):
        raise file.error("damaged: it lists no tensors")
    try:
        places = dict(_places(stored))
        parts = _opened(file, places)
    except ValueError as error:
        raise file.error(f"refused: {error}") from None
    try:
        reading = _Reading(file, places, parts)
        root = _nested(reading.leaves(items), metadata["planner_data"])
        return checkpoint(
            file,
            "torch-distributed",
            root,
            container=container,
            placeholders=placeholders,
            parts=list(parts.values()),
        )
    except BaseException:
        for part in parts.values():
            part.close()
        raise


def _places(stored: dict[Any, Any]) -> Iterator[tuple[tuple[str, tuple[int, ...]], _Place]]:
    """The place of each item, by its key and the offsets of its block (none for plain values)."""
    for index, info in stored.items():
        if not isinstance(index, _Record) or not isinstance(info, _Record):
            raise ValueError("a place without a name")
        key, offset = index["fqn"], index["offset"]
        name, start, nbytes = info["relative_path"], info["offset"], info["length"]
        if info["transform_descriptors"]:
            raise ValueError(
                f"{shown(str(key))} is transformed (for example compressed), which is not supported"
            )
        if (
            not isinstance(key, str)
            or not isinstance(name, str)
            or type(start) is not int
            or type(nbytes) is not int
            or min(start, nbytes) < 0
        ):
            raise ValueError(f"the place of {shown(str(key))} is invalid")
        yield (key, _sizes(offset or (), key)), _Place(name, start, nbytes)


def _sizes(values: Any, key: str) -> tuple[int, ...]:
    if (
        not isinstance(values, tuple)
        or len(values) > MAX_DIMENSIONS
        or not all(type(n) is int and 0 <= n < 2**63 for n in values)
    ):
        raise ValueError(f"{shown(key)} has an invalid size or offset")
    return values


def _opened(file: File, places: Mapping[Any, _Place]) -> dict[str, File]:
    """The files with items. The items in a file must not overlap."""
    ordered = sorted({(one.name, one.start, one.nbytes) for one in places.values()})
    if len(ordered) < len(places):
        raise ValueError("two tensors lie at one place")
    end: dict[str, int] = {}
    for name, start, nbytes in ordered:
        if start < end.get(name, 0):
            raise ValueError(f"items in {shown(name)} overlap")
        end[name] = start + nbytes
    if len(end) > _MOST_FILES:
        raise ValueError(f"it names {len(end)} files")
    paths = {name: sibling(file, name) for name in end}
    parts: dict[str, File] = {}
    try:
        for name, path in paths.items():
            parts[name] = File(path, checksums=file.checksums)
            if end[name] > parts[name].size:
                raise parts[name].error("is truncated", hint="Get the file again")
    except BaseException:
        for part in parts.values():
            part.close()
        raise
    return parts


class _Reading:
    """Reads the items of a checkpoint into the objects that a pickle would hold."""

    def __init__(
        self,
        file: File,
        places: Mapping[tuple[str, tuple[int, ...]], _Place],
        parts: Mapping[str, File],
    ) -> None:
        self.file = file
        self.places = places
        self.parts = parts
        self.values = 0

    def leaves(self, items: Mapping[Any, Any]) -> dict[str, Any]:
        """Tensors and plain values by their keys."""
        found = {}
        for key, item in items.items():
            if not isinstance(key, str) or not isinstance(item, _Record):
                raise self.file.error("damaged: it lists something that is not a tensor")
            try:
                if item.kind == "TensorStorageMetadata":
                    found[key] = self._tensor(key, item)
                elif item.kind == "BytesStorageMetadata":
                    found[key] = self._value(key)
            except ValueError as error:
                raise self.file.error(f"damaged: tensor {shown(key)} {error}") from None
        return found

    def _tensor(self, key: str, item: _Record) -> StoredArray:
        properties = item["properties"]
        state = properties.state if isinstance(properties, _Record) else None
        dtype = torch_dtype(state[0]) if isinstance(state, tuple) and state else None
        if dtype not in TORCH_DTYPES:
            raise ValueError(f"is of an unknown type {dtype or ''}".rstrip())
        spec = TensorSpec(TORCH_DTYPES[dtype], _sizes(item["size"], key))
        chunks = item["chunks"]
        if not isinstance(chunks, list):
            raise ValueError("has no list of blocks")
        tiles = [self._tile(key, chunk) for chunk in chunks]
        # its description is checked like that of any other tensor
        return StoredArray(Tiles(self.file, spec, tiles), spec)

    def _tile(self, key: str, chunk: Any) -> Tile:
        if not isinstance(chunk, _Record):
            raise ValueError("has a block that is none")
        offsets, shape = _sizes(chunk["offsets"], key), _sizes(chunk["sizes"], key)
        place = self.places.get((key, offsets))
        if place is None:
            raise ValueError(f"does not list its block at {list(offsets)}")
        return Tile(offsets, shape, partial(self._block, key, place))

    def _block(self, key: str, place: _Place) -> StoredArray:
        section = Section(self.parts[place.name], place.start, place.nbytes)
        found = torch_zip.read_object(section, _BLOCK_BUDGET)
        if not isinstance(found, StoredArray):
            raise section.error(f"damaged: there is no tensor where {shown(key)} should be")
        return found

    def _value(self, key: str) -> Any:
        """A plain value at the top level, such as the number of the epoch; None if it is large or
        nested, as in the state of an optimizer."""
        place = self.places.get((key, ()))
        if place is None or place.nbytes > _LARGEST_VALUE or "." in key:
            return None
        self.values += 1
        if self.values > _MOST_VALUES:
            return None
        section = Section(self.parts[place.name], place.start, place.nbytes)
        return torch_zip.read_object(section, _VALUE_BUDGET)


def _nested(leaves: Mapping[str, Any], paths: Any) -> dict[str, Any]:
    """The dicts that were flattened when they were saved.

    Args:
        paths: the keys on the path to each leaf, if they are known.
    """
    root: dict[str, Any] = {}
    for key, leaf in leaves.items():
        path = paths.get(key) if isinstance(paths, dict) else None
        if not isinstance(path, tuple) or not 0 < len(path) <= _DEEPEST:
            path = (key,)
        *outer, last = [str(one) if isinstance(one, str | int) else key for one in path]
        inner: Any = root
        for name in outer:
            inner = inner.setdefault(name, {})
            if not isinstance(inner, dict):
                break
        if not isinstance(inner, dict) or last in inner:
            inner, last = root, key
        inner[last] = leaf
    return root
