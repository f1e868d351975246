"""Carry out moves, and compute the operations in `detrex_hub.mapping.operations`.

The same operands give the same bytes on every machine. All arithmetic is IEEE float64 addition,
multiplication and division, element by element and in a fixed order: no BLAS, no libm. The
interpolation matrices are exact fractions, rounded once. A result is rounded once to its element
type (BF16 twice, by way of F32).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from math import floor
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from detrex_hub.floats import decoded, encoded
from detrex_hub.mapping import Computed, Fresh, Move
from detrex_hub.mapping.operations import (
    BicubicGrid,
    BicubicLast2,
    BicubicTable,
    Cut,
    Filled,
    GeometricTable,
    Join,
    Operation,
    Permute,
    PinvLast2,
    Portion,
    ScaleInChannels,
    ScaleRows,
    Subtract,
)
from detrex_hub.seeded import fresh_rows
from detrex_hub.specs import TensorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers: TypeAlias = NDArray[np.float64]

Matrix: TypeAlias = Sequence[Sequence[Fraction]] | Sequence[Sequence[float]]

# the most elements in memory of an operation that works row by row
_BLOCK = 2**15
# the channels that are resampled at a time
_PLANES = 16


class TensorSource(Protocol):
    """The source of operands: a `Checkpoint`, or a synthetic one."""

    @property
    def specs(self) -> Mapping[str, TensorSpec]: ...

    def chunks(
        self, key: str, rows: Sequence[tuple[int, int]] | None = None
    ) -> Iterator[bytes | memoryview]: ...


def carried_out(move: Move, source: TensorSource) -> Iterator[bytes | memoryview]:
    """The little-endian, row-major bytes of a move's target, in chunks.

    Moved pieces are streamed. A computed piece needs at most the memory of the whole tensor.
    """
    for piece in move.pieces:
        match piece:
            case Fresh():
                yield fresh_rows(piece, move.target, move.spec)
            case Computed():
                yield from computed(piece, source)
            case _:
                yield from source.chunks(piece.key, piece.rows)


def computed(piece: Computed, source: TensorSource) -> Iterator[bytes]:
    """The bytes of a computed tensor, in chunks."""
    operation, of, spec = piece.operation, piece.of, piece.spec
    match operation:
        case ScaleRows():
            factors = _numbers(source, of[1])
            for start, stop in _blocks(spec):
                rows = _numbers(source, of[0], (start, stop))
                rows *= factors[start:stop].reshape(-1, *[1] * (rows.ndim - 1))
                yield encoded(rows, spec.dtype)
        case Subtract():
            for block in _blocks(spec):
                rows = _numbers(source, of[0], block)
                rows -= _numbers(source, of[1], block)
                yield encoded(rows, spec.dtype)
        case BicubicLast2() | PinvLast2():
            matrices = _matrices(operation)
            for block in _blocks(source.specs[of[0]]):
                yield encoded(_resampled(_numbers(source, of[0], block), *matrices), spec.dtype)
        case Filled(value=value):
            import numpy as np

            yield encoded(np.full(spec.shape, value), spec.dtype)
        case Cut() | Join() | Portion() | Permute():
            yield _rearranged(operation, [_elements(source, key) for key in of])
        case _:
            yield encoded(_made(operation, _numbers(source, of[0])), spec.dtype)


def _made(operation: Operation, operand: Numbers) -> Numbers:
    match operation:
        case ScaleInChannels(index=index, factors=factors):
            import numpy as np

            made: Numbers = operand[:, list(index)] * np.array(factors)[:, None, None]
            return made
        case BicubicTable(window=window, source_window=before):
            return _table(operand, bicubic(2 * before - 1, 2 * window - 1))
        case GeometricTable(window=window, source_window=before):
            return _table(operand, geometric(2 * before - 1, 2 * window - 1))
        case BicubicGrid(size=size, source_size=before, slots=slots):
            return _grid(operand, bicubic(before, size), slots)
    raise AssertionError(operation)


def _matrices(operation: BicubicLast2 | PinvLast2) -> tuple[Matrix, Matrix]:
    """Those by which the last two dimensions are resampled."""
    pairs = zip(operation.source_size, operation.size, strict=True)
    rows, columns = (bicubic(*pair) for pair in pairs)
    return (_pinv(rows), _pinv(columns)) if isinstance(operation, PinvLast2) else (rows, columns)


# -- matrices of interpolation --------------------------------------------------------------------


def bicubic(n: int, m: int) -> list[list[Fraction]]:
    """The ``m x n`` matrix of bicubic interpolation from ``n`` to ``m`` samples, exactly:
    align_corners False, a = -3/4, no antialiasing, the border repeated."""
    matrix = [[Fraction(0)] * n for _ in range(m)]
    for i, row in enumerate(matrix):
        x = Fraction((2 * i + 1) * n, 2 * m) - Fraction(1, 2)
        first = floor(x)
        for k in (-1, 0, 1, 2):
            row[min(max(first + k, 0), n - 1)] += _cubic(abs(x - first - k))
    return matrix


def _cubic(d: Fraction) -> Fraction:
    a = Fraction(-3, 4)
    if d <= 1:
        return ((a + 2) * d - (a + 3)) * d * d + 1
    return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a


def geometric(n: int, m: int) -> list[list[float]]:
    """The ``m x n`` matrix of linear interpolation between ``n`` knots at 0, 1, 1 + q, 1 + q +
    q**2, ... to both sides, at the ``m`` integers around 0."""
    q = _ratio(n // 2, m // 2)
    right, power, knot = [], 1.0, 0.0
    for _ in range(n // 2):
        knot += power
        power *= q
        right.append(knot)
    knots = [*(-one for one in reversed(right)), 0.0, *right]
    matrix = [[0.0] * n for _ in range(m)]
    for x, row in zip(range(-(m // 2), m // 2 + 1), matrix, strict=True):
        after = next((i for i, one in enumerate(knots) if x <= one), n - 1)
        after = max(after, 1)
        left, right_of = max(x - knots[after - 1], 0.0), max(knots[after] - x, 0.0)
        row[after - 1] += right_of / (left + right_of)
        row[after] += left / (left + right_of)
    return matrix


def _ratio(steps: int, reach: int) -> float:
    """The q for which ``steps`` growing steps reach the given distance, found by halving as in
    timm."""
    low, high = 1.01, 1.5
    q = low
    while high - low > 1e-6:
        q = (low + high) / 2
        power = 1.0
        for _ in range(steps):
            power *= q
        if (1 - power) / (1 - q) > reach:
            high = q
        else:
            low = q
    return q


def _pinv(matrix: list[list[Fraction]]) -> list[list[Fraction]]:
    """The pseudo-inverse of the transpose of a matrix of full rank, exactly.

    The pseudo-inverse of ``(B kron B)^T`` is the Kronecker product of two of these.
    """
    wide = len(matrix[0]) > len(matrix)
    rows = matrix if wide else _transposed(matrix)
    inverted = _inverse([[_dot(one, other) for other in rows] for one in rows])
    # (B B^T)^-1 B for a wide B, and B (B^T B)^-1 for a tall one
    found = [[_dot(one, column) for column in zip(*rows, strict=True)] for one in inverted]
    return found if wide else _transposed(found)


def _inverse(matrix: list[list[Fraction]]) -> list[list[Fraction]]:
    size = len(matrix)
    rows = [[*row, *(Fraction(i == j) for j in range(size))] for i, row in enumerate(matrix)]
    for i in range(size):
        # a Gram matrix of full rank has nonzero pivots on its diagonal
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for j in range(size):
            if j != i and rows[j][i]:
                rows[j] = [
                    one - rows[j][i] * two for one, two in zip(rows[j], rows[i], strict=True)
                ]
    return [row[size:] for row in rows]


def _dot(one: Sequence[Fraction], other: Sequence[Fraction]) -> Fraction:
    return sum((a * b for a, b in zip(one, other, strict=True)), Fraction(0))


def _transposed(matrix: list[list[Fraction]]) -> list[list[Fraction]]:
    return [list(column) for column in zip(*matrix, strict=True)]


# -- resampling -----------------------------------------------------------------------------------


def _resampled(planes: Numbers, rows: Matrix, columns: Matrix) -> Numbers:
    """``rows @ planes @ columns^T`` over the last two dimensions, some planes at a time."""
    import numpy as np

    made = np.empty((*planes.shape[:-2], len(rows), len(columns)))
    for start in range(0, len(planes), _PLANES):
        some = planes[start : start + _PLANES]
        made[start : start + _PLANES] = _along(_along(some, columns, -1), rows, -2)
    return made


def _along(values: Numbers, matrix: Matrix, axis: int) -> Numbers:
    """A matrix applied along an axis. Terms are added in the order of the columns."""
    import numpy as np

    weights = np.array([[float(value) for value in row] for row in matrix])
    moved = np.moveaxis(values, axis, -1)
    made = np.zeros((*moved.shape[:-1], len(weights)))
    for column in range(weights.shape[1]):
        made += moved[..., column, None] * weights[:, column]
    found: Numbers = np.moveaxis(made, -1, axis)
    return found


def _table(table: Numbers, matrix: Matrix) -> Numbers:
    n, m, heads = len(matrix[0]), len(matrix), table.shape[1]
    planes = table.T.reshape(heads, n, n)
    made: Numbers = _resampled(planes, matrix, matrix).reshape(heads, m * m).T
    return made


def _grid(positions: Numbers, matrix: Matrix, slots: int) -> Numbers:
    import numpy as np

    n, m, channels = len(matrix[0]), len(matrix), positions.shape[2]
    made = np.empty((1, slots + m * m, channels))
    made[0, :slots] = positions[0, :slots]
    for start in range(0, channels, _PLANES):
        some = slice(start, start + _PLANES)
        planes = positions[0, slots:, some].T.reshape(-1, n, n)
        made[0, slots:, some] = _resampled(planes, matrix, matrix).reshape(-1, m * m).T
    return made


# -- elements <-> bytes ---------------------------------------------------------------------------


def _blocks(spec: TensorSpec) -> Iterator[tuple[int, int]]:
    """Ranges of rows that together are all of them."""
    rows = spec.shape[0]
    step = max(_BLOCK * rows // max(spec.numel, 1), 1)
    return ((start, min(start + step, rows)) for start in range(0, rows, step))


def _bytes(source: TensorSource, key: str, rows: tuple[int, int] | None) -> bytes:
    return b"".join(source.chunks(key, None if rows is None else [rows]))


def _elements(source: TensorSource, key: str) -> NDArray[Any]:
    """A tensor's elements of any type, as integers or bytes of their width."""
    import numpy as np

    spec = source.specs[key]
    found: NDArray[Any] = np.frombuffer(_bytes(source, key, None), dtype=f"V{spec.itemsize}")
    return found.reshape(spec.shape)


def _rearranged(operation: Operation, operands: list[NDArray[Any]]) -> bytes:
    """Elements in another order. No number changes."""
    import numpy as np

    first = operands[0]
    match operation:
        case Join(dim=dim):
            made = np.concatenate(operands, dim)
        case Portion(dim=dim, index=index, count=count):
            made = np.split(first, count, dim)[index]
        case Permute(dim=dim):
            made = np.take(first, operation.order(first.shape[dim]), dim)
        case Cut(start=start, shape=shape):
            made = np.zeros(shape, dtype=first.dtype)
            taken = first[
                tuple(slice(at, at + size) for at, size in zip(start, shape, strict=True))
            ]
            made[tuple(slice(size) for size in taken.shape)] = taken
        case _:
            raise AssertionError(operation)
    return made.tobytes()


def _numbers(source: TensorSource, key: str, rows: tuple[int, int] | None = None) -> Numbers:
    """A tensor, or some of its rows, in float64."""
    spec = source.specs[key]
    shape = spec.shape if rows is None else (rows[1] - rows[0], *spec.shape[1:])
    return decoded(_bytes(source, key, rows), spec.dtype).reshape(shape)
