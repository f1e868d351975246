"""`docs/reliability.md` names existing tests for every promise."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "reliability.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)))
ROWS = [
    line
    for line in TEXT.splitlines()
    if line.startswith("|") and not line.startswith(("| fault", "|---"))
]


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_every_named_test_exists(file, name):
    tree = ast.parse((ROOT / file).read_text())
    assert name in [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def test_every_row_names_a_test():
    assert ROWS
    for row in ROWS:
        assert row.count(" | ") >= 3, row
        assert re.search(r"`tests/[\w/]+\.py::test_\w+`", row.rpartition(" | ")[2]), row
