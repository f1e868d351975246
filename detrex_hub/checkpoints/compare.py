"""Compare stored tensors by their bytes, in streams."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from detrex_hub.checkpoints.checkpoint import Checkpoint, Tensor


def tensor_digest(checkpoint: Checkpoint, key: str) -> str:
    """sha256, in hexadecimal digits, of a tensor's little-endian, row-major bytes."""
    hashed = hashlib.sha256()
    for piece in checkpoint.chunks(key):
        hashed.update(piece)
    return hashed.hexdigest()


def first_other(checkpoint: Checkpoint, tensors: Iterable[Tensor]) -> str | None:
    """The key of the first tensor with other bytes in a checkpoint, if there is one."""
    others = (t.key for t in tensors if not same_bytes(t.chunks(), checkpoint.chunks(t.key)))
    return next(others, None)


def same_bytes(left: Iterator[bytes | memoryview], right: Iterator[bytes | memoryview]) -> bool:
    """Whether two streams hold the same bytes, whatever their chunks.

    Both are read to their end, where their checksums are compared: a damaged file is refused and
    not called different.
    """
    same = True
    for one, other in aligned(left, right):
        same = same and one == other
    return same


def aligned(
    left: Iterator[bytes | memoryview], right: Iterator[bytes | memoryview]
) -> Iterator[tuple[bytes, bytes]]:
    """Two streams in equal chunks: pairs of the same length, except the last if one stream ends
    earlier."""
    one: bytes | memoryview = b""
    other: bytes | memoryview = b""
    while True:
        one = one or next((chunk for chunk in left if chunk), b"")
        other = other or next((chunk for chunk in right if chunk), b"")
        if not one and not other:
            return
        length = min(len(one), len(other)) or max(len(one), len(other))
        yield _beginning(one, length), _beginning(other, length)
        one, other = memoryview(one)[length:], memoryview(other)[length:]


def _beginning(chunk: bytes | memoryview, length: int) -> bytes:
    # bytes compare by memcmp, memoryviews element by element
    whole = isinstance(chunk, bytes) and length >= len(chunk)
    return chunk if whole else bytes(memoryview(chunk)[:length])  # type: ignore[return-value]
