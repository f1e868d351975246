"""Measure detrex-hub beside its peers in one run, and print one table.

``python -m benchmarks`` converts a ResNet-152 file in every way there is; ``--scale`` converts
detectors from 100 MB to 5 GB and shows whether memory stays flat and time linear; ``--plot FILE``
draws that. ``--check`` fails where a budget on memory or on bytes read is broken: those are counts,
and the same on every machine. Nothing fails on a clock.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import files
from benchmarks.measuring import Measurement, measure

MIB = 2**20
PEAK_BUDGET = 80 * MIB
# A conversion reads its source to copy it, to hash it and to compare it, and its result once. The
# index, side files and a margin for the interpreter come on top.
READS_OF_SOURCE = 3
READS_OF_RESULT = 1
READ_MARGIN = 1.05

PYTHON = sys.executable
HUB = [PYTHON, "-m", "detrex_hub.cli"]


def peer(job: str, source: Path, target: Path) -> list[str | Path]:
    return [PYTHON, "-m", "benchmarks.peers", job, source, target]


def conversions(folder: Path, runs: int, depth: int) -> dict[str, Measurement]:
    """A ResNet file converted in every way, and what the parts of that cost."""
    source, out = files.resnet(folder / f"resnet{depth}.pth", depth), folder / "out"
    single = folder / "out.pkl"

    def clean() -> None:
        shutil.rmtree(out, ignore_errors=True)
        single.unlink(missing_ok=True)

    commands: dict[str, Sequence[str | Path]] = {
        "the tutorial's script": peer("tutorial", source, single),
        "torch.load(mmap) + save_file": peer("torch_safetensors", source, single),
        "import torch": peer("import_torch", source, single),
        "cp": ["cp", source, single],
        "sha256sum": ["sha256sum", source],
        "detrex-hub convert": [*HUB, "convert", source, "-o", out, "--quiet"],
        "detrex-hub convert, to .pkl": [*HUB, "convert", source, "-o", single, "--quiet"],
        "detrex-hub convert --dry-run": [*HUB, "convert", source, "--dry-run", "--quiet"],
    }
    found = {}
    for name, command in commands.items():
        found[name] = measure(command, runs=runs, before=clean)
    clean()
    return found


def starts(runs: int) -> dict[str, Measurement]:
    """What every call costs before it does anything."""
    return {
        "python": measure([PYTHON, "-c", "pass"], runs=runs),
        "import typer": measure([PYTHON, "-c", "import typer"], runs=runs),
        "detrex-hub --help": measure([*HUB, "--help"], runs=runs),
        "detrex-hub list": measure([*HUB, "list"], runs=runs),
    }


def loads(folder: Path, runs: int) -> dict[str, Measurement]:
    """``from_hub`` on a folder, cold and warm, beside torch rewriting the same tensors."""
    source = files.resnet(folder / "resnet152.pth")
    out, rewritten, home = folder / "repo", folder / "rewritten.pth", folder / "hf-home"
    measure([*HUB, "convert", source, "-o", out, "--quiet"], runs=1)
    environment = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}

    def forget() -> None:
        shutil.rmtree(home, ignore_errors=True)

    warm = [PYTHON, "-m", "benchmarks.peers", "from_hub", out, rewritten]
    found = {
        "torch.load + torch.save": measure(peer("torch_rewrite", source, rewritten), runs=runs),
        "from_hub, cold": measure(warm, runs=runs, before=forget, env=environment),
        "from_hub, warm": measure(warm, runs=runs, env=environment),
        "import detrex_hub.loading": measure(
            [PYTHON, "-c", "import detrex_hub.loading, huggingface_hub.constants"], runs=runs
        ),
    }
    rewritten.unlink()
    shutil.rmtree(out)
    forget()
    return found


def scaling(folder: Path, weights: Sequence[int], runs: int) -> dict[int, Measurement]:
    """Training checkpoints with so many bytes of weights, three times that in all, converted."""
    found = {}
    for size in weights:
        source, out = folder / f"detector-{size}.pth", folder / "out"
        files.detector_with_optimizer(source, size)
        measure([*HUB, "inspect", source, "--quiet"], runs=1)
        found[size] = measure(
            [*HUB, "convert", source, "-o", out, "--quiet"],
            runs=runs,
            before=lambda out=out: shutil.rmtree(out, ignore_errors=True),  # type: ignore[misc]
        )
        shutil.rmtree(out)
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
            f"  {one.peak / MIB:8.0f}  {one.read / MIB:8.0f}"
        )


def check(folder: Path) -> list[str]:
    """The budgets that are counts, on small files: what is broken, one line each."""
    problems = []
    start = measure([*HUB, "--version"], runs=1)
    for source in (
        files.resnet(folder / "resnet50.pth", 50),
        files.detector_with_optimizer(folder / "detector.pth", 200 * MIB),
    ):
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        one = measure([*HUB, "convert", source, "-o", out, "--quiet"], runs=1)
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
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the scaling, as SVG")
    parser.add_argument("--check", action="store_true", help="only the budgets that are counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if options.check:
            problems = check(folder)
            print(*problems, sep="\n")
            return 1 if problems else 0
        rows = conversions(folder, options.runs, options.depth)
        table(f"A ResNet-{options.depth} file, converted", rows, "the tutorial's script")
        table("Start", starts(options.runs), "python")
        table("Load", loads(folder, options.runs), "torch.load + torch.save")
        if options.scale or options.plot:
            weights = [int(total * 1e6 / 3) for total in (100, 300, 1000, 2500, 5000)]
            scaled = scaling(folder, weights, min(options.runs, 3))
            named = {f"{3 * size / 1e6:.0f} MB file": one for size, one in scaled.items()}
            table("Training checkpoints, a third of them weights", named, next(iter(named)))
            if options.plot:
                from benchmarks.plot import draw

                options.plot.write_text(draw(scaled))
    return 0


if __name__ == "__main__":
    sys.exit(main())
