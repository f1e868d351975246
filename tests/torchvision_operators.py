"""torchvision beside a torch that its compiled operators were not built for, such as one for CPUs.

timm imports torchvision, whose import then ends in "operator torchvision::nms does not exist".
Nothing here runs such operators: they only have to have schemas.
"""

from __future__ import annotations

import sys

import torch

# those for which the import registers something without looking whether they are there
_SCHEMAS = tuple(
    f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms")
)


def declare() -> None:
    """Make ``import torchvision`` work; does nothing where it works already."""
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        # declared for as long as the object lives
        torch._torchvision_operators = torch.library.Library("torchvision", "FRAGMENT")
        for schema in _SCHEMAS:
            torch._torchvision_operators.define(schema)
        import torchvision  # noqa: F401
