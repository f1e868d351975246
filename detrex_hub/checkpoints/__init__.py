"""Checkpoint files: they are read tensor by tensor without running code, and written in a stream.

Nothing here imports torch.
"""

from __future__ import annotations

import os

from detrex_hub.checkpoints.checkpoint import Checkpoint, Tensor
from detrex_hub.checkpoints.compare import aligned, first_other, same_bytes, tensor_digest
from detrex_hub.checkpoints.containers import ContainerChoice, is_averaged
from detrex_hub.checkpoints.files import PIECE, File, HashedFile
from detrex_hub.checkpoints.formats import reader
from detrex_hub.checkpoints.writing import Format, format_of, write, written_format

__all__ = [
    "PIECE",
    "Checkpoint",
    "Format",
    "Tensor",
    "aligned",
    "first_other",
    "format_of",
    "is_averaged",
    "open",
    "same_bytes",
    "shard_names",
    "tensor_digest",
    "write",
    "written_format",
]


def shard_names(path: str | os.PathLike[str]) -> list[str]:
    """The names of the files that an index lists.

    Raises:
        CheckpointError: it is not an index, is damaged, or names files outside its folder.
    """
    from detrex_hub.checkpoints import shards

    file = File(path)
    try:
        return shards.names(file)
    finally:
        file.close()


def open(
    path: str | os.PathLike[str],
    *,
    container: ContainerChoice = None,
    checksums: bool = True,
    hashed: bool = False,
) -> Checkpoint:
    """Open a checkpoint; only its index is read.

    Args:
        path: a torch checkpoint (zip or older), a pickle of arrays, a safetensors file, the index
            of several such files, or the ``.metadata`` of a distributed checkpoint. The content
                decides which one it is.
        container: key path of the dict that holds the weights, such as ``"ema"`` (``""`` is the
            top level), or a function that chooses one from all key paths with their numbers of
            tensors. Without it the dict that looks like weights is taken.
        checksums: compare every part of an archive that is read with its CRC-32. Not needed if the
            file's sha256 is compared.
        hashed: hash the file while it is read, for `Checkpoint.sha256`.

    Raises:
        CheckpointError: the file is not a checkpoint, damaged, hostile, has no such container, or
            has several possible ones.
    """
    file = (HashedFile if hashed else File)(path, checksums=checksums)
    try:
        return reader(file)(file, container)
    except BaseException:
        file.close()
        raise
