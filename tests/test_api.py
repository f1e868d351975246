"""The public API is typed, documented with examples, and imported on first use."""

import ast
import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import detrex_hub

ROOT = Path(detrex_hub.__file__).parents[1]
FUNCTIONS = sorted(set(detrex_hub.__all__) - {"__version__", "DetrexHubError"})

# each wrong line ends with a comment that names its error
USER_FILE = """
from detrex_hub import apply_overrides, convert, diff, from_hub, list_weights, load_state_dict, push

path: str = from_hub("detrex/r101_v2", prefix="auto")
push("./r101_v2", "alice/r101_v2", private=True)
names = [entry.name for entry in list_weights("resnet")]

from_hub(123)  # arg-type
convert("r101_v2", dryrun=True)  # call-arg
equal: str = diff("a.pth", "b.pth").equal  # assignment
"""


def test_mypy_finds_each_wrong_call_in_a_users_file(tmp_path):
    file = tmp_path / "user.py"
    file.write_text(USER_FILE)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    lines = [line for line in checked.stdout.splitlines() if ": error: " in line]
    expected = [
        (number, line.rpartition("# ")[2])
        for number, line in enumerate(USER_FILE.splitlines(), 1)
        if "  # " in line
    ]
    found = [(int(line.split(":")[1]), line.rpartition("[")[2].rstrip("]")) for line in lines]
    assert found == expected, checked.stdout + checked.stderr


def test_type_checkers_see_the_same_names_as_the_run_time():
    tree = ast.parse(Path(detrex_hub.__file__).read_text())
    seen = {
        name.asname: node.module.removeprefix("detrex_hub.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("detrex_hub.")
        for name in node.names
    }
    assert seen == detrex_hub._MODULES


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_an_example_that_imports_it(name):
    examples = doctest.DocTestParser().get_examples(getattr(detrex_hub, name).__doc__)
    assert examples[0].source == f"from detrex_hub import {name}\n"
    for example in examples:
        compile(example.source, name, "single")


def test_a_misspelt_option_is_named():
    with pytest.raises(TypeError, match="dryrun"):
        detrex_hub.convert("r101_v2", dryrun=True)
    with pytest.raises(TypeError, match="synthtic"):
        detrex_hub.convert_and_push("r101_v2", synthtic=True)


def test_every_function_names_its_options():
    for path in (ROOT / "detrex_hub").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.args.kwarg is not None:
                assert node.args.kwarg.arg != "options", f"{path}:{node.lineno}"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        detrex_hub.no_such_name  # noqa: B018


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "detrex_hub", "--version"], capture_output=True, text=True
    )
    assert done.stdout == f"detrex-hub {detrex_hub.__version__}\n"
