"""Measure what detrex's own configs load from their checkpoint files and from detrex-hub.

``python -m tests.real.survey [CONFIG...]`` needs detectron2 and detrex. With configs, such as
``projects/detr/configs/detr_r50_300ep.py``, it measures only these.

It does not rely on `detrex-hub check`: the stock checkpointer loads each file too, and so does
detrex's own copy, which always matches by suffix. The facts are written to
`tests/reference/detrex_configs.json.gz`. The tests replay them without detectron2, and the tables
of `docs/what-detrex-configs-load.md` are made from them.
"""

from __future__ import annotations

import copy
import gzip
import hashlib
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from detrex_hub import from_hub
from detrex_hub.checking import HEURISTICS, Check, examine
from detrex_hub.configs.lazy import keys_of, weightless
from detrex_hub.configs.matching import ModelKeys
from detrex_hub.configs.nodes import target_of
from detrex_hub.conversion import convert
from detrex_hub.errors import DetrexHubError
from tests.detrex_configs import RECORD, record, weights_for
from tests.real.checkpointers import Loaded, load
from tests.real.configs import load as load_config
from tests.real.originals import original


def configs(projects: Path, only: Collection[str]) -> Iterator[tuple[str, object, str | None]]:
    """Each config in detrex's `projects/` that names a file, and what detectron2 says if it fails
    to load it."""
    from detectron2.config import LazyConfig

    for path in sorted(projects.glob("*/configs/**/*.py")):
        name = str(path.relative_to(projects.parent))
        if only and name not in only:
            continue
        error = None
        try:
            cfg = LazyConfig.load(str(path))
        except Exception as raised:
            if 'init_checkpoint = "' not in path.read_text():
                continue
            said = f"{type(raised).__name__}: {raised}".replace(f"{projects.parent}/", "")
            error = " ".join(said.split())
            cfg = load_config(projects, name)
        if "model" in cfg and "train" in cfg and cfg.train.get("init_checkpoint"):
            yield name, cfg, error


def allocated(cfg):
    """A config's model on the CPU, not initialised."""
    from detectron2.config import instantiate

    if "device" in cfg.model:
        cfg.model.device = "cpu"
    with weightless():
        model = instantiate(cfg.model)
    return keys_of(model), model.to_empty(device="cpu")


def loaded_by(model, path, checkpointer=None) -> tuple[set[str], Loaded]:
    """The keys of the model that a checkpointer set, and its report."""
    for tensor in model.state_dict().values():
        # a number that no file holds
        tensor.fill_(-7)
    report = load(model, path, checkpointer)
    return {key for key, tensor in model.state_dict().items() if not (tensor == -7).all()}, report


def outcome(found: Check, really: set[str], report) -> dict[str, object]:
    """The result of a load, which `check` must have predicted."""
    foreseen = set(found.match.loaded)
    # detectron2 itself fills these, with 0 and 1
    assert foreseen == really - found.match.silent, sorted(foreseen ^ really)[:10]
    lacking = {*found.match.missing, *found.match.wrong_shape} - found.match.silent
    assert lacking == report.missing | report.wrong_shape, sorted(lacking ^ report.missing)[:10]
    return {
        "backbone": sum(key.startswith("backbone.") for key in foreseen),
        "all": len(foreseen),
        "reported_missing": len(report.missing),
        "sha256": digest(foreseen),
    }


def today(cfg, keys: ModelKeys, model, file: Path) -> dict[str, object]:
    """Load the published file with detectron2's checkpointer and with detrex's own."""
    from detrex.checkpoint import DetectionCheckpointer as Forcing

    found = examine(cfg, file, target=keys)
    forced = examine(cfg, f"{file}{HEURISTICS}", target=keys)
    return {
        "exact": outcome(found, *loaded_by(model, file)),
        "forced": outcome(forced, *loaded_by(model, file, Forcing)),
    }


def from_here(cfg, folder: Path, name: str) -> dict[str, object]:
    """Load the weights of the line ``from_hub(...)`` with the stock checkpointer."""
    path = from_hub(folder, model=cfg.model, dataloader=cfg.get("dataloader"))
    keys, model = allocated(cfg)
    found = examine(cfg, path, target=keys)
    assert found.passed, found.summary()
    return {
        "name": name,
        **outcome(found, *loaded_by(model, path)),
        "by_model": sum(key.startswith("backbone.") for key in found.absent),
    }


def survey(projects: Path, only: Collection[str] = ()) -> dict[str, object]:
    before = record() if only else {"configs": {}, "parts": {}}
    found: dict[str, dict[str, object]] = dict(before["configs"])
    parts: dict[str, dict[str, object]] = dict(before["parts"])
    cfgs = {}
    by_file: dict[tuple[str, str, str | None], list[str]] = {}
    for name, cfg, error in configs(projects, only):
        file = str(cfg.train.init_checkpoint)
        backbone = target_of(cfg.model.backbone).rpartition(".")[2]
        found[name] = {"file": file, "backbone": backbone} | ({"error": error} if error else {})
        weights = weights_for(name, file, backbone)
        cfgs[name] = cfg
        by_file.setdefault((Path(file).name, backbone, weights), []).append(name)
    for (_, _, weights), names in by_file.items():
        with tempfile.TemporaryDirectory() as scratch, fresh_cache(scratch):
            folder, path = None, None
            for name in names:
                cfg = cfgs[name]
                keys, model = allocated(copy.deepcopy(cfg))
                path = path or original(str(cfg.train.init_checkpoint), Path(scratch))
                found[name] |= {"keys": stored(keys, parts), **today(cfg, keys, model, path)}
                del model
            for name in names if weights else ():
                cfg = cfgs.pop(name)
                if folder is None:
                    folder = convert(weights, Path(scratch) / weights, synthetic=True).folder
                try:
                    found[name]["after"] = from_here(cfg, folder, weights)
                except DetrexHubError as error:
                    found[name]["after"] = {"name": weights, "refused": error.message}
                print(name, found[name], file=sys.stderr, flush=True)
    return {"configs": dict(sorted(found.items())), "parts": parts}


def stored(keys: ModelKeys, parts: dict[str, dict[str, object]]) -> list[str]:
    """A model's keys as names of parts that models share: the backbone and the rest."""
    names = []
    for part in (True, False):
        mine = [key for key in keys.shapes if _in(key) == part]
        document = {
            "shapes": {key: list(keys.shapes[key]) for key in mine},
            "statistics": sorted(keys.statistics.intersection(mine)),
            "swallowed": sorted(key for key in keys.swallowed if _in(key) == part),
            "ties": [list(group) for group in keys.ties if _in(group[0]) == part],
        }
        name = digest([json.dumps(document)])[:12]
        parts[name] = document
        names.append(name)
    return names


def _in(key: str) -> bool:
    return key.startswith("backbone.")


@contextmanager
def fresh_cache(scratch: str) -> Iterator[None]:
    from huggingface_hub import constants

    before, constants.HF_ASSETS_CACHE = constants.HF_ASSETS_CACHE, f"{scratch}/assets"
    try:
        yield
    finally:
        constants.HF_ASSETS_CACHE = before


def main() -> None:
    import detrex

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    projects = Path(detrex.__file__).parents[1] / "projects"
    os.chdir(projects.parent)
    facts = json.dumps(survey(projects, sys.argv[1:]), separators=(",", ":"))
    RECORD.write_bytes(gzip.compress(facts.encode(), mtime=0))


def digest(keys) -> str:
    return hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()


if __name__ == "__main__":
    main()
