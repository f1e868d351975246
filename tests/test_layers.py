"""Imports go one way, and the package imports only what it needs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import detrex_hub

ROOT = Path(detrex_hub.__file__).parent

# Each layer may import from itself and from the layers before it.
LAYERS = (
    (
        "errors",
        "kinds",
        "specs",
        "floats",
        "redaction",
        "hashing",
        "heap",
        "locking",
        "own_files",
        "progress",
        "messages",
        "schema",
        "strict_json",
    ),
    ("staging", "seals", "retrying", "folder_files"),
    ("transfer",),
    ("mapping", "checkpoints", "pictures"),
    ("batch_norms",),
    ("architectures", "seeded", "computing"),
    ("catalogue",),
    ("records",),
    ("configs",),
    ("identify",),
    ("card",),
    ("repositories",),
    ("originals",),
    ("numerics",),
    ("materialising",),
    ("conversion",),
    ("local_conversions",),
    ("resolving", "fine_tuning"),
    ("loading", "verification", "inspection", "pinning", "cache_contents"),
    ("publishing", "detectron2", "checking", "comparison", "exporting", "zoo"),
    ("cli", "__main__"),
)


def layer_of(module):
    name = module.split(".")[1] if "." in module else ""
    for number, names in enumerate(LAYERS):
        if name in names:
            return number
    return -1 if name in ("", "__version__") else None


def imports(path):
    """(module, at the top level) of each module of this package that a file imports."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
            if node.module == "detrex_hub":
                names = [f"detrex_hub.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "detrex_hub")


@pytest.mark.parametrize(
    "path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_imports_go_one_way(path):
    relative = path.relative_to(ROOT).with_suffix("")
    here = layer_of("detrex_hub." + relative.parts[0].replace("__init__", ""))
    assert here is not None, f"{relative} is in no layer"
    if here < 0:
        return
    for name in imports(path):
        there = layer_of(name)
        assert there is not None, f"{relative} imports {name}, which is in no layer"
        assert there <= here, f"{relative} imports {name}"


@pytest.mark.parametrize("module", ["detrex_hub", "detrex_hub.checkpoints", "detrex_hub.cli.app"])
def test_importing_the_package_imports_little(module):
    script = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    loaded = set(done.stdout.split())
    assert not loaded & {
        "torch",
        "numpy",
        "huggingface_hub",
        "jinja2",
        "omegaconf",
        "safetensors",
        "rich",
    }


def test_loading_one_architecture_imports_no_other():
    script = (
        "import sys; from detrex_hub.architectures import architecture; architecture('resnet'); "
        "print(*(name for name in ('resnet', 'dino') if f'detrex_hub.architectures.{name}' "
        "in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["resnet"]
