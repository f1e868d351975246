"""The operations that compute a target tensor from source tensors: a closed set.

An operation knows its name, its parameters and shapes. `detrex_hub.computing` has the numbers. Each
computes in float64 and rounds once to the element type of its first operand, unless it says that it
only moves elements. The results are the same bytes on every machine: see there.

The definitions of the resampling operations follow the code that the weights' own projects use:
microsoft/Swin-Transformer f82860b (`bicubic_table`), timm 1.0.20 (`geometric_table`), FlexiViT
(`pinv_last2`), detectron2 02b5c4e2 `modeling/backbone/utils.py` (`bicubic_grid`).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from msgspec import Struct
from msgspec.structs import asdict, replace

from detrex_hub.specs import TensorSpec

_FLOATS = ("F16", "BF16", "F32", "F64")
# the largest side of a patch kernel that is resampled through an exact inverse
_LARGEST_KERNEL = 64


class Operation(Struct, frozen=True):
    """One way to compute a tensor. Its fields are its parameters."""

    name: ClassVar[str]
    """The name in records and cards."""
    approximate: ClassVar[bool] = False
    """Whether the result changes the outputs of the model."""

    @abstractmethod
    def result(self, *operands: TensorSpec) -> TensorSpec:
        """The spec of the result.

        Raises:
            ValueError: the operands do not fit; it describes fitting ones.
        """

    @abstractmethod
    def operands(self, result: TensorSpec) -> tuple[TensorSpec, ...]:
        """The specs of the operands that give ``result``."""

    def inverse(self) -> Operation | None:
        """The operation that restores the operand; None if there is none."""
        return None

    @property
    def parameters(self) -> dict[str, Any]:
        """The fields as JSON holds them."""
        found = asdict(self)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in found.items()
        }

    def __str__(self) -> str:
        """A text such as ``bicubic_table window=12 source_window=7``."""
        shown = (
            f"{name}={','.join(map(str, value)) if isinstance(value, list) else value}"
            for name, value in self.parameters.items()
        )
        return " ".join((self.name, *shown))


class Join(Operation, frozen=True):
    """Tensors of one shape, one after another along a dimension. Moves elements."""

    dim: int
    count: int

    name: ClassVar[str] = "join"

    def result(self, *operands: TensorSpec) -> TensorSpec:
        first = operands[0]
        _has_dimension(first, self.dim)
        if len(operands) != self.count or {*operands} != {first}:
            raise ValueError(f"it joins {self.count} tensors of one shape")
        return _resized(first, self.dim, first.shape[self.dim] * self.count)

    def operands(self, result: TensorSpec) -> tuple[TensorSpec, ...]:
        size = result.shape[self.dim] // self.count
        return (_resized(result, self.dim, size),) * self.count


class Portion(Operation, frozen=True):
    """Part number ``index`` of a tensor that is cut into ``count`` equal parts along a dimension.
    Moves elements."""

    dim: int
    index: int
    count: int

    name: ClassVar[str] = "part"

    def result(self, *operands: TensorSpec) -> TensorSpec:
        (whole,) = operands
        _has_dimension(whole, self.dim)
        if whole.shape[self.dim] % self.count:
            raise ValueError(f"it cuts dimension {self.dim} into {self.count} equal parts")
        return _resized(whole, self.dim, whole.shape[self.dim] // self.count)

    def operands(self, result: TensorSpec) -> tuple[TensorSpec, ...]:
        return (_resized(result, self.dim, result.shape[self.dim] * self.count),)


class Permute(Operation, frozen=True):
    """The entries along a dimension in another order. Moves elements, and has an inverse.

    The entries are read as the rows of a table with ``len(columns)`` columns. The result has
    column ``columns[0]`` from top to bottom, then column ``columns[1]``, and so on:
    ``result[q * rows + r] = operand[r * len(columns) + columns[q]]``. With as many columns as
    entries it is any permutation. ``back`` is the inverse: it puts the entries back.
    """

    dim: int
    columns: tuple[int, ...]
    back: bool = False

    name: ClassVar[str] = "permute"

    def __post_init__(self) -> None:
        if sorted(self.columns) != [*range(len(self.columns))]:
            raise ValueError(f"{self.columns} does not hold each column once")

    def result(self, *operands: TensorSpec) -> TensorSpec:
        (whole,) = operands
        _has_dimension(whole, self.dim)
        if whole.shape[self.dim] % len(self.columns):
            raise ValueError(
                f"it permutes runs of {len(self.columns)} entries along dimension {self.dim}"
            )
        return whole

    def operands(self, result: TensorSpec) -> tuple[TensorSpec, ...]:
        return (result,)

    def inverse(self) -> Permute:
        return replace(self, back=not self.back)

    def order(self, size: int) -> list[int]:
        """For each of ``size`` entries of the result, the entry of the operand."""
        width, rows = len(self.columns), size // len(self.columns)
        there = [row * width + column for column in self.columns for row in range(rows)]
        if not self.back:
            return there
        found = [0] * size
        for entry, source in enumerate(there):
            found[source] = entry
        return found


class Cut(Operation, frozen=True):
    """A box of a tensor with the given ``start`` and ``shape``. It is zero outside the tensor's
    ``source_shape``. Moves elements."""

    start: tuple[int, ...]
    shape: tuple[int, ...]
    source_shape: tuple[int, ...]

    name: ClassVar[str] = "cut"

    def __post_init__(self) -> None:
        if not len(self.start) == len(self.shape) == len(self.source_shape):
            raise ValueError("the box and the tensor have different numbers of dimensions")

    def result(self, *operands: TensorSpec) -> TensorSpec:
        (whole,) = operands
        if whole.shape != self.source_shape:
            raise ValueError(f"it cuts a tensor of {list(self.source_shape)}")
        return TensorSpec(whole.dtype, self.shape)

    def operands(self, result: TensorSpec) -> tuple[TensorSpec, ...]:
        return (TensorSpec(result.dtype, self.source_shape),)


class Filled(Operation, frozen=True):
    """A tensor of one value, without operands."""

    shape: tuple[int, ...]
    value: float

    name: ClassVar[str] = "constant"

    def __str__(self) -> str:
        return f"{self.name} {self.value}"

    def result(self, *operands: TensorSpec) -> TensorSpec:
        return TensorSpec("F32", self.shape)

    def operands(self, result: TensorSpec) -> tuple[TensorSpec, ...]:
        return ()


class ScaleRows(Operation, frozen=True):
    """``result[i, ...] = factors[i] * weight[i, ...]``: a layer scale, folded into the layer before
    it. Exact as a function; each product is rounded once."""

    name: ClassVar[str] = "scale_rows"

    def result(self, *operands: TensorSpec) -> TensorSpec:
        weight, factors = operands
        _is_floating(*operands)
        _has_dimension(weight, 0)
        if factors.shape != weight.shape[:1]:
            raise ValueError(f"it scales {list(weight.shape[:1])} rows by {factors}")
        return weight

    def operands(self, result: TensorSpec) -> tuple[TensorSpec, ...]:
        return result, TensorSpec(result.dtype, result.shape[:1])


class Subtract(Operation, frozen=True):
    """The first operand minus the second, of one shape."""

    name: ClassVar[str] = "subtract"

    def result(self, *operands: TensorSpec) -> TensorSpec:
        first, second = operands
        _is_floating(*operands)
        _has_dimension(first, 0)
        if first.shape != second.shape:
            raise ValueError(f"it subtracts {second} from another shape")
        return first

    def operands(self, result: TensorSpec) -> tuple[TensorSpec, ...]:
        return result, result


class ScaleInChannels(Operation, frozen=True):
    """``result[o, c] = factors[c] * weight[o, index[c]]``: preprocessing of images (the order of
    channels, and a standard deviation) absorbed into the first convolution."""

    index: tuple[int, ...]
    factors: tuple[float, ...]

    name: ClassVar[str] = "scale_in_channels"

    def result(self, *operands: TensorSpec) -> TensorSpec:
        (weight,) = operands
        _is_floating(weight)
        if len(weight.shape) != 4 or weight.shape[1] != len(self.index):
            raise ValueError(f"it scales the {len(self.index)} input channels of a convolution")
        return weight

    def operands(self, result: TensorSpec) -> tuple[TensorSpec, ...]:
        return (result,)


class _Planes(Operation, frozen=True):
    """Resamples the planes of the last two dimensions: ``(..., *source_size) -> (..., *size)``."""

    size: tuple[int, int]
    source_size: tuple[int, int]

    approximate: ClassVar[bool] = True

    def result(self, *operands: TensorSpec) -> TensorSpec:
        (planes,) = operands
        _is_floating(planes)
        if planes.shape[-2:] != self.source_size:
            raise ValueError(f"it resamples planes of {list(self.source_size)}")
        return TensorSpec(planes.dtype, (*planes.shape[:-2], *self.size))

    def operands(self, result: TensorSpec) -> tuple[TensorSpec, ...]:
        return (TensorSpec(result.dtype, (*result.shape[:-2], *self.source_size)),)


class BicubicLast2(_Planes, frozen=True):
    """Bicubic interpolation of planes, as ``torch.nn.functional.interpolate`` without
    ``align_corners`` and without antialiasing."""

    name: ClassVar[str] = "bicubic_last2"


class PinvLast2(_Planes, frozen=True):
    """Resamples patch kernels through the pseudo-inverse of bicubic interpolation, so that an
    enlarged patch has the same embedding as before (FlexiViT)."""

    name: ClassVar[str] = "pinv_last2"

    def __post_init__(self) -> None:
        if max(*self.size, *self.source_size) > _LARGEST_KERNEL:
            raise ValueError(f"a patch kernel of more than {_LARGEST_KERNEL} pixels a side")


class _Table(Operation, frozen=True):
    """Resamples a relative position table for another window:
    ``((2 * source_window - 1)**2, heads) -> ((2 * window - 1)**2, heads)``."""

    window: int
    source_window: int

    approximate: ClassVar[bool] = True

    def result(self, *operands: TensorSpec) -> TensorSpec:
        (table,) = operands
        _is_floating(table)
        if len(table.shape) != 2 or table.shape[0] != (2 * self.source_window - 1) ** 2:
            raise ValueError(f"it resamples the table of a window of {self.source_window}")
        return TensorSpec(table.dtype, ((2 * self.window - 1) ** 2, table.shape[1]))

    def operands(self, result: TensorSpec) -> tuple[TensorSpec, ...]:
        return (TensorSpec(result.dtype, ((2 * self.source_window - 1) ** 2, result.shape[1])),)


class BicubicTable(_Table, frozen=True):
    """Bicubic interpolation of the table, as the loaders of Swin-Transformer and mmdetection."""

    name: ClassVar[str] = "bicubic_table"


class GeometricTable(_Table, frozen=True):
    """Linear interpolation of the table between knots whose distances grow geometrically, as timm.
    Another function than `BicubicTable`: on a smooth table they differ by 18 % (7 to 12)."""

    name: ClassVar[str] = "geometric_table"


class BicubicGrid(Operation, frozen=True):
    """Bicubic interpolation of a square grid of position embeddings, behind ``slots`` that stay:
    ``(1, slots + source_size**2, channels) -> (1, slots + size**2, channels)``."""

    size: int
    source_size: int
    slots: int

    name: ClassVar[str] = "bicubic_grid"
    approximate: ClassVar[bool] = True

    def result(self, *operands: TensorSpec) -> TensorSpec:
        (positions,) = operands
        _is_floating(positions)
        if len(positions.shape) != 3 or positions.shape[1] != self.slots + self.source_size**2:
            raise ValueError(
                f"it resamples {self.slots} and {self.source_size} x {self.source_size} positions"
            )
        return _resized(positions, 1, self.slots + self.size**2)

    def operands(self, result: TensorSpec) -> tuple[TensorSpec, ...]:
        return (_resized(result, 1, self.slots + self.source_size**2),)


def _resized(spec: TensorSpec, dim: int, size: int) -> TensorSpec:
    return TensorSpec(spec.dtype, (*spec.shape[:dim], size, *spec.shape[dim + 1 :]))


def _has_dimension(spec: TensorSpec, dim: int) -> None:
    if not 0 <= dim < len(spec.shape):
        raise ValueError(f"it needs a dimension {dim}")


def _is_floating(*specs: TensorSpec) -> None:
    for spec in specs:
        if spec.dtype not in _FLOATS:
            raise ValueError(f"it computes with {', '.join(_FLOATS)}, not {spec.dtype}")
