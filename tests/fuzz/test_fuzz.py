"""A bounded run of each fuzz target, the same on every machine."""

import pytest

from tests.fuzz.seeds import READERS
from tests.fuzz.target import run

RUNS = 1000


@pytest.mark.parametrize("reader", READERS)
def test_damaged_files_are_read_or_refused(tmp_path, reader):
    read = run(reader, RUNS, tmp_path)
    # some files were read and some refused
    assert RUNS // 20 < read < RUNS
