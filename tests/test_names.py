"""Two things do not share a name if they mean different things."""

import ast
import re
from collections import Counter
from importlib import import_module
from pathlib import Path

import detrex_hub
from detrex_hub.cli.app import COMMANDS

ROOT = Path(detrex_hub.__file__).parent

SHARED_MODULES = {
    "__init__",
    "__main__",
    "safetensors",  # one format: a reader, and a writer
}

CAMEL_CASE = re.compile(r"[A-Z]\w*[a-z]\w*")


def modules():
    return [path.relative_to(ROOT) for path in sorted(ROOT.rglob("*.py"))]


def is_module(package, name):
    path = ROOT.parent.joinpath(*package.split("."), name)
    return path.is_dir() or path.with_suffix(".py").exists()


def named_after_its_subject(path):
    """A command, or the numbers of one architecture."""
    if path.parts[0] == "cli":
        return path.stem.replace("_", "-") in COMMANDS
    return path.parts[0] == "numerics" and (ROOT / "architectures" / path.name).exists()


def test_two_modules_do_not_share_a_name():
    paths = [path for path in modules() if not named_after_its_subject(path)]
    packages = [path.parent.name for path in paths if path.name == "__init__.py"]
    counts = Counter([*(path.stem for path in paths), *packages])
    assert {name for name, count in counts.items() if count > 1} <= SHARED_MODULES


def defined_types(path):
    """The public classes and type aliases of a module."""
    for node in ast.parse((ROOT / path).read_text()).body:
        if isinstance(node, ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [one.id for one in targets if isinstance(one, ast.Name)]
        else:
            continue
        yield from (name for name in names if CAMEL_CASE.fullmatch(name))


def test_two_types_do_not_share_a_name():
    # the types of the shared options are named after the options
    paths = [path for path in modules() if path != Path("cli/options.py")]
    counts = Counter(name for path in paths for name in defined_types(path))
    assert not {name for name, count in counts.items() if count > 1}


def test_a_function_that_shares_its_name_is_called_with_its_module():
    # the forward passes are named after the layers and models that they run
    paths = [path for path in modules() if path.parts[0] != "numerics"]
    trees = {path: ast.parse((ROOT / path).read_text()) for path in paths}
    counts = Counter(
        node.name
        for tree in trees.values()
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    )
    assert not [
        f"{path} imports {alias.name} of {node.module}"
        for path, tree in trees.items()
        if path.name != "__init__.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("detrex_hub")
        for alias in node.names
        if counts[alias.name] > 1 and not is_module(node.module, alias.name)
    ]


def test_every_exported_name_exists():
    for path in modules():
        if "__all__" not in (ROOT / path).read_text():
            continue
        parts = path.with_suffix("").parts
        module = import_module(
            ".".join(["detrex_hub", *(one for one in parts if one != "__init__")])
        )
        assert [name for name in module.__all__ if not hasattr(module, name)] == [], path
