"""Measure detrex-hub beside its peers in one run, and print one table of each job with ratios.

``python -m benchmarks`` converts a ResNet-152 file in every way there is, starts commands and loads
weights; ``--scale`` converts training checkpoints from 100 MB to 5 GB and shows whether memory
stays flat and time linear; ``--plot FILE`` draws that. ``--check`` fails where a budget on memory
or on bytes read is broken: those are counts, the same on every machine. Nothing fails on a clock.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks import files
from benchmarks.measuring import Command, Measurement, measure, measure_all

MIB = 2**20
PEAK_BUDGET = 80 * MIB
# A conversion reads its source to copy it, to hash it and to compare it, and its result once. The
# index, side files and a margin for the interpreter come on top.
READS_OF_SOURCE = 3
READS_OF_RESULT = 1
READ_MARGIN = 1.05

PYTHON = sys.executable
HUB = (PYTHON, "-m", "detrex_hub.cli")
TOTALS = (100, 300, 1000, 2500, 5000)
"""Sizes of the training checkpoints, in MB; a third of each is weights."""


def hub(*arguments: str | Path, **options: object) -> Command:
    return Command((*HUB, *arguments), **options)  # type: ignore[arg-type]


def peer(job: str, *arguments: str | Path, **options: object) -> Command:
    return Command((PYTHON, "-m", "benchmarks.peers", job, *arguments), **options)  # type: ignore[arg-type]


def conversions(folder: Path, runs: int, depth: int) -> dict[str, Measurement]:
    """A ResNet file converted in every way, and what the parts of that cost."""
    source, out = files.made("resnet", folder / f"resnet{depth}.pth", depth), folder / "out"
    single = folder / "out.pkl"

    def clean() -> None:
        shutil.rmtree(out, ignore_errors=True)
        single.unlink(missing_ok=True)

    found = measure_all(
        {
            "the tutorial's script": peer("tutorial", source, single, before=clean),
            "torch.load(mmap) + save_file": peer("torch_safetensors", source, single, before=clean),
            "import torch": peer("import_torch", source, single),
            "cp": Command(("cp", source, single), before=clean),
            "sha256sum": Command(("sha256sum", source)),
            "detrex-hub convert": hub("convert", source, "-o", out, "--quiet", before=clean),
            "detrex-hub convert, to .pkl": hub(
                "convert", source, "-o", single, "--quiet", before=clean
            ),
            "detrex-hub convert --dry-run": hub("convert", source, "--dry-run", "--quiet"),
        },
        runs=runs,
    )
    clean()
    return found


def starts(runs: int) -> dict[str, Measurement]:
    """What every call costs before it does anything."""
    return measure_all(
        {
            "python": Command((PYTHON, "-c", "pass")),
            "import typer": Command((PYTHON, "-c", "import typer")),
            "detrex-hub --help": hub("--help"),
            "detrex-hub list": hub("list"),
        },
        runs=runs,
    )


def loads(folder: Path, runs: int) -> dict[str, Measurement]:
    """``from_hub`` on a folder, cold and warm, beside torch rewriting the same tensors."""
    source = files.made("resnet", folder / "resnet152.pth", 152)
    out, rewritten, home = folder / "repo", folder / "rewritten.pth", folder / "hf-home"
    shutil.rmtree(out, ignore_errors=True)
    measure(hub("convert", source, "-o", out, "--quiet"))
    environment = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}

    def forget() -> None:
        shutil.rmtree(home, ignore_errors=True)

    found = measure_all(
        {
            "torch.load + torch.save": peer("torch_rewrite", source, rewritten),
            "from_hub, cold": peer("from_hub", out, before=forget, env=environment),
            "from_hub, warm": peer("from_hub", out, env=environment),
            "its imports alone": peer("import_loading"),
        },
        runs=runs,
    )
    rewritten.unlink()
    shutil.rmtree(out)
    forget()
    return found


def scaling(folder: Path, runs: int) -> dict[int, dict[str, Measurement]]:
    """Training checkpoints of so many MB, a third of that weights: by size and job."""
    found = {}
    for total in TOTALS:
        source, out = folder / f"detector-{total}.pth", folder / "out"
        files.made("detector", source, int(total * 1e6 / 3))

        def clean(out: Path = out) -> None:
            shutil.rmtree(out, ignore_errors=True)

        found[total] = measure_all(
            {
                "convert": hub("convert", source, "-o", out, "--quiet", before=clean),
                "convert --dry-run": hub("convert", source, "--dry-run", "--quiet"),
                "inspect": hub("inspect", source, "--quiet"),
            },
            runs=runs,
        )
        clean()
        source.unlink()
    return found


def table(title: str, rows: dict[str, Measurement], reference: str) -> None:
    """Print medians and ratios to one of the rows."""
    base = rows[reference].seconds
    width = max(map(len, rows))
    print(f"\n{title}\n")
    print(f"{'':{width}}  {'seconds':>8}  {'ratio':>6}  {'peak MiB':>8}  {'read MiB':>8}")
    for name, one in rows.items():
        print(
            f"{name:{width}}  {one.seconds:8.3f}  {one.seconds / base:6.2f}"
            f"  {one.peak / MIB:8.0f}  {one.read / MIB:8.0f}",
            flush=True,
        )


def check(folder: Path) -> list[str]:
    """The budgets that are counts, on small files: what is broken, one line each."""
    problems = []
    start = measure(hub("--version"))
    for source in (
        files.made("resnet", folder / "resnet50.pth", 50),
        files.made("detector", folder / "detector.pth", 200 * MIB),
    ):
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        one = measure(hub("convert", source, "-o", out, "--quiet"))
        result = (out / "model.safetensors").stat().st_size
        hashed = source.stat().st_size <= 2 * result
        allowed = (READS_OF_SOURCE - (not hashed)) * result + READS_OF_RESULT * result
        read = one.read - start.read
        if read > READ_MARGIN * allowed + 8 * MIB:
            problems.append(f"{source.name}: {read} bytes read, {allowed} would do")
        if one.peak > PEAK_BUDGET:
            problems.append(f"{source.name}: peak of {one.peak / MIB:.0f} MiB")
        print(f"{source.name}: peak {one.peak / MIB:.0f} MiB, read {read / MIB:.0f} MiB")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="how often each command is run")
    parser.add_argument("--depth", type=int, default=152, help="depth of the ResNet")
    parser.add_argument("--folder", type=Path, help="where the files lie; kept, and used again")
    parser.add_argument("--scale", action="store_true", help="also from 100 MB to 5 GB")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the scaling")
    parser.add_argument("--check", action="store_true", help="only the budgets that are counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if options.check:
            problems = check(folder)
            print(*problems, sep="\n")
            return 1 if problems else 0
        print(f"medians of {options.runs} runs, {os.cpu_count()} cores")
        rows = conversions(folder, options.runs, options.depth)
        table(f"A ResNet-{options.depth} file, converted", rows, "the tutorial's script")
        table("Start", starts(options.runs), "python")
        table("Load", loads(folder, options.runs), "torch.load + torch.save")
        if options.scale or options.plot:
            scaled = scaling(folder, min(options.runs, 3))
            for job in scaled[TOTALS[0]]:
                sizes = {f"{total} MB": found[job] for total, found in scaled.items()}
                title = f"{job} of a training checkpoint, a third of it weights"
                table(title, sizes, f"{TOTALS[0]} MB")
            if options.plot:
                from benchmarks.plot import draw

                draw(scaled, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
