"""The common rows of two class heads."""

from __future__ import annotations

from detrex_hub.architectures.detector import Detector


def common_rows(made: Detector) -> tuple[list[int], list[int]]:
    """Rows of the original's class head, and those of the converted one that are the same.

    Fresh rows are in neither list.
    """
    chosen = made.chosen
    rows = range(made.num_classes) if chosen is None else chosen.rows
    pairs = [(theirs, ours) for ours, theirs in enumerate(rows) if theirs is not None]
    if made.no_object_rows:
        pairs.append((made.num_classes if chosen is None else chosen.of, made.num_classes))
    return [theirs for theirs, _ in pairs], [ours for _, ours in pairs]
