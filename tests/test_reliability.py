"""`docs/reliability.md` names existing tests for every promise."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "reliability.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)))
TABLES = re.findall(
    r"\| # \| fault \|.*\n\|---.*\n((?:\|.*\n)+)\nThe tests of these rows:\n\n((?:- .*\n)+)", TEXT
)


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_every_named_test_exists(file, name):
    tree = ast.parse((ROOT / file).read_text())
    assert name in [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def test_every_row_names_a_test():
    assert len(TABLES) == TEXT.count("| # | fault |") > 0
    for table, tests in TABLES:
        rows = [re.split(r" \| ", row.strip("| \n")) for row in table.splitlines()]
        assert [row[0] for row in rows] == [str(number) for number in range(1, len(rows) + 1)]
        assert {len(row) for row in rows} == {4}
        shown = []
        for line in tests.splitlines():
            first, last = re.match(r"- (\d+)(?: (?:and|to) (\d+))?: `tests/", line).groups()
            assert re.search(r"`tests/[\w/]+\.py::test_\w+`", line), line
            shown += range(int(first), int(last or first) + 1)
        assert shown == [*range(1, len(rows) + 1)]


def test_cells_are_short():
    cells = [cell for table, _ in TABLES for cell in re.split(r" ?\| ?", table)]
    assert max(map(len, cells)) <= 160
