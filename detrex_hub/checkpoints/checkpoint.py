"""An opened checkpoint, and the tensors that a writer takes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from msgspec import Struct

from detrex_hub.checkpoints import foreign
from detrex_hub.checkpoints.arrays import StoredArray
from detrex_hub.checkpoints.files import File, HashedFile, shown, size
from detrex_hub.checkpoints.wrappers import unwrapped
from detrex_hub.errors import CheckpointError
from detrex_hub.floats import in_type, rounded
from detrex_hub.specs import TensorSpec

# views may repeat bytes (expanded, overlapping tensors), but only up to this factor
_MOST_REPEATED = 16
_ALWAYS_ALLOWED = 64 << 20


class Tensor(Struct, frozen=True):
    """A tensor for `write`.

    ``chunks()`` yields its little-endian, row-major bytes in pieces of any length. A piece must not
    change later.
    """

    key: str
    spec: TensorSpec
    chunks: Callable[[], Iterator[bytes | memoryview]]


class Checkpoint:
    """The state dict in a file. Specs are known at once, and bytes are read on request. A context
    manager.

    Read it in one thread at a time.

    Attributes:
        path: the file; of a checkpoint in several files, the one that lists the others.
        format: ``torch`` (zip), ``torch-legacy``, ``pickle``, ``safetensors``, ``shards`` or
            ``torch-distributed``.
        container: key path of the dict that holds the weights, such as ``model`` or
            ``model.state_dict``; None where they are the file's top level.
        names: the file's own name of each key.
        wrapper: what was removed from these names: those of torch's wrappers, such as ``module.``
            of ``DistributedDataParallel``; else empty.
        containers: every dict of tensors in the file with its number of tensors, under its key
            path (``""`` is the top level); an optimizer's state is not listed.
        specs: shape and element type of every tensor, in the file's order.
        stored_specs: the specs in the file, which differ if `round_to` changed the types.
        metadata: plain values beside the weights, such as ``epoch``, ``args`` (as a dict),
            ``__author__``; in safetensors the header's ``__metadata__``.
        others: the first keys of the container without a tensor, with a description of their
            values.
        placeholders: globals that the file names and that became inert placeholders.
    """

    def __init__(
        self,
        file: File,
        format: str,
        arrays: Mapping[str, StoredArray],
        *,
        container: str | None = None,
        containers: Mapping[str, int],
        metadata: Mapping[str, Any],
        others: Mapping[str, str] | None = None,
        placeholders: tuple[str, ...] = (),
        parts: Sequence[File] = (),
    ) -> None:
        self._file = file
        self._parts = parts
        self.names, self.wrapper = unwrapped(arrays)
        self._arrays = {key: arrays[name] for key, name in self.names.items()}
        self.path: Path = file.path
        self.format = format
        self.container = container
        self.containers = dict(containers)
        self.specs: Mapping[str, TensorSpec] = {
            key: array.spec for key, array in self._arrays.items()
        }
        self.stored_specs = self.specs
        self.metadata = dict(metadata)
        self.others = dict(others or {})
        self.placeholders = placeholders
        self._check()

    def _check(self) -> None:
        foreign.refuse_quantized(self._file, self._arrays)
        distinct: dict[Hashable, int] = {}
        for key, array in self._arrays.items():
            try:
                array.check()
                key.encode()
            except UnicodeEncodeError:
                raise self._file.error(f"the key {shown(key)} is not valid text") from None
            except ValueError as error:
                raise self._file.error(f"tensor {shown(key)} {error}") from None
            if array.spec.numel:
                distinct[array.identity] = array.spec.nbytes
        total = sum(distinct.values())
        if total > _MOST_REPEATED * self.size + _ALWAYS_ALLOWED:
            has = "its files have" if self._parts else "the file has"
            raise self._file.error(f"its tensors claim {size(total)}, {has} {size(self.size)}")

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        for file in (self._file, *self._parts):
            file.close()

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, and the other files that hold its tensors, in the order of their names."""
        return tuple(dict.fromkeys(file.path for file in (self._file, *self._parts)))

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(file.size for file in (self._file, *self._parts))

    @property
    def bytes_read(self) -> int:
        """Bytes read from its files so far."""
        return sum(file.bytes_read for file in (self._file, *self._parts))

    def sha256(self) -> str:
        """The whole file's digest in hexadecimal digits.

        Only of a file opened with ``hashed``. The unread part is read now, and nothing can be read
        afterwards.
        """
        assert isinstance(self._file, HashedFile)
        return self._file.sha256()

    def _array(self, key: str) -> StoredArray:
        try:
            return self._arrays[key]
        except KeyError:
            raise CheckpointError(f"{self.path}: has no tensor {shown(key)}") from None

    def identity(self, key: str) -> Hashable:
        """Equal for two keys iff they are the same elements of the file.

        A tensor without elements equals only itself.
        """
        array = self._array(key)
        return array.identity if array.spec.numel else ("empty", key)

    def chunks(
        self, key: str, rows: Sequence[tuple[int, int]] | None = None
    ) -> Iterator[bytes | memoryview]:
        """Little-endian, row-major bytes of a tensor, in pieces of at most `PIECE`.

        Every part of an archive that is used is compared with its CRC-32 once and as a whole, at
        the end of the first tensor that reads from it.

        Args:
            rows: half-open ranges along dimension 0, in the wanted order; all rows by default.

        Raises:
            CheckpointError: no such tensor; the bytes cannot be read, or are damaged.
            ValueError: rows that the tensor does not have.
        """
        chunks, before = self._array(key).chunks(rows), self.stored_specs[key].dtype
        if (after := self.specs[key].dtype) != before:
            return self._rounded(key, chunks, before, after)
        return chunks

    def round_to(self, dtype: str) -> None:
        """Convert all floating point tensors to another element type from now on.

        Args:
            dtype: the type, such as ``F32``. A tensor with a number outside its range is refused
                when
                it is read.
        """
        self.specs = in_type(self.stored_specs, dtype)

    def _rounded(
        self, key: str, chunks: Iterator[bytes | memoryview], before: str, after: str
    ) -> Iterator[bytes | memoryview]:
        try:
            yield from rounded(chunks, before, after)
        except OverflowError as error:
            raise self._file.error(
                f"tensor {shown(key)}: {error}", choices=["--dtype bfloat16", "--dtype float32"]
            ) from None

    def read(self, key: str) -> bytes:
        """A whole tensor's bytes."""
        return b"".join(self.chunks(key))

    def stored(self) -> dict[str, StoredArray]:
        """The stored array of each tensor, by the file's own names."""
        return {self.names[key]: array for key, array in self._arrays.items()}

    def tensor(self, key: str) -> Tensor:
        """A tensor to be written elsewhere."""
        return Tensor(key, self.specs[key], lambda: self.chunks(key))
