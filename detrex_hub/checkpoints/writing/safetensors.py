"""The safetensors writer. Its layout is that of safetensors itself, so the bytes are the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from detrex_hub.checkpoints.checkpoint import Tensor
from detrex_hub.checkpoints.writing.sink import Sink

# safetensors' order of element types; tensors are sorted by it in reverse, then by name
_DTYPES = (
    "BOOL",
    "U8",
    "I8",
    "F8_E5M2",
    "F8_E4M3",
    "F8_E8M0",
    "F8_E4M3FNUZ",
    "F8_E5M2FNUZ",
    "I16",
    "U16",
    "F16",
    "BF16",
    "I32",
    "U32",
    "F32",
    "C64",
    "F64",
    "I64",
    "U64",
)


def write(
    sink: Sink, tensors: Sequence[Tensor], metadata: Mapping[str, str], ties: Mapping[str, str]
) -> None:
    """Write a whole safetensors file."""
    placed = sorted(tensors, key=lambda tensor: (-_DTYPES.index(tensor.spec.dtype), tensor.key))
    texts = dict(sorted(metadata.items()))
    if ties:
        texts["ties"] = json.dumps(ties, sort_keys=True, separators=(",", ":"))
    header: dict[str, Any] = {"__metadata__": texts} if texts else {}
    offset = 0
    for tensor in placed:
        stop = offset + tensor.spec.nbytes
        header[tensor.key] = {
            "dtype": tensor.spec.dtype,
            "shape": tensor.spec.shape,
            "data_offsets": (offset, stop),
        }
        offset = stop
    data = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    data += b" " * (-len(data) % 8)
    sink.write(len(data).to_bytes(8, "little") + data)
    for tensor in placed:
        sink.copy(tensor)
