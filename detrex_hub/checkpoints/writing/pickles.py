"""Pickles of numpy arrays as detectron2 reads them, written array by array without numpy."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from detrex_hub.checkpoints.checkpoint import Tensor
from detrex_hub.checkpoints.files import shown
from detrex_hub.checkpoints.writing.opcodes import Opcodes
from detrex_hub.checkpoints.writing.sink import Sink
from detrex_hub.errors import CheckpointError
from detrex_hub.floats import is_float

_CODES = {
    "BOOL": "b1",
    "I8": "i1",
    "I16": "i2",
    "I32": "i4",
    "I64": "i8",
    "U8": "u1",
    "U16": "u2",
    "U32": "u4",
    "U64": "u8",
    "F16": "f2",
    "F32": "f4",
    "F64": "f8",
    "C64": "c8",
}


def write(
    sink: Sink, tensors: Sequence[Tensor], ties: Mapping[str, str], extra: Mapping[str, Any]
) -> None:
    """Write ``{"model": {key: array}, **extra}``; numpy 1.x and 2.x read it."""
    for tensor in tensors:
        if tensor.spec.dtype not in _CODES:
            raise CheckpointError(
                f"{sink.path}: numpy has no {tensor.spec.dtype}, the type of tensor"
                f" {shown(tensor.key)}",
                hint="Choose the format safetensors or pth",
                choices=["--dtype float32"] if is_float(tensor.spec.dtype) else (),
            )
    opcodes = Opcodes(sink.write, protocol=4)
    shared = set(ties.values())
    sink.write(b"}(")
    opcodes.text("model")
    sink.write(b"}(")
    for tensor in tensors:
        opcodes.text(tensor.key)
        _array(sink, opcodes, tensor)
        if tensor.key in shared:
            opcodes.remember(("array", tensor.key))
    for alias, key in ties.items():
        opcodes.text(alias)
        opcodes.known(("array", key))
    sink.write(b"u")
    for name, value in extra.items():
        opcodes.text(name)
        opcodes.plain(value)
    sink.write(b"u.")


def _array(sink: Sink, opcodes: Opcodes, tensor: Tensor) -> None:
    # numpy 2 still finds its functions under numpy.core, numpy 1 does not know numpy._core
    opcodes.global_("numpy.core.multiarray", "_reconstruct")
    sink.write(b"(")
    opcodes.global_("numpy", "ndarray")
    sink.write(b"K\0\x85C\1btR(K\1")
    opcodes.integers(tensor.spec.shape)
    _dtype(sink, opcodes, tensor.spec.dtype)
    nbytes = tensor.spec.nbytes
    length = (
        b"B" + struct.pack("<I", nbytes) if nbytes < 2**32 else b"\x8e" + struct.pack("<Q", nbytes)
    )
    sink.write(b"\x89" + length)
    sink.copy(tensor)
    sink.write(b"tb")


def _dtype(sink: Sink, opcodes: Opcodes, dtype: str) -> None:
    if opcodes.known(("dtype", dtype)):
        return
    code = _CODES[dtype]
    opcodes.global_("numpy", "dtype")
    sink.write(b"(")
    opcodes.text(code)
    sink.write(b"\x89\x88tR(K\3")
    opcodes.text("|" if code.endswith("1") else "<")
    sink.write(b"NNN")
    for number in (-1, -1, 0):
        opcodes.integer(number)
    sink.write(b"tb")
    opcodes.remember(("dtype", dtype))
