"""Measure detrex-hub and its peers in one run, and print one table for each job with ratios.

``python -m benchmarks`` converts a ResNet-152 file in every way, runs the other jobs,
starts commands and loads weights; ``--scale`` converts training checkpoints from 100 MB to 5 GB and
shows whether memory stays flat and time linear. ``--plot FILE`` draws that, ``--record FILE`` puts
all figures between the two marks of a page. ``--check`` fails if a budget on memory or on bytes
read is broken: those are counts, the same on every machine. No check depends on time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import jobs
from benchmarks.budgets import clocks, counts, first_use_clocks
from benchmarks.first_use import first_uses
from benchmarks.report import Report


def measured(folder: Path, options: argparse.Namespace) -> Report:
    report = Report(runs=options.runs)
    if options.first_use:
        used = first_uses(folder, options.runs, options.depth)
        report.table("An unpublished name", used)
        report.budgets(first_use_clocks(used))
        return report
    converted = jobs.conversions(folder, options.runs, options.depth)
    report.table(f"A ResNet-{options.depth} file, converted", converted)
    report.table("The same weights, in other jobs", jobs.others(folder, options.runs))
    used = first_uses(folder, options.runs, options.depth)
    report.table("An unpublished name", used)
    started, loaded = jobs.starts(options.runs), jobs.loads(folder, options.runs)
    report.table("Start", started)
    report.table("Load", loaded)
    scaled = jobs.scaling(folder, min(options.runs, 3)) if options.scale or options.plot else {}
    for job in next(iter(scaled.values()), {}):
        report.table(
            f"A training checkpoint, a third of it weights: {job}",
            {f"{total} MB": found[job] for total, found in scaled.items()},
        )
    report.budgets(clocks(converted, started, loaded, scaled, used))
    if options.plot:
        from benchmarks.plot import draw

        draw(scaled, options.plot)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="how often each command is run")
    parser.add_argument("--depth", type=int, default=152, help="depth of the ResNet")
    parser.add_argument("--folder", type=Path, help="where the files lie; kept, and used again")
    parser.add_argument("--scale", action="store_true", help="also from 100 MB to 5 GB")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the scaling")
    parser.add_argument("--record", type=Path, metavar="FILE", help="put the figures into a page")
    parser.add_argument("--first-use", action="store_true", help="only unpublished names")
    parser.add_argument("--check", action="store_true", help="only the budgets that are counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if options.check:
            problems = counts(folder)
            print(*problems, sep="\n")
            return 1 if problems else 0
        report = measured(folder, options)
    if options.record:
        report.record(options.record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
