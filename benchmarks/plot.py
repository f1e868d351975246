"""Draw how time and memory of a conversion grow with the file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.budgets import MIB, PEAK
from benchmarks.jobs import CONVERT, Measurements

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# a background, so that the picture is readable on a light and on a dark page
_PAPER, _INK, _RULE = "white", "#24292f", "#d0d7de"
_LINES = {CONVERT: ("#0550ae", "o-"), "torch.load(mmap) + save_file": ("#bc4c00", "s--")}


def draw(scaled: dict[int, Measurements], path: Path) -> None:
    """Write a picture.

    Args:
        scaled: measurements by the file's size in MB and the job.
        path: an ``.svg`` or ``.png`` file; the same measurements give the same bytes.
    """
    import matplotlib

    matplotlib.use("Agg")
    # outlines look the same with any fonts
    matplotlib.rcParams.update({"svg.fonttype": "path", "svg.hashsalt": "detrex-hub"})
    from matplotlib import pyplot

    sizes = [total / 1000 for total in scaled]
    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(9.6, 3.8), facecolor=_PAPER, layout="constrained"
    )
    for job, (colour, style) in _LINES.items():
        found = [measured[job] for measured in scaled.values()]
        left.plot(sizes, [one.seconds for one in found], style, color=colour, label=job)
        right.plot(sizes, [one.peak / MIB for one in found], style, color=colour, label=job)
    right.axhline(PEAK / MIB, color=_INK, linestyle=":", linewidth=1)
    right.annotate(
        f"budget, {PEAK // MIB} MiB", (sizes[-1], PEAK / MIB), (0, 4), color=_INK, fontsize=9,
        textcoords="offset points", ha="right",
    )  # fmt: skip
    _dress(left, "Wall time", "seconds")
    _dress(right, "Peak resident memory", "MiB")
    left.legend(frameon=False, labelcolor=_INK, loc="upper left")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=120)


def _dress(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(title, color=_INK, loc="left")
    axes.set_xlabel("training checkpoint, GB, a third of it weights", color=_INK)
    axes.set_ylabel(unit, color=_INK)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    axes.grid(axis="y", color=_RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK)
