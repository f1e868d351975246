"""Compare two checkpoints of any formats: equal, renamed, different and missing tensors.

Both are read in streams, so memory does not grow with the files. Tensors under a common name are
compared directly. Of the others, only those are hashed that have a counterpart of the same shape
and element type.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from detrex_hub import checkpoints
from detrex_hub.checkpoints import Checkpoint
from detrex_hub.inspection import find_weights
from detrex_hub.mapping.fold import Pair, fold, fold_keys
from detrex_hub.specs import TORCH_DTYPES, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detrex_hub.progress import Progress

# bytes that are converted to numbers at a time; in double precision they need several times as much
_PIECE = 512 * 2**10


class Difference(Struct, frozen=True, kw_only=True):
    """A common key with different contents.

    ``largest`` is the largest absolute difference of two elements. It is NaN between a number and a
    NaN, and inf between a number and an infinity. ``elements`` is the number of different elements.
    Both are None if the shapes differ. Equal numbers of another type, and zeros of another sign,
    have a largest difference of 0.
    """

    key: str
    left: TensorSpec
    right: TensorSpec
    largest: float | None = None
    elements: int | None = None

    def __str__(self) -> str:
        if self.largest is None:
            return f"{self.key}  {self.left} / {self.right}"
        types = f", {self.left.dtype} / {self.right.dtype}" if self.left != self.right else ""
        return (
            f"{self.key}  max |Δ| {self.largest:.3g}, "
            f"{self.elements} of {self.left.numel} elements{types}"
        )


class Comparison(Struct, frozen=True, kw_only=True):
    """Every key of two checkpoints, once. ``renamed`` are pairs of keys, left and right, with the
    same bytes."""

    left: str
    right: str
    same: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    different: tuple[Difference, ...]
    only_left: tuple[str, ...]
    only_right: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether both hold the same tensors under the same names."""
        return not (self.renamed or self.different or self.only_left or self.only_right)

    def to_json(self) -> dict[str, Any]:
        return {
            "left": self.left,
            "right": self.right,
            "equal": self.equal,
            "same": list(self.same),
            "renamed": dict(self.renamed),
            "different": {
                one.key: {
                    "left": [one.left.dtype, list(one.left.shape)],
                    "right": [one.right.dtype, list(one.right.shape)],
                    # JSON has no NaN and no infinity
                    "largest": one.largest if _finite(one.largest) else str(one.largest),
                    "elements": one.elements,
                }
                for one in self.different
            },
            "only_left": list(self.only_left),
            "only_right": list(self.only_right),
        }

    def lines(self) -> Iterator[str]:
        """The comparison as text. Keys without their own remark are folded."""
        yield f"{len(self.same)} same"
        if self.renamed:
            yield f"{len(self.renamed)} renamed"
        for pattern in fold(Pair((left,), right) for left, right in self.renamed):
            yield f"  {pattern.sources[0]} -> {pattern.target}  x{pattern.tensors}"
        if self.different:
            yield f"{len(self.different)} different"
        yield from (f"  {one}" for one in self.different)
        for where, keys in ((self.left, self.only_left), (self.right, self.only_right)):
            if keys:
                yield f"{len(keys)} only in {where}"
            for pattern in fold_keys(keys):
                yield f"  {pattern.target}  x{pattern.tensors}"


