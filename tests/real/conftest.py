"""Tests that need the real detectron2 and detrex, neither of which is on the package index.

With both on PYTHONPATH: ``python -m pytest tests/real``.
"""

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

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


@pytest.fixture
def config(projects):
    """`config("projects/detr/configs/detr_r50_300ep.py")`, loaded as a training script does."""
    from detectron2.config import LazyConfig
    from omegaconf import OmegaConf

    def load(path):
        try:
            return LazyConfig.load(str(projects.parent / path))
        except ImportError:
            # Mask DINO's configs import code by relative names, which LazyConfig refuses
            name = path.removesuffix(".py").replace("/", ".")
            package = name.rpartition(".")[0]
            for known in [one for one in sys.modules if one.startswith(package)]:
                del sys.modules[known]
            module = importlib.import_module(name)
            nodes = {key: getattr(module, key) for key in ("model", "train", "dataloader")}
            return OmegaConf.create(nodes, flags={"allow_objects": True})

    return load
