"""Tests with the real detectron2 and detrex, which are not on the package index.

With both on PYTHONPATH: ``python -m pytest tests/real``.
"""

import importlib.util
import os
import shutil
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from tests.real import configs

_HERE = Path(__file__).parent
_MISSING = [name for name in ("detectron2", "detrex") if importlib.util.find_spec(name) is None]


def pytest_collection_modifyitems(items):
    for item in items:
        if not item.path.is_relative_to(_HERE):
            continue
        item.add_marker("real")
        if _MISSING:
            why = f"needs {' and '.join(_MISSING)}, not installed here"
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(autouse=True)
def own_cache(hub, tmp_path):
    yield hub
    # checkpoints of real sizes, which pytest would keep
    shutil.rmtree(tmp_path)


@pytest.fixture(scope="session")
def projects():
    """detrex's `projects/`, found beside the package."""
    import detrex

    folder = Path(detrex.__file__).parents[1] / "projects"
    # CO-MOT's configs import its evaluator, which no model needs
    sys.modules.setdefault("trackeval", ModuleType("trackeval"))
    before = Path.cwd()
    # its configs name each other from there
    os.chdir(folder.parent)
    yield folder
    os.chdir(before)


@pytest.fixture(autouse=True)
def norms_for_timm(monkeypatch):
    """timm passes its norms a device and a type, which detectron2's FrozenBatchNorm2d refuses.
    detrex then exits."""
    if _MISSING:
        return
    from detectron2.layers import FrozenBatchNorm2d

    made = FrozenBatchNorm2d.__init__

    def init(self, *args, device=None, dtype=None, **named):
        made(self, *args, **named)

    monkeypatch.setattr(FrozenBatchNorm2d, "__init__", init)


@pytest.fixture
def config(projects):
    """`config("projects/detr/configs/detr_r50_300ep.py")`, loaded as a training script does."""
    return partial(configs.load, projects)
