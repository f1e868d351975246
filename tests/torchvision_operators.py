"""Declare torchvision's operators for a torch that they were not built for, such as one for CPUs.

timm imports torchvision, whose import then fails with "operator torchvision::nms does not exist".
The tests do not run these operators, which only need schemas.
"""

from __future__ import annotations

import sys

import torch

# operators for which the import registers functions without checking that they exist
_SCHEMAS = tuple(
    f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms")
)


def declare() -> None:
    """Make ``import torchvision`` work. Does nothing if it works already."""
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        # declared as long as this object exists
        torch._torchvision_operators = torch.library.Library("torchvision", "FRAGMENT")
        for schema in _SCHEMAS:
            torch._torchvision_operators.define(schema)
        import torchvision  # noqa: F401
