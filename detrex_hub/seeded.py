"""Tensors from seeds: the same bytes on every machine, in every version of every library.

A synthetic checkpoint replaces an original one, so that the whole job can be tried without a
network. `config.json` and the card of the result say that it is synthetic. Fresh rows are the
initial values of class heads that are prepared for fine-tuning.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detrex_hub.mapping import Fresh
from detrex_hub.specs import TensorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# numbers that are generated at a time, in double precision; these fit into a core's cache
_PIECE = 2**15


class SyntheticCheckpoint:
    """Has the interface of a `Checkpoint`. The same key and spec always give the same bytes.

    Args:
        specs: the original's state dict.
        same_as: keys that hold another key's tensor, as tied weights do.
    """

    format = "synthetic"
    container: str | None = None
    wrapper = ""
    placeholders: tuple[str, ...] = ()

    def __init__(self, specs: Mapping[str, TensorSpec], same_as: Mapping[str, str]) -> None:
        self.path = Path("synthetic")
        self.specs = dict(specs)
        self.stored_specs = self.specs
        self.containers: dict[str, int] = {}
        self.metadata: dict[str, Any] = {}
        self._same_as = dict(same_as)

    def __enter__(self) -> SyntheticCheckpoint:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def close(self) -> None:
        return None

    def identity(self, key: str) -> Hashable:
        return self._same_as.get(key, key)

    def chunks(
        self, key: str, rows: Sequence[tuple[int, int]] | None = None
    ) -> Iterator[bytes | memoryview]:
        spec = self.specs[key]
        if rows is None:
            yield from self._pieces(key, 0, spec.numel)
            return
        width = spec.numel // max(spec.shape[0], 1)
        for start, stop in rows:
            yield from self._pieces(key, start * width, stop * width)

    def read(self, key: str) -> bytes:
        return b"".join(self.chunks(key))

    def _pieces(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        """The bytes of the elements from ``start`` to before ``stop``."""
        spec = self.specs[key]
        name = self._same_as.get(key, key)
        if not spec.dtype.startswith("F"):
            yield from (bytes(count * spec.itemsize) for count in _counts(stop - start))
            return
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
        generator = _generator(seed, start)
        for count in _counts(stop - start):
            values = _uniform(generator, count)
            # a variance is positive, and 0.5 to 1.5 lets deep networks keep finite outputs
            if name.endswith("running_var"):
                values += 0.5
            else:
                values -= 0.5
                values *= 0.1
            yield _encoded(values, spec.dtype)


def fresh_rows(fresh: Fresh, key: str, spec: TensorSpec) -> bytes:
    """The bytes of fresh rows, ``(fresh.count, *spec.shape[1:])``."""
    import numpy as np

    numel = fresh.count * (spec.numel // max(spec.shape[0], 1))
    if fresh.std == 0:
        return _encoded(np.full(numel, fresh.mean), spec.dtype)
    digest = hashlib.sha256(f"{fresh.seed} {key}".encode()).digest()
    seed = int.from_bytes(digest[:16], "little")
    if fresh.uniform:
        half = fresh.std * np.sqrt(3.0)
        uniform = _uniform(_generator(seed), numel)
        return _encoded(fresh.mean + half * (2.0 * uniform - 1.0), spec.dtype)
    uniform = _uniform(_generator(seed), 2 * numel)
    # Box-Muller, because numpy guarantees the bits of its generators for all versions, but not
    # normals
    radius = np.sqrt(-2.0 * np.log1p(-uniform[:numel]))
    normal = radius * np.cos(2.0 * np.pi * uniform[numel:])
    return _encoded(fresh.mean + fresh.std * normal, spec.dtype)


def _generator(seed: int, start: int = 0) -> np.random.Philox:
    """A generator that has given ``start`` numbers."""
    import numpy as np

    generator = np.random.Philox(key=seed)
    # a step of its counter gives four numbers
    generator.advance(start // 4)
    generator.random_raw(start % 4)
    return generator


def _uniform(generator: np.random.Philox, count: int) -> NDArray[np.float64]:
    """The next ``count`` numbers in [0, 1), each a multiple of 2**-24."""
    import numpy as np

    raw = np.atleast_1d(generator.random_raw(count))
    raw >>= np.uint64(40)
    # signed integers become doubles several times faster than unsigned ones
    uniform: NDArray[np.float64] = raw.view(np.int64).astype(np.float64)
    uniform *= 2.0**-24
    return uniform


def _counts(count: int) -> Iterator[int]:
    """``count`` split into parts."""
    return (min(_PIECE, count - made) for made in range(0, count, _PIECE))


def _encoded(values: NDArray[np.float64], dtype: str) -> bytes:
    import numpy as np

    if dtype == "BF16":
        return bytes((values.astype("<f4").view("<u4") >> np.uint32(16)).astype("<u2").data)
    return bytes(values.astype({"F16": "<f2", "F32": "<f4", "F64": "<f8"}[dtype]).data)
