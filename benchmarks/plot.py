"""Draw how time and memory of a conversion grow with the file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measuring import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MIB = 2**20
_PAPER, _INK, _LINE, _BUDGET = "white", "#333333", "#1f6feb", "#b35900"


def draw(scaled: dict[int, dict[str, Measurement]], path: Path) -> None:
    """Write a picture.

    Args:
        scaled: measurements by the file's size in MB and the job.
        path: an ``.svg`` or ``.png`` file.
    """
    import matplotlib

    matplotlib.use("Agg")
    # the same text in the same place, whatever fonts a machine has
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "detrex-hub"})
    from matplotlib import pyplot

    sizes = [total / 1000 for total in scaled]
    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(9, 3.4), facecolor=_PAPER, layout="constrained"
    )
    converted = [found["convert"] for found in scaled.values()]
    left.plot(sizes, [one.seconds for one in converted], "o-", color=_LINE)
    left.set_title("detrex-hub convert: time, s")
    right.plot(sizes, [one.peak / MIB for one in converted], "o-", color=_LINE)
    right.axhline(80, color=_BUDGET, linestyle="--", linewidth=1)
    right.annotate("budget", (sizes[-1], 80), (0, 4), textcoords="offset points",
                   ha="right", color=_BUDGET)  # fmt: skip
    right.set_title("detrex-hub convert: peak memory, MiB")
    for axes in (left, right):
        _plain(axes)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _plain(axes: Axes) -> None:
    axes.set_xlabel("training checkpoint, GB (a third of it weights)", color=_INK)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_INK)
