"""Compare what a conversion wrote with its source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from detrex_hub import checkpoints
from detrex_hub.checkpoints import Format, first_other, same_bytes
from detrex_hub.conversion.planning import Conversion
from detrex_hub.errors import VerificationError
from detrex_hub.mapping import Computed, Fresh, Move, Piece


def compare_with_source(conversion: Conversion, path: Path, format: Format) -> None:
    """Reopen what was written and compare every tensor with the source, byte by byte.

    Also compares the tensors of a tie with each other: one is stored for all of them.

    Raises:
        VerificationError: naming the first tensor that differs.
    """
    plan = conversion.plan
    with checkpoints.open(path, checksums=False) as written:
        expected = (
            plan.specs if format != "safetensors" else {k: m.spec for k, m in plan.moves.items()}
        )
        if dict(written.specs) != expected:
            raise VerificationError(f"{path.name} does not hold the planned tensors")
        other = first_other(written, conversion.tensors())
    if other is not None:
        raise VerificationError(
            f"{other} differs from the source after it was written",
            hint="Check the disk and memory of this machine, then convert again",
        )
    for alias, move in plan.twins.items():
        stored = plan.moves[plan.ties[alias]]
        if _identities(conversion, move) == _identities(conversion, stored):
            continue
        # fresh rows of both names are drawn with the same seed
        alike = msgspec.structs.replace(move, target=stored.target)
        if not same_bytes(conversion.chunks(alike), conversion.chunks(stored)):
            raise VerificationError(
                f"{alias} and {stored.target} differ in {conversion.provenance.file}, "
                "but the detrex model has one tensor for both",
                hint="The checkpoint is from a modified model and cannot be converted",
            )


def _identities(conversion: Conversion, move: Move) -> list[Any]:
    """The parts of a move. They are equal for two moves only if both give the same bytes."""
    identity = conversion.checkpoint.identity

    def of(piece: Piece | Computed | Fresh) -> Any:
        match piece:
            case Piece():
                return identity(piece.key), piece.rows
            case Computed():
                return piece.operation, tuple(map(identity, piece.of))
            case _:
                return piece

    return [of(piece) for piece in move.pieces]
