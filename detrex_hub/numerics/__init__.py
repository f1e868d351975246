"""Run the original and the converted weights on the same images, and compare their outputs.

The original runs in the library that its names belong to (timm, transformers), with the original's
own file. The converted weights run in plain torch. This code computes what detrex's and
detectron2's modules compute, and reads their names. Neither side uses the mapper, so even a swap of
two norms of one shape shows.
"""

from __future__ import annotations

import math
import pkgutil
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from msgspec import Struct

from detrex_hub.architectures import architectures
from detrex_hub.architectures.base import Architecture
from detrex_hub.errors import UsageError
from detrex_hub.mapping import Compute
from detrex_hub.mapping.operations import Operation

if TYPE_CHECKING:
    import torch

State: TypeAlias = Mapping[str, "torch.Tensor"]
Outputs: TypeAlias = Mapping[str, "torch.Tensor"]
# LazyConfig path -> value, as `Overrides.lazy`
Settings: TypeAlias = Mapping[str, Any]

# the largest relative difference that float64 rounding explains
TOLERANCE = 1e-9
# and the one for converted weights with computed tensors, which were rounded to float32
TOLERANCE_OF_COMPUTED = 1e-5


class _Model(Protocol):
    """The interface of the modules in this package. Images are ``(1, 3, h, w)`` of float64.
    Outputs have names, in the order of computation."""

    NEEDS: tuple[str, ...]
    LAYOUTS: tuple[str, ...]

    def image_size(self, made: Any) -> int: ...
    def original(self, made: Any, layout: str, state: State, images: torch.Tensor) -> Outputs: ...
    def converted(
        self, made: Any, settings: Settings, state: State, images: torch.Tensor
    ) -> Outputs: ...


class OutputDifference(Struct, frozen=True):
    """One output of both models: the largest absolute difference, and the largest absolute
    value."""

    name: str
    difference: float
    largest: float
    tolerance: float = TOLERANCE

    @property
    def is_rounding(self) -> bool:
        """Whether rounding explains the difference. NaN is never explained by rounding."""
        return self.difference <= self.tolerance * self.largest

    def __str__(self) -> str:
        return f"{self.name} {self.difference:.1e} of {self.largest:.3g}"


def compare(
    made: Architecture, layout: str, settings: Settings, original: State, converted: State
) -> list[OutputDifference]:
    """Run both on one random image, in float64 on the CPU.

    Args:
        made: the architecture with its hyper-parameters.
        layout: the original's.
        settings: the overrides of the config for the converted weights.
        original: its state dict.
        converted: the converted one, tied keys included.

    Returns:
        the differences of the outputs, in the order of computation.

    Raises:
        UsageError: this original cannot be run here; the message says what is missing.
    """
    model = _model(made, layout)
    import torch

    size = model.image_size(made)
    images = torch.randn(
        1, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    with torch.inference_mode():
        theirs = model.original(made, layout, _double(original), images)
        ours = model.converted(made, settings, _double(converted), images)
    assert list(theirs) == list(ours)
    tolerance = TOLERANCE_OF_COMPUTED if _operations(made, layout) else TOLERANCE
    return [
        OutputDifference(name, _apart(ours[name], expected), expected.abs().max().item(), tolerance)
        for name, expected in theirs.items()
        # class heads may have no common row
        if expected.numel()
    ]


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest absolute difference, which is infinite where the shapes differ."""
    return (one - other).abs().max().item() if one.shape == other.shape else math.inf


def check_runnable(made: Architecture, layout: str) -> None:
    """
    Raises:
        UsageError: as `compare`, before anything is downloaded or converted.
    """
    _model(made, layout).image_size(made)


def _operations(made: Architecture, layout: str) -> list[Operation]:
    """The operations that compute tensors of a conversion."""
    return [rule.operation for rule in made.rules(layout) if isinstance(rule, Compute)]


def _model(made: Architecture, layout: str) -> _Model:
    resampling = sorted({one.name for one in _operations(made, layout) if one.approximate})
    if resampling:
        raise UsageError(
            "--numerics compares outputs, but resampled tensors give other outputs than the "
            f"original ({', '.join(resampling)})",
            hint="Leave --numerics out: verify resamples them again and compares the bytes",
        )
    if layout == "detrex":
        raise UsageError(
            "--numerics has nothing to compare: the original already has detrex's "
            "names, and its tensors are the same here, byte for byte",
            hint="Leave --numerics out: verify compares the bytes without it",
        )
    model: Any = None
    if find_spec(f"detrex_hub.numerics.{made.name}") is not None:
        model = import_module(f"detrex_hub.numerics.{made.name}")
    if model is None:
        raise UsageError(
            f"--numerics cannot run the original of {made.name} ({layout}): no library on "
            "the package index has it. Its mapping is tested against a table that was measured on "
            "the original model",
            hint="Leave --numerics out: verify converts again and compares the bytes. It runs "
            f"{', '.join(_runnable())}",
        )
    if layout not in model.LAYOUTS:
        known = f"{made.name} ({', '.join(model.LAYOUTS)})"
        raise UsageError(
            f"--numerics has no forward pass of {made.name} ({layout})", hint=f"It has {known}"
        )
    for needed in model.NEEDS:
        try:
            import_module(needed)
        except ModuleNotFoundError as error:
            lacking = (error.name or needed).partition(".")[0]
            raise UsageError(
                f"--numerics runs the original in {needed}, and {lacking} is not installed here",
                hint=f"Install it: pip install {lacking}",
            ) from None
        except Exception as error:
            # such as a torchvision that was built for another torch
            reason = " ".join(str(error).split())
            raise UsageError(
                f"--numerics runs the original in {needed}, which cannot be imported here: {reason}"
            ) from error
    found: _Model = model
    return found


def _double(state: State) -> dict[str, torch.Tensor]:
    return {
        key: value.double() if value.is_floating_point() else value for key, value in state.items()
    }


def _runnable() -> list[str]:
    """The architectures with a module in this package."""
    modules = {one.name for one in pkgutil.iter_modules(__path__)}
    return sorted(modules.intersection(architectures()))
