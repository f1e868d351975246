"""Load an original's file into the model that its names belong to, with nothing left over."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from detrex_hub.errors import VerificationError
from detrex_hub.mapping import collapse

if TYPE_CHECKING:
    from detrex_hub.numerics import State


def load_strictly(model: Any, state: State, *, absent: str | tuple[str, ...] = ()) -> None:
    """Load a state dict and make the model ready to be run in float64.

    Args:
        model: a ``torch.nn.Module``.
        state: all of its tensors.
        absent: endings of keys that may be missing.

    Raises:
        VerificationError: other keys are missing or unexpected, or shapes differ.
    """
    try:
        # assigned instead of copied, so that a large model is not in memory twice
        missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
    except RuntimeError as error:
        raise VerificationError(" ".join(str(error).split())[:500]) from None
    model.double().eval()
    complete(type(model).__name__, missing, unexpected, absent=absent)


def complete(
    model: str,
    missing: Iterable[str],
    unexpected: Iterable[str],
    *,
    absent: str | tuple[str, ...] = (),
) -> None:
    """
    Raises:
        VerificationError: keys are unexpected, or keys without one of the ``absent`` endings are
            missing.
    """
    lacking = [key for key in missing if not key.endswith(absent or ("\0",))]
    if lacking or unexpected:
        raise VerificationError(
            f"the original does not fit {model}: missing "
            f"{', '.join(collapse(lacking)[:4]) or 'nothing'}, unexpected "
            f"{', '.join(collapse(unexpected)[:4]) or 'nothing'}"
        )