def diff(
    left: str | os.PathLike[str],
    right: str | os.PathLike[str],
    *,
    left_container: str | None = None,
    right_container: str | None = None,
    extra_catalogues: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Comparison:
    """Compare two checkpoints tensor by tensor.

    Args:
        left, right: files of any format, converted folders, or ``owner/name`` on the Hub.
        left_container, right_container: the dict in a file that holds the weights, if there are
            several.
        extra_catalogues: catalogue files in addition to the built-in ones.
        progress: reports downloads.

    Raises:
        CheckpointError: a file cannot be read.
        HubError: the repository or the network fails.
        UsageError: there is no such file.

    Example:
        >>> from detrex_hub import diff
        >>> diff("before.pth", "after.safetensors").equal
        True
    """
    first, second = (
        find_weights(side, extra_catalogues=extra_catalogues, progress=progress)
        for side in (left, right)
    )
    with (
        checkpoints.open(first, container=left_container) as one,
        checkpoints.open(second, container=right_container) as other,
    ):
        return _compare(_Side(os.fspath(left), one), _Side(os.fspath(right), other))


class _Side:
    """A checkpoint with its name in messages, and the aliases that safetensors cannot hold."""

    def __init__(self, name: str, checkpoint: Checkpoint) -> None:
        self.name = name
        self.checkpoint = checkpoint
        self.stored = {key: key for key in checkpoint.specs}
        for alias, key in _ties(checkpoint.metadata).items():
            if key in checkpoint.specs:
                self.stored.setdefault(alias, key)
        self._digests: dict[Any, str] = {}

    def spec(self, key: str) -> TensorSpec:
        return self.checkpoint.specs[self.stored[key]]

    def chunks(self, key: str) -> Iterator[bytes | memoryview]:
        return self.checkpoint.chunks(self.stored[key])

    def digest(self, key: str) -> str:
        identity = self.checkpoint.identity(self.stored[key])
        if identity not in self._digests:
            self._digests[identity] = checkpoints.tensor_digest(self.checkpoint, self.stored[key])
        return self._digests[identity]


def _ties(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Alias -> stored key, as the writer of safetensors puts it in the header."""
    try:
        found = json.loads(metadata.get("ties", "{}"))
    except (TypeError, ValueError, RecursionError):
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {alias: key for alias, key in pairs if isinstance(key, str)}


def _compare(left: _Side, right: _Side) -> Comparison:
    common = [key for key in left.stored if key in right.stored]
    differences = {key: _difference(key, left, right) for key in common}
    left_only = [key for key in left.stored if key not in right.stored]
    right_only = [key for key in right.stored if key not in left.stored]
    renamed = dict(_renamed(left, right, left_only, right_only))
    arrived = set(renamed.values())
    return Comparison(
        left=left.name,
        right=right.name,
        same=tuple(key for key, difference in differences.items() if difference is None),
        renamed=tuple(renamed.items()),
        different=tuple(one for one in differences.values() if one is not None),
        only_left=tuple(key for key in left_only if key not in renamed),
        only_right=tuple(key for key in right_only if key not in arrived),
    )


def _renamed(
    left: _Side, right: _Side, left_keys: Iterable[str], right_keys: Iterable[str]
) -> Iterator[tuple[str, str]]:
    """Pairs of keys with the same bytes. Several equal tensors, such as fresh norms, are paired in
    order."""
    candidates: dict[TensorSpec, list[str]] = {}
    for key in right_keys:
        candidates.setdefault(right.spec(key), []).append(key)
    by_digest: dict[TensorSpec, dict[str, list[str]]] = {}
    for key in left_keys:
        spec = left.spec(key)
        if spec not in candidates:
            continue
        if spec not in by_digest:
            waiting = by_digest.setdefault(spec, {})
            for candidate in candidates[spec]:
                waiting.setdefault(right.digest(candidate), []).append(candidate)
        alike = by_digest[spec].get(left.digest(key))
        if alike:
            yield key, alike.pop(0)


def _difference(key: str, left: _Side, right: _Side) -> Difference | None:
    one, other = left.spec(key), right.spec(key)
    if one.shape != other.shape:
        return Difference(key=key, left=one, right=other)
    if one == other and checkpoints.same_bytes(left.chunks(key), right.chunks(key)):
        return None
    import numpy as np

    largest, elements = 0.0, 0
    for a, b in _numbers(left.chunks(key), right.chunks(key), one.dtype, other.dtype):
        distance = _distance(a, b)
        elements += int(np.count_nonzero(distance))
        # NaN counts as larger than any number
        largest = float(np.maximum(largest, distance.max(initial=0)))
    return Difference(key=key, left=one, right=other, largest=largest, elements=elements)


def _distance(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    """|one - other|, 0 between two NaNs and between equal infinities."""
    import numpy as np

    if one.dtype == other.dtype and one.dtype.kind in "iu":
        # the distance of two integers always fits an unsigned one of their width
        unsigned = np.dtype(f"u{one.dtype.itemsize}")
        a, b = one.view(unsigned), other.view(unsigned)
        found: NDArray[Any] = np.where(one > other, a - b, b - a)
        return found
    if "c" not in (one.dtype.kind, other.dtype.kind):
        one, other = one.astype(np.float64), other.astype(np.float64)
    alike = (one == other) | (np.isnan(one) & np.isnan(other))
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(alike, 0, np.abs(one - other))


def _numbers(
    left: Iterator[bytes | memoryview],
    right: Iterator[bytes | memoryview],
    left_type: str,
    right_type: str,
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """The elements of two tensors in blocks of the same length."""
    width = {name: TensorSpec(name, ()).itemsize for name in (left_type, right_type)}
    count = _PIECE // max(width.values())
    for one, other in zip(
        _pieces(left, count * width[left_type]),
        _pieces(right, count * width[right_type]),
        strict=True,
    ):
        yield as_array(one, left_type), as_array(other, right_type)


def _pieces(chunks: Iterator[bytes | memoryview], length: int) -> Iterator[bytes]:
    """The same stream in pieces of ``length`` bytes. The last one may be shorter."""
    waiting = bytearray()
    for chunk in chunks:
        for start in range(0, len(chunk), length):
            waiting += chunk[start : start + length]
            while len(waiting) >= length:
                yield bytes(waiting[:length])
                del waiting[:length]
    if waiting:
        yield bytes(waiting)


def as_array(data: bytes, dtype: str) -> NDArray[Any]:
    """Little-endian bytes as numbers; bfloat16 and the 8-bit floats, which numpy lacks, widened."""
    import numpy as np

    if dtype == "BF16":
        wide: NDArray[Any] = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
        return wide
    if dtype.startswith("F8"):
        import torch

        values = torch.frombuffer(bytearray(data), dtype=getattr(torch, _TORCH[dtype]))
        narrow: NDArray[Any] = values.to(torch.float32).numpy()
        return narrow
    kind = {"BOOL": "?", "C64": "<c8"}.get(dtype) or f"<{dtype[0].lower()}{int(dtype[1:]) // 8}"
    return np.frombuffer(data, kind)


_TORCH = {ours: theirs for theirs, ours in TORCH_DTYPES.items()}


def _finite(value: float | None) -> bool:
    return value is None or math.isfinite(value)
