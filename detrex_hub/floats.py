"""Floating point elements as numbers, and numbers as elements: the same on every machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from detrex_hub.specs import DTYPE_BITS, TensorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers: TypeAlias = NDArray[np.float64]

DTYPES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64"}
"""Element types that numbers can be rounded to, by torch's names."""

_NUMPY = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
# bits of the exponent and of the fraction, the exponent bias, and whether the highest exponent
# means infinity (OCP's 8-bit formats; torch 2.9, c10/util/Float8_*.h)
_EIGHT_BITS = {
    "F8_E4M3": (4, 3, 7, False),
    "F8_E5M2": (5, 2, 15, True),
    "F8_E4M3FNUZ": (4, 3, 8, False),
    "F8_E5M2FNUZ": (5, 2, 16, False),
    "F8_E8M0": (8, 0, 127, False),
}
_READABLE = frozenset(("BF16", *_NUMPY, *_EIGHT_BITS))


def is_float(dtype: str) -> bool:
    """Whether the elements of a type are floating point numbers."""
    return dtype in _READABLE


def in_type(specs: Mapping[str, TensorSpec], dtype: str) -> dict[str, TensorSpec]:
    """The same tensors, with all floating point numbers in another element type."""
    return {
        key: TensorSpec(dtype, spec.shape) if is_float(spec.dtype) else spec
        for key, spec in specs.items()
    }


def decoded(raw: bytes, dtype: str) -> Numbers:
    """Little-endian elements as exact numbers."""
    import numpy as np

    if dtype in _EIGHT_BITS:
        looked_up: Numbers = _table(dtype)[np.frombuffer(raw, dtype="u1")]
        return looked_up
    if dtype == "BF16":
        # the upper half of a single precision number
        bits = np.frombuffer(raw, dtype="<u2").astype("<u4") << np.uint32(16)
        stored: NDArray[Any] = bits.view("<f4")
    else:
        stored = np.frombuffer(raw, dtype=_NUMPY[dtype])
    with np.errstate(invalid="ignore"):
        # a NaN may be a signalling one
        found: Numbers = stored.astype(np.float64)
    return found


def encoded(values: Numbers, dtype: str) -> bytes:
    """Numbers rounded to the nearest value of an element type, ties to even (BF16 through F32)."""
    import numpy as np

    with np.errstate(over="ignore"):
        if dtype != "BF16":
            return values.astype(_NUMPY[dtype]).tobytes()
        bits = values.astype("<f4").view("<u4")
    # NaN stays NaN: the rounding must not carry into its sign
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    kept = np.where(np.isnan(values), bits | np.uint32(0x400000), rounded)
    return bytes((kept >> np.uint32(16)).astype("<u2").data)


def rounded(
    chunks: Iterable[bytes | memoryview], before: str, after: str
) -> Iterator[bytes | memoryview]:
    """A stream of elements in another type.

    Args:
        chunks: little-endian bytes in chunks of any length.
        before: their type.
        after: the wanted type, one of `DTYPES`.

    Raises:
        OverflowError: a finite number would become infinite.
    """
    import numpy as np

    size = DTYPE_BITS[before] // 8
    left = b""
    for chunk in chunks:
        data = left + bytes(chunk)
        whole = len(data) - len(data) % size
        left = data[whole:]
        values = decoded(data[:whole], before)
        made = encoded(values, after)
        beyond = np.isinf(decoded(made, after)) & np.isfinite(values)
        if beyond.any():
            raise OverflowError(f"{values[beyond][0]:.4g} is beyond the range of {after}")
        yield made


@cache
def _table(dtype: str) -> Numbers:
    """The number of each of the 256 elements of a type of 8 bits."""
    import numpy as np

    exponents, fractions, bias, infinite = _EIGHT_BITS[dtype]
    made = np.zeros(256)
    for bits in range(256):
        if dtype == "F8_E8M0":
            made[bits] = np.nan if bits == 255 else 2.0 ** (bits - bias)
            continue
        sign = -1.0 if bits >> 7 else 1.0
        exponent = (bits >> fractions) & (2**exponents - 1)
        fraction = bits & (2**fractions - 1)
        highest = exponent == 2**exponents - 1
        if dtype.endswith("FNUZ") and bits == 0x80:
            made[bits] = np.nan
        elif infinite and highest:
            made[bits] = np.nan if fraction else sign * np.inf
        elif dtype == "F8_E4M3" and bits & 0x7F == 0x7F:
            made[bits] = np.nan
        elif exponent:
            made[bits] = sign * (1 + fraction / 2**fractions) * 2.0 ** (exponent - bias)
        else:
            made[bits] = sign * fraction / 2**fractions * 2.0 ** (1 - bias)
    return made
