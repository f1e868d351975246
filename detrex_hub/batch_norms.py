"""Judge the origin of weights by the statistics of BatchNorm.

In a network from Caffe the statistics of BatchNorm are folded into weight and bias. Detectron's
converters write mean 0 and variance 1 (or 1 - 1e-5) in their place. Such networks read BGR images.
Their deviations and stride differ, and no tensor shows them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from detrex_hub.checkpoints import Checkpoint

_MEAN = ".running_mean"
_FORMATS = {"F64": "<d", "F32": "<f", "F16": "<e"}


def has_folded_statistics(checkpoint: Checkpoint) -> bool:
    """Whether every running mean is 0 and every running variance 1, while weights are trained.

    One mean that is not 0 decides, so most files need a read of one small tensor. Newly initialised
    norms, with weights of 0 or 1, do not count as Caffe's.
    """
    norms = [key.removesuffix(_MEAN) for key in checkpoint.specs if key.endswith(_MEAN)]
    return (
        bool(norms)
        and all(_all(checkpoint, f"{norm}.running_mean", lambda x: x == 0) for norm in norms)
        and all(_all(checkpoint, f"{norm}.running_var", _is_one) for norm in norms)
        and not all(_all(checkpoint, f"{norm}.weight", lambda x: x in (0, 1)) for norm in norms)
    )


def _is_one(value: float) -> bool:
    # 1e-5, which FrozenBatchNorm2d adds again, and the rounding error of half precision
    return 1 - 1.1e-3 <= value <= 1 + 1e-6


def _all(checkpoint: Checkpoint, key: str, holds: Callable[[float], bool]) -> bool:
    return key in checkpoint.specs and all(map(holds, _numbers(checkpoint, key)))


def _numbers(checkpoint: Checkpoint, key: str) -> Iterator[float]:
    """The elements of a floating point tensor; NaN for one of another type."""
    dtype = checkpoint.specs[key].dtype
    data = b"".join(checkpoint.chunks(key))
    if dtype == "BF16":
        # the upper half of a single precision number
        for place in range(0, len(data), 2):
            yield struct.unpack("<f", b"\0\0" + data[place : place + 2])[0]
    elif dtype in _FORMATS:
        for (value,) in struct.iter_unpack(_FORMATS[dtype], data):
            yield value
    else:
        yield float("nan")
