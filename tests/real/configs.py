"""Load detrex's configs, also those that detectron2 fails to load."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any
from unittest import mock


def load(projects: Path, path: str) -> Any:
    """A config, as a training script would load it.

    Args:
        projects: detrex's folder of that name; the working directory is the one above.
        path: such as ``projects/detr/configs/detr_r50_300ep.py``.
    """
    import detrex.config
    from detectron2.config import LazyConfig

    real = detrex.config.get_config

    def get_config(name: str) -> Any:
        found = real(name)
        if name == "common/coco_schedule.py":
            # a config of Focus-DETR names a schedule that detrex does not have
            found.lr_multiplier_24_36ep = found.lr_multiplier_36ep
        return found

    with mock.patch.object(detrex.config, "get_config", get_config):
        try:
            return LazyConfig.load(str(projects.parent / path))
        except ImportError:
            return _imported(path)


def _imported(path: str) -> Any:
    """Mask DINO's configs import code by relative names, which LazyConfig refuses."""
    from omegaconf import OmegaConf

    name = path.removesuffix(".py").replace("/", ".")
    package = name.rpartition(".")[0]
    for known in [one for one in sys.modules if one.startswith(package)]:
        del sys.modules[known]
    module = importlib.import_module(name)
    nodes = {key: getattr(module, key) for key in ("model", "train", "dataloader")}
    return OmegaConf.create(nodes, flags={"allow_objects": True})
