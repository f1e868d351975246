"""The names of a detector's classes, for software that shows them."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from detrex_hub.architectures import coco
from detrex_hub.architectures.detector import Detector
from detrex_hub.errors import UsageError

# the name of rows without a category in transformers' own files
_NONE = "N/A"
_RELEASED_ROWS = max(coco.CATEGORIES) + 1


class Labels(Struct, frozen=True):
    """Class names, and their origin.

    Args:
        names: by the rows of the class head.
        origin: a description of the origin, for users.
        known: whether something states them, so that they are not assumed.
    """

    names: tuple[str, ...]
    origin: str
    known: bool = True


def _names(recorded: object) -> tuple[str, ...]:
    """A list of texts; empty for any other value, because records are untrusted."""
    if not isinstance(recorded, list | tuple):
        return ()
    found = tuple(one for one in recorded if isinstance(one, str))
    return found if len(found) == len(recorded) else ()


def labels_of(made: Detector, *, given: Sequence[str] | None, recorded: object) -> Labels:
    """The names of a detector's classes.

    Args:
        made: the detector.
        given: the user's names, which take precedence.
        recorded: the names that the weights were trained with, from their records.

    Raises:
        UsageError: there are more or fewer names than classes.
    """
    number = made.num_classes
    if given is not None:
        if len(given) != number:
            raise UsageError(
                f"there are {len(given)} names, but the class heads have {number} rows",
                hint="Give one name for each row, in row order",
            )
        return Labels(tuple(given), "as given")
    trained = _names(recorded)
    if len(trained) == number:
        return Labels(trained, "the classes of the training")
    if number == len(coco.NAMES):
        cut = made.classes_cut_from is not None
        return Labels(coco.NAMES, "COCO", known=cut)
    if number == _RELEASED_ROWS:
        rows = [_NONE] * number
        for row, name in zip(coco.CATEGORIES, coco.NAMES, strict=True):
            rows[row] = name
        return Labels(tuple(rows), "COCO, by category id")
    return Labels(tuple(f"LABEL_{row}" for row in range(number)), "numbers", known=False)
