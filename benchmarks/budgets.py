"""The budgets of detrex-hub. Counts are checked; times are only printed beside their budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import files
from benchmarks.first_use import CACHED, FIRST_USE, PUBLISHED
from benchmarks.first_use import SCRIPT as FROM_NOTHING
from benchmarks.jobs import (
    CONVERT,
    SCRIPT,
    TOTALS,
    WEIGHTS,
    Measurements,
    clear,
    convert,
    converted,
    hub,
    peer,
)
from benchmarks.measuring import Command, measure

MIB = 2**20
PEAK = 80 * MIB
"""The largest resident memory of any job. Importing torch alone takes more, so no job does."""

# a factor for the bytes that must be read, and the bytes of code, indexes and records
_READ_MARGIN, _READ_BESIDE = 1.02, 6 * MIB
# the blocks of a materialised file that a load compares with its seal
_SAMPLED = 17 * 2**17


@dataclass(frozen=True)
class Verdict:
    """One budget, what was measured, and whether it holds."""

    what: str
    budget: str
    measured: str
    holds: bool


def counts(folder: Path) -> list[str]:
    """Check peak memory and bytes read of every job on small files. Returns one line for each
    broken budget."""
    resnet = files.made("resnet", folder / "resnet50.pth", 50)
    detector = files.made("detector", folder / "detector.pth", 2)
    made, trained = converted(folder, resnet), folder / "trained"
    out, pth, pkl = folder / "out", folder / "out.pth", folder / "out.pkl"
    root, home = folder / "hub", folder / "hf-home"
    offline = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    source, weights = resnet.stat().st_size, (made / WEIGHTS).stat().st_size
    # the source is copied and compared, and the written file is read once
    moved = 2 * weights + weights
    measure(convert(detector, trained))
    of_detector = 3 * (trained / WEIGHTS).stat().st_size
    jobs: dict[str, tuple[Command, int]] = {
        "convert": (convert(resnet, out), source + moved),
        "convert to .pth": (convert(resnet, pth), moved),
        "convert to .pkl": (convert(resnet, pkl), moved),
        "convert a training checkpoint": (convert(detector, out), of_detector),
        "convert for 3 classes": (convert(detector, out, "--num-classes", "3"), of_detector),
        "convert --dry-run": (hub("convert", detector, "--dry-run"), 0),
        "inspect": (hub("inspect", detector), 0),
        "from_hub, cold": (peer("from_hub", made, env=offline), weights),
        "from_hub, warm": (peer("from_hub", made, env=offline), _SAMPLED),
        "export": (hub("export", made, "-o", pth), moved),
        "diff": (hub("diff", made, resnet, code=1), source + weights),
        "verify --no-source": (hub("verify", made, "--no-source"), weights),
        # the source is hashed and copied, and the copy is hashed
        "push --to": (hub("push", made, "--to", root), 3 * weights),
        "push --to, unchanged": (hub("push", made, "--to", root), 2 * weights),
    }
    problems = []
    for name, (command, wanted) in jobs.items():
        one = measure(command)
        print(f"{name:30} peak {one.peak / MIB:3.0f} MiB, read {one.read / MIB:4.0f} MiB")
        allowed = int(_READ_MARGIN * wanted) + _READ_BESIDE
        if one.read > allowed:
            problems.append(f"{name}: {one.read} bytes read, {allowed} would do")
        if one.peak > PEAK:
            problems.append(f"{name}: peak of {one.peak / MIB:.0f} MiB, {PEAK // MIB} are allowed")
    clear(made, trained, out, pth, pkl, root, home)
    return problems


def clocks(
    converted: Measurements,
    started: Measurements,
    loaded: Measurements,
    scaled: Mapping[int, Measurements],
    used: Measurements,
) -> list[Verdict]:
    """The budgets of wall time, and of memory of large files."""
    found: list[Verdict] = []

    def most(what: str, measured: float, budget: float, unit: str) -> None:
        found.append(
            Verdict(what, f"<= {budget:.3g} {unit}", f"{measured:.3g} {unit}", measured <= budget)
        )

    # to a folder with records and card, and to the file that the script writes
    for command in (CONVERT, f"{CONVERT}, to .pkl"):
        ratio = converted[command].seconds / converted[SCRIPT].seconds
        most(command, ratio, 0.30, f"of {SCRIPT}")
        most(f"{command}: peak", converted[command].peak / MIB, PEAK / MIB, "MiB")
    for command, seconds in (("detrex-hub --help", 0.2), ("detrex-hub list", 0.25)):
        most(command, started[command].seconds, seconds, "s")
    imports = loaded["its imports alone"].seconds
    most("from_hub, warm: beyond imports", loaded["from_hub, warm"].seconds - imports, 0.05, "s")
    rewriting = loaded["torch.load + torch.save"].seconds
    cold = loaded["from_hub, cold"].seconds
    most("from_hub, cold", cold / rewriting, 1, "of torch.load + torch.save")
    found += first_use_clocks(used)
    if scaled:
        small, large = scaled[TOTALS[1]], scaled[TOTALS[-1]]
        most(f"{CONVERT}, {TOTALS[-1]} MB: peak", large[CONVERT].peak / MIB, PEAK / MIB, "MiB")
        per_byte = large[CONVERT].seconds / TOTALS[-1] / (small[CONVERT].seconds / TOTALS[1])
        most(f"{CONVERT}, {TOTALS[-1]} MB", per_byte, 1.5, f"of the time per MB at {TOTALS[1]} MB")
        for command in (f"{CONVERT} --dry-run", "detrex-hub inspect"):
            most(f"{command}, {TOTALS[-1]} MB", large[command].seconds, 0.5, "s")
    return found


def first_use_clocks(used: Measurements) -> list[Verdict]:
    """The budgets of an unpublished name."""
    first, cached = used[FIRST_USE], used[CACHED]
    ratio = first.seconds / used[FROM_NOTHING].seconds
    beyond = cached.seconds - used["its imports alone"].seconds
    as_published = cached.seconds / used[PUBLISHED].seconds
    return [
        Verdict(FIRST_USE, f"<= 0.35 of {FROM_NOTHING}", f"{ratio:.3g}", ratio <= 0.35),
        Verdict(
            f"{FIRST_USE}: peak",
            f"<= {PEAK // MIB} MiB",
            f"{first.peak / MIB:.0f} MiB",
            first.peak <= PEAK,
        ),
        Verdict(f"{CACHED}: beyond imports", "<= 0.05 s", f"{beyond:.3g} s", beyond <= 0.05),
        # two medians of the same work differ by as much
        Verdict(CACHED, f"<= 1.1 of {PUBLISHED}", f"{as_published:.3g}", as_published <= 1.1),
    ]
