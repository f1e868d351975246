"""Tables of measurements, for the terminal and for a page."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.budgets import MIB, Verdict
from benchmarks.jobs import Measurements

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


class Report:
    """Tables. Each is printed when it is added, and kept for `record`."""

    def __init__(self, *, runs: int) -> None:
        self._lines: list[str] = []
        busy = (
            f", at a load of {os.getloadavg()[0]:.1f} when it began"
            if hasattr(os, "getloadavg")
            else ""
        )
        self._add(f"Medians of {runs} runs on {_machine()}{busy}.")

    def _add(self, line: str) -> None:
        print(line, flush=True)
        self._lines.append(line)

    def _rows(self, title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        cells = [head, *rows]
        widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
        for line in ("", f"### {title}", ""):
            self._add(line)
        for number, row in enumerate(cells):
            first, *others = zip(row, widths, strict=True)
            padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
            self._add(f"| {' | '.join(padded)} |")
            if number == 0:
                self._add(
                    f"|{'-' * (widths[0] + 2)}|{'|'.join('-' * (w + 1) + ':' for w in widths[1:])}|"
                )

    def table(self, title: str, found: Measurements) -> None:
        """Add a table of medians, with the ratio of each wall time to that of the first row."""
        base = next(iter(found.values())).seconds
        self._rows(
            title,
            ("", "wall, s", "ratio", "CPU, s", "peak, MiB", "read, MiB"),
            [
                (
                    name,
                    f"{one.seconds:.3f}",
                    f"{one.seconds / base:.2f}",
                    f"{one.cpu:.3f}",
                    f"{one.peak / MIB:.0f}",
                    f"{one.read / MIB:.0f}",
                )
                for name, one in found.items()
            ],
        )

    def budgets(self, verdicts: Iterable[Verdict]) -> None:
        """Each budget with the measured value, and whether it holds."""
        self._rows(
            "Budgets",
            ("", "budget", "measured", "holds"),
            [(one.what, one.budget, one.measured, "yes" if one.holds else "**no**")
             for one in verdicts],
        )  # fmt: skip

    def record(self, page: Path) -> None:
        """Write the tables between the two marks of a page, and replace the earlier ones."""
        before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        text = "\n".join((BEGIN, *self._lines, END))
        page.write_text(before + text + after, encoding="utf-8")


def _machine() -> str:
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
            break
    return (
        f"{os.cpu_count()} cores of {processor}, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, torch {version('torch').partition('+')[0]}, "
        f"safetensors {version('safetensors')}"
    )
