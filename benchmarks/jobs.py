"""The measured jobs: commands of this package, and other ways to do the same."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from benchmarks import files
from benchmarks.measuring import Command, Measurement, measure, measure_all

Measurements = dict[str, Measurement]
"""Measurements by job. The others are compared with the first."""

WEIGHTS = "model.safetensors"
SCRIPT = "the tutorial's script"
CONVERT = "detrex-hub convert"
TOTALS = (100, 300, 1000, 2500, 5000)
"""Sizes of the training checkpoints, in MB; a third of each is weights."""

_PYTHON = sys.executable


def hub(*arguments: str | Path, **options: object) -> Command:
    """A command of this package."""
    return Command((_PYTHON, "-m", "detrex_hub", *arguments), **options)  # type: ignore[arg-type]


def peer(job: str, *arguments: str | Path, **options: object) -> Command:
    """Another way, in a process of its own."""
    return Command((_PYTHON, "-m", "benchmarks.peers", job, *arguments), **options)  # type: ignore[arg-type]


def convert(source: Path, target: Path, *arguments: str) -> Command:
    return hub("convert", source, "-o", target, "--quiet", *arguments, before=lambda: clear(target))


def clear(*paths: Path) -> None:
    """Remove the output of the turn before."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)


def converted(folder: Path, source: Path) -> Path:
    """A converted folder."""
    made = folder / "converted"
    measure(convert(source, made))
    return made


def conversions(folder: Path, runs: int, depth: int) -> Measurements:
    """A ResNet file converted in every way, and the parts of that work alone."""
    source = files.made("resnet", folder / f"resnet{depth}.pth", depth)
    out, single, copy = folder / "out", folder / "out.pkl", folder / "out.pth"

    def other(job: str) -> Command:
        return peer(job, source, single, before=lambda: clear(single))

    found = measure_all(
        {
            SCRIPT: other("tutorial"),
            "torch.load(mmap) + save_file": other("torch_safetensors"),
            "import torch": other("import_torch"),
            "cp": Command(("cp", source, single), before=lambda: clear(single)),
            "sha256sum": Command(("sha256sum", source)),
            CONVERT: convert(source, out),
            f"{CONVERT}, to .pkl": convert(source, single),
            f"{CONVERT}, to .pth": convert(source, copy),
            f"{CONVERT} --dry-run": hub("convert", source, "--dry-run", "--quiet"),
        },
        runs=runs,
    )
    clear(out, single, copy)
    return found


def others(folder: Path, runs: int) -> Measurements:
    """The other commands that move or read the weights of a converted folder."""
    source = files.made("resnet", folder / "resnet152.pth", 152)
    made, root, back = converted(folder, source), folder / "hub", folder / "back.pth"
    weights, copy = made / WEIGHTS, folder / "copy"
    found = measure_all(
        {
            "cp": Command(("cp", weights, copy), before=lambda: clear(copy)),
            "sha256sum": Command(("sha256sum", weights)),
            "detrex-hub inspect": hub("inspect", source, "--quiet"),
            "detrex-hub verify --no-source": hub("verify", made, "--no-source", "--quiet"),
            "detrex-hub diff, with the original": hub("diff", made, source, "--quiet", code=1),
            "detrex-hub export": hub("export", made, "-o", back, "--quiet"),
            "detrex-hub push --to": hub(
                "push", made, "--to", root, "--quiet", before=lambda: clear(root)
            ),
            "detrex-hub push --to, unchanged": hub("push", made, "--to", root, "--quiet"),
        },
        runs=runs,
    )
    clear(made, root, back, copy)
    return found


def starts(runs: int) -> Measurements:
    """The start of a command or an import, before any work."""
    return measure_all(
        {
            "python": Command((_PYTHON, "-c", "pass")),
            "import detrex_hub": Command((_PYTHON, "-c", "import detrex_hub")),
            "import typer": Command((_PYTHON, "-c", "import typer")),
            "detrex-hub --help": hub("--help"),
            "detrex-hub list": hub("list"),
        },
        runs=runs,
    )


def loads(folder: Path, runs: int) -> Measurements:
    """``from_hub`` on a folder, cold and warm, beside torch rewriting the same tensors."""
    source = files.made("resnet", folder / "resnet152.pth", 152)
    made, rewritten, home = converted(folder, source), folder / "again.pth", folder / "hf-home"
    environment = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    found = measure_all(
        {
            "torch.load + torch.save": peer("torch_rewrite", source, rewritten),
            "from_hub, cold": peer("from_hub", made, before=lambda: clear(home), env=environment),
            "from_hub, warm": peer("from_hub", made, env=environment),
            "its imports alone": peer("import_loading"),
        },
        runs=runs,
    )
    clear(made, rewritten, home)
    return found


def scaling(folder: Path, runs: int) -> dict[int, Measurements]:
    """Conversions of training checkpoints by their size in MB, of which a third is weights."""
    found = {}
    for total in TOTALS:
        source, out, saved = folder / f"training-{total}.pth", folder / "out", folder / "saved"
        files.made("backbone", source, int(total * 1e6 / 3))
        found[total] = measure_all(
            {
                CONVERT: convert(source, out),
                f"{CONVERT} --dry-run": hub("convert", source, "--dry-run", "--quiet"),
                "detrex-hub inspect": hub("inspect", source, "--quiet"),
                "torch.load(mmap) + save_file": peer(
                    "torch_safetensors", source, saved, before=lambda path=saved: clear(path)
                ),
            },
            runs=runs,
        )
        clear(source, out, saved)
    return found
