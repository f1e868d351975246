"""Write checkpoints in a stream: safetensors, torch archives, pickles of numpy arrays."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from detrex_hub.checkpoints.checkpoint import Tensor
from detrex_hub.checkpoints.writing import archives, pickles, safetensors
from detrex_hub.checkpoints.writing.sink import Sink
from detrex_hub.errors import UsageError

Format: TypeAlias = Literal["safetensors", "pth", "pkl"]
FORMATS: tuple[Format, ...] = ("safetensors", "pth", "pkl")
# no folder is meant by these, in upper case neither
_OF_FILES = {".pt", ".bin", ".ckpt", ".tar", ".npz", ".onnx", *(f".{one}" for one in FORMATS)}


def format_of(path: str | os.PathLike[str] | None) -> Format | None:
    """The format that the ending of a file's name means; None for a folder or without a name."""
    ending = Path(path).suffix if path is not None else ""
    return next((format for format in FORMATS if ending == f".{format}"), None)


def written_format(to: str | os.PathLike[str] | None, format: str | None) -> Format:
    """The format by a target's ending, by its name, or by default.

    Raises:
        UsageError: the format is unknown, the two contradict each other, or the ending is one of a
            checkpoint that is not written.
    """
    by_ending = format_of(to)
    if to is not None and by_ending is None and Path(to).suffix.lower() in _OF_FILES:
        raise UsageError(
            f"{to} has the ending of a file that is not written",
            choices=[f"-o {shlex.quote(str(Path(to).with_suffix('.pth')))}"],
        )
    if format is None:
        return by_ending or "safetensors"
    for known in FORMATS:
        if format == known:
            if by_ending not in (None, known):
                raise UsageError(f"--format {format} contradicts the ending of {to}")
            return known
    raise UsageError(f"there is no format {format!r}", hint=f"Formats: {', '.join(FORMATS)}")


def write(
    path: str | os.PathLike[str],
    format: Format,
    tensors: Iterable[Tensor],
    *,
    metadata: Mapping[str, str] | None = None,
    ties: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
    bare: bool = False,
) -> str:
    """Write a checkpoint to exactly this path; the same input gives the same bytes.

    Args:
        format: ``safetensors``; ``pth``, a torch archive that ``torch.load(weights_only=True)``
            reads; ``pkl``, a pickle of numpy arrays. The last two hold
            ``{"model": {...}, **extra}``.
        tensors: the chunks of each are requested once.
        metadata: texts for safetensors' header; other formats cannot hold them.
        ties: alias -> key of the tensor that it shares. Torch archives and pickles hold the alias
            as a second name of the same storage; safetensors refuses aliases, so they are listed
            as JSON in the header's metadata under ``ties``.
        extra: plain values beside ``model`` in torch archives and pickles.
        bare: a torch archive that holds the state dict itself instead, with nothing beside it.

    Returns:
        The file's sha256 in hexadecimal digits, computed while writing. The caller synchronises the
        file before it gets its final name.

    Raises:
        OSError: the file cannot be written; ``filename`` is its path.
        CheckpointError: the format cannot hold an element type, or the length of a tensor's chunks
            contradicts its spec. The partial file remains.
    """
    listed = list(tensors)
    keys = {tensor.key for tensor in listed}
    ties = dict(ties or {})
    if len(keys) < len(listed) or keys & ties.keys() or not keys >= set(ties.values()):
        raise ValueError("a key occurs twice, or a tie leads to no tensor")
    if bare and (extra or format == "pkl"):
        raise ValueError(
            "a bare state dict cannot be combined with extra entries or a pickle of arrays"
        )
    with Sink(path) as sink:
        if format == "safetensors":
            safetensors.write(sink, listed, metadata or {}, ties)
        elif format == "pth":
            archives.write(sink, listed, ties, None if bare else extra or {})
        else:
            pickles.write(sink, listed, ties, extra or {})
        return sink.finish()
