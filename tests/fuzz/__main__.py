"""Run a target for a given number of runs."""

import argparse
import tempfile
from pathlib import Path

from tests.fuzz.seeds import READERS
from tests.fuzz.target import run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    # the folder is kept, so that a failing file can be inspected
    folder = Path(tempfile.mkdtemp(prefix="detrex-hub-fuzz-"))
    read = run(given.reader, given.runs, folder, seed=given.seed)
    print(f"{given.reader}: {given.runs} damaged files, {read} of them could be read all the same")
