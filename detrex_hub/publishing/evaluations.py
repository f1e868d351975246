"""The evaluations in the ``metrics.json`` of a training run.

The metrics must belong to the pushed checkpoint, because a wrong accuracy is worse than none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from detrex_hub.catalogue.entry import Metric
from detrex_hub.errors import DetrexHubError

# detectron2's names of COCO's figures, in metrics.json
_TASKS = {"bbox": ("box", "object-detection"), "segm": ("mask", "image-segmentation")}
_FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl")


class Evaluation(Struct, frozen=True):
    """One evaluation during training: its iteration, counted from 0, and figures such as
    ``bbox/AP`` in percent."""

    iteration: int
    figures: Mapping[str, float]

    def metrics(self, dataset: str) -> Iterator[Metric]:
        """The figures as a card shows them.

        Args:
            dataset: the name of the evaluated dataset.
        """
        for name, value in self.figures.items():
            task, _, figure = name.partition("/")
            shown, kind = _TASKS[task]
            yield Metric(
                task=kind,
                dataset=dataset,
                name=f"{shown} {figure}",
                value=round(value, 2),
                unit="%",
                source="",
            )


def evaluations(path: Path) -> list[Evaluation]:
    """The evaluations in a ``metrics.json`` as detectron2's `JSONWriter` writes it, a JSON object
    a line, in their order.

    Raises:
        DetrexHubError: the file cannot be read, or has another format.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise DetrexHubError(f"the metrics {path} cannot be read: {reason}") from None
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise DetrexHubError(
                f"line {number} of {path} is not a JSON object",
                hint="Give the metrics.json that training wrote",
            )
        figures = {
            name: float(said[name])
            for name in (f"{task}/{figure}" for task in _TASKS for figure in _FIGURES)
            if _is_figure(said.get(name))
        }
        if figures and type(said.get("iteration")) is int:
            found.append(Evaluation(said["iteration"], figures))
    return found


def _is_figure(value: Any) -> bool:
    """Whether it is a percentage. Classes without images give NaN, and a missing task gives -1."""
    return type(value) in (int, float) and 0 <= value <= 100


def evaluation_of(path: Path, iteration: Any, checkpoint: str) -> Evaluation:
    """The last evaluation of a checkpoint.

    Args:
        path: the ``metrics.json``.
        iteration: the checkpoint's, counted from 0; any other value if it does not say one.
        checkpoint: its name, for messages.

    Raises:
        DetrexHubError: the file cannot be read, or has no evaluation of the checkpoint.
    """
    found = evaluations(path)
    if not found:
        raise DetrexHubError(
            f"{path} has no evaluation, such as bbox/AP",
            hint="Evaluate during training (train.eval_period), or leave --metrics out",
        )
    if type(iteration) is not int:
        return found[-1]
    # an evaluation after the last step has the next number
    fitting = [one for one in found if one.iteration in (iteration, iteration + 1)]
    if not fitting:
        some = ", ".join(str(one.iteration) for one in found[-5:])
        raise DetrexHubError(
            f"{path} has no evaluation of {checkpoint}, which was saved at iteration "
            f"{iteration}; it has evaluations of {some}",
            hint="Push a checkpoint that was evaluated, or leave --metrics out",
        )
    return fitting[-1]
