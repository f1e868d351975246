"""A tensor in blocks, as the processes of a training run saved it."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator

from msgspec import Struct

from detrex_hub.checkpoints.arrays import StoredArray
from detrex_hub.checkpoints.files import PIECE, File, size
from detrex_hub.specs import TensorSpec

# rows of a tensor that is split along several dimensions are joined in steps of this size in bytes
_BAND = 8 << 20
_LARGEST_ROW = 64 << 20
_NOT_ONCE = "is stored in blocks that do not cover it exactly once"


class Tile(Struct, frozen=True):
    """One block of a tensor.

    Args:
        offsets: of its first element, by dimension.
        shape: of the block.
        opened: finds its elements. It is called for each read.
    """

    offsets: tuple[int, ...]
    shape: tuple[int, ...]
    opened: Callable[[], StoredArray]

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


class Tiles:
    """A storage that holds one tensor row by row, and joins its blocks when it is read.

    Args:
        file: for messages.
        spec: of the tensor.
        tiles: its blocks; ones without elements are ignored.

    Raises:
        ValueError: the blocks do not cover the tensor, each element once.
    """

    def __init__(self, file: File, spec: TensorSpec, tiles: list[Tile]) -> None:
        self.file = file
        self.spec = spec
        self.tiles = sorted((one for one in tiles if one.numel), key=lambda one: one.offsets)
        self.nbytes = spec.nbytes
        self._check()

    def _check(self) -> None:
        """Check that each dimension is cut at the same places, and that each cell exists once."""
        shape, cells = self.spec.shape, 1
        if any(
            len(one.shape) != len(shape) or len(one.offsets) != len(shape) for one in self.tiles
        ):
            raise ValueError("is stored in blocks with another number of dimensions")
        if not self.spec.numel and not self.tiles:
            return
        for axis, whole in enumerate(shape):
            lengths: dict[int, int] = {}
            for tile in self.tiles:
                if lengths.setdefault(tile.offsets[axis], tile.shape[axis]) != tile.shape[axis]:
                    raise ValueError(_NOT_ONCE)
            end = 0
            for start in sorted(lengths):
                if start != end:
                    raise ValueError(_NOT_ONCE)
                end += lengths[start]
            if end != whole:
                raise ValueError(_NOT_ONCE)
            cells *= len(lengths)
        if len(self.tiles) != cells or len({tile.offsets for tile in self.tiles}) != cells:
            raise ValueError(_NOT_ONCE)
        if not self._by_rows and self._row > _LARGEST_ROW:
            raise ValueError(f"is split within its rows, which are of {size(self._row)}")

    @property
    def _by_rows(self) -> bool:
        """Whether each block has whole rows, so that the blocks follow each other."""
        return all(tile.shape[1:] == self.spec.shape[1:] for tile in self.tiles)

    @property
    def _row(self) -> int:
        """Bytes of a row."""
        return math.prod(self.spec.shape[1:]) * self.spec.itemsize

    @property
    def identity(self) -> Hashable:
        return "tiles", id(self)

    def read(self, offset: int, nbytes: int) -> bytes:
        return b"".join(self.pieces(offset, nbytes))

    def pieces(self, offset: int, nbytes: int) -> Iterator[bytes]:
        if not self.spec.shape:
            yield from _cut(self._opened(self.tiles[0]).chunks(), offset, nbytes)
            return
        first, last = offset // self._row, -(-(offset + nbytes) // self._row)
        rows = self._whole_rows if self._by_rows else self._bands
        yield from _cut(rows(first, last), offset - first * self._row, nbytes)

    def settle(self) -> None:
        """Each block is checked when it is read."""

    def _opened(self, tile: Tile) -> StoredArray:
        """Open a block and check it.

        Raises:
            CheckpointError: it contradicts the metadata.
        """
        array = tile.opened()
        if array.spec != TensorSpec(self.spec.dtype, tile.shape):
            raise self.file.error(
                f"damaged: a block of {array.spec} lies where one of "
                f"{TensorSpec(self.spec.dtype, tile.shape)} should be"
            )
        array.check()
        if array.storage.nbytes < array.spec.nbytes:
            raise self.file.error("damaged: a block repeats its elements, as no saved one does")
        return array

    def _whole_rows(self, first: int, last: int) -> Iterator[bytes | memoryview]:
        for tile in self.tiles:
            begin = tile.offsets[0]
            start, stop = max(first, begin), min(last, begin + tile.shape[0])
            if start < stop:
                yield from self._opened(tile).chunks([(start - begin, stop - begin)])

    def _bands(self, first: int, last: int) -> Iterator[bytes]:
        import numpy as np

        step = max(1, _BAND // self._row)
        for start in range(first, last, step):
            stop = min(start + step, last)
            # the last dimension are the bytes of an element
            inner = (*self.spec.shape[1:], self.spec.itemsize)
            band = np.empty((stop - start, *inner), dtype="u1")
            for tile in self.tiles:
                begin = tile.offsets[0]
                above, below = max(start, begin), min(stop, begin + tile.shape[0])
                if above >= below:
                    continue
                rows = self._opened(tile).chunks([(above - begin, below - begin)])
                block = np.frombuffer(b"".join(rows), dtype="u1")
                place = [slice(above - start, below - start)]
                for at, length in zip(tile.offsets[1:], tile.shape[1:], strict=True):
                    place.append(slice(at, at + length))
                band[tuple(place)] = block.reshape(
                    below - above, *tile.shape[1:], self.spec.itemsize
                )
            flat = band.reshape(-1)
            yield from (flat[at : at + PIECE].tobytes() for at in range(0, flat.size, PIECE))


def _cut(pieces: Iterator[bytes | memoryview], skip: int, nbytes: int) -> Iterator[bytes]:
    """``nbytes`` bytes after the first ``skip`` ones. All bytes are read, so that their source is
    checked."""
    for piece in pieces:
        wanted = memoryview(piece)[skip : skip + nbytes]
        skip = max(0, skip - len(piece))
        nbytes -= len(wanted)
        if wanted:
            yield wanted.tobytes() if len(wanted) != len(piece) else bytes(piece)
