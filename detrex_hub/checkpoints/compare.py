"""Compare stored tensors by their bytes."""

from __future__ import annotations

import hashlib

from detrex_hub.checkpoints.base import Checkpoint


def digest(checkpoint: Checkpoint, key: str) -> str:
    """sha256, in hexadecimal digits, of a tensor's little-endian, row-major bytes."""
    hashed = hashlib.sha256()
    for piece in checkpoint.chunks(key):
        hashed.update(piece)
    return hashed.hexdigest()
