"""Tensors in a storage, by offset, strides and byte order. They are read row by row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from detrex_hub.checkpoints.files import PIECE, size
from detrex_hub.checkpoints.storages import Storage
from detrex_hub.specs import TensorSpec

MAX_DIMENSIONS = 64
_TOO_MANY = 2**63

# a strided tensor is gathered in blocks of this size in bytes: for a transposed tensor each block
# reads a part of every column, so fewer blocks read fewer bytes in between
_BLOCK = 8 << 20
# and a block is read in spans, if a span holds few unneeded bytes
_SMALL_SPAN = 16 << 10
_WASTE = 4


class StoredArray:
    """A tensor's place in a storage.

    Args:
        offset: byte of its first element within the storage.
        strides: in elements, one per dimension, not negative; None means row-major.
        swap: the elements are big-endian.

    Raises:
        ValueError: the description is invalid, or reaches outside the storage (see `check`, because
            a legacy file's storages are known only later).
    """

    __slots__ = ("offset", "spec", "storage", "strides", "swap")

    def __init__(
        self,
        storage: Storage,
        spec: TensorSpec,
        offset: int = 0,
        strides: tuple[int, ...] | None = None,
        *,
        swap: bool = False,
    ) -> None:
        self.storage = storage
        self.spec = spec
        self.offset = offset
        self.strides = row_major(spec.shape) if strides is None else strides
        self.swap = swap and spec.itemsize > 1

    def check(self) -> None:
        """Refuse a tensor that reaches outside its storage."""
        shape, strides, itemsize = self.spec.shape, self.strides, self.spec.itemsize
        if len(shape) > MAX_DIMENSIONS or len(shape) != len(strides):
            raise ValueError(f"has {len(shape)} dimensions and {len(strides)} strides")
        if self.offset < 0 or min(shape, default=0) < 0 or min(strides, default=0) < 0:
            raise ValueError("has a negative offset, size or stride")
        if math.prod(filter(None, shape)) * itemsize >= _TOO_MANY:
            raise ValueError(f"has impossible sizes: {self.spec}")
        if not self.spec.numel:
            return
        span = _span(shape, strides, itemsize)
        if self.offset + span > self.storage.nbytes:
            raise ValueError(
                f"reaches outside its storage: {self.spec} from byte {self.offset} on"
                f" in {size(self.storage.nbytes)}"
            )
        if span > PIECE and _overlaps(shape, strides):
            raise ValueError("is a view that overlaps itself")

    @property
    def identity(self) -> str:
        """Equal for two tensors iff they are the same elements of the file in the same order.

        A text, since its hash cannot be chosen by a file, as that of a tuple of numbers can.
        """
        strides = [
            stride for n, stride in zip(self.spec.shape, self.strides, strict=True) if n != 1
        ]
        return f"{self.storage.identity} {self.offset} {self.spec} {strides} {self.swap}"

    def chunks(self, rows: Sequence[tuple[int, int]] | None = None) -> Iterator[bytes | memoryview]:
        """Little-endian, row-major bytes in pieces of at most `PIECE` bytes.

        The storage is checked at the end: do not rely on a piece before.

        Args:
            rows: half-open ranges along dimension 0, in the wanted order; all rows by default.
        """
        pieces = self._settled(self._pieces(rows))
        return self._swapped(pieces) if self.swap else pieces

    def _settled(self, pieces: Iterator[bytes | memoryview]) -> Iterator[bytes | memoryview]:
        yield from pieces
        if self.spec.numel:
            self.storage.settle()

    def _pieces(self, rows: Sequence[tuple[int, int]] | None) -> Iterator[bytes | memoryview]:
        shape, strides = self.spec.shape, self.strides
        if rows is None:
            yield from self._block(self.offset, shape, strides)
            return
        if not shape:
            raise ValueError("a scalar has no rows")
        for start, stop in rows:
            if not 0 <= start <= stop <= shape[0]:
                raise ValueError(f"rows {start}..{stop} of {shape[0]}")
            offset = self.offset + start * strides[0] * self.spec.itemsize
            yield from self._block(offset, (stop - start, *shape[1:]), strides)

    def _block(
        self, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> Iterator[bytes | memoryview]:
        nbytes = math.prod(shape) * self.spec.itemsize
        if nbytes == 0:
            return
        if _is_row_major(shape, strides):
            yield from self.storage.pieces(offset, nbytes)
        else:
            yield from self._gather(offset, shape, strides)

    def _gather(
        self, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> Iterator[memoryview]:
        import numpy as np

        itemsize = self.spec.itemsize
        row = math.prod(shape[1:]) * itemsize
        if row > _BLOCK:
            for i in range(shape[0]):
                yield from self._gather(offset + i * strides[0] * itemsize, shape[1:], strides[1:])
            return
        step = _BLOCK // row
        for start in range(0, shape[0], step):
            block = np.empty((min(step, shape[0] - start), *shape[1:]), dtype=f"u{itemsize}")
            self._fill(block, offset + start * strides[0] * itemsize, strides)
            data = block.reshape(-1).view("u1").data
            yield from (data[at : at + PIECE] for at in range(0, len(data), PIECE))

    def _fill(self, block: Any, offset: int, strides: tuple[int, ...]) -> None:
        """Fill an array from the storage. It is halved until few unneeded bytes are in between."""
        import numpy as np

        itemsize = self.spec.itemsize
        span = _span(block.shape, strides, itemsize)
        if span <= _SMALL_SPAN or (span <= PIECE and span <= _WASTE * block.nbytes):
            data = self.storage.read(offset, span)
            steps = tuple(stride * itemsize for stride in strides)
            block[...] = np.ndarray(block.shape, block.dtype, data, strides=steps)
            return
        reach = [(n - 1) * stride for n, stride in zip(block.shape, strides, strict=True)]
        axis = reach.index(max(reach))
        half = block.shape[axis] // 2
        halves = np.split(block, [half], axis)
        self._fill(halves[0], offset, strides)
        self._fill(halves[1], offset + half * strides[axis] * itemsize, strides)

    def _swapped(self, pieces: Iterator[bytes | memoryview]) -> Iterator[bytes]:
        import numpy as np

        # each half of a complex number is swapped
        width = self.spec.itemsize // 2 if self.spec.dtype == "C64" else self.spec.itemsize
        rest = b""
        for piece in pieces:
            data = rest + piece if rest else piece
            whole = len(data) - len(data) % width
            rest = bytes(data[whole:])
            yield np.frombuffer(data[:whole], dtype=f">u{width}").astype(f"<u{width}").tobytes()


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """``(2, 3, 4)`` -> ``(12, 4, 1)``."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


def column_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """``(2, 3, 4)`` -> ``(1, 2, 6)``."""
    return tuple(reversed(row_major(tuple(reversed(shape)))))


def _is_row_major(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    step = 1
    for n, stride in zip(reversed(shape), reversed(strides), strict=True):
        if n != 1:
            if stride != step:
                return False
            step *= n
    return True


def _overlaps(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether steps along one dimension may overlap those along another, so that few bytes could be
    described as very many elements. Repeated elements (stride 0) do not count."""
    reached = 0
    for stride, n in sorted(zip(strides, shape, strict=True)):
        if n > 1 and stride:
            if stride <= reached:
                return True
            reached += (n - 1) * stride
    return False


def _span(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> int:
    """Bytes from the first element to the end of the last. No dimension may be empty."""
    last = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    return (last + 1) * itemsize
