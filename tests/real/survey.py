"""What detrex's own configs load of the files that they name, and what of the same weights from
here: ``python -m tests.real.survey``, where detectron2 and detrex are at hand.

It takes `detrex-hub check`'s word for nothing: each file is loaded by the stock checkpointer too,
and by detrex's own copy, which matches by suffix whatever the file says. The facts go to
`tests/reference/detrex_configs.json.gz`; the tests replay them without detectron2, and
`docs/what-detrex-configs-load.md` has its tables from there.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from detrex_hub import from_hub
from detrex_hub.checking import HEURISTICS, Check, examine
from detrex_hub.configs.lazy import keys_of, weightless
from detrex_hub.configs.matching import ModelKeys
from detrex_hub.configs.settings import class_of
from detrex_hub.conversion import convert
from detrex_hub.errors import DetrexHubError
from tests.detrex_configs import RECORD, entry_of
from tests.real.checkpointers import Loaded, load
from tests.real.originals import original

# weights for configs that name a file of another model
INSTEAD = {
    "deta_swin_large_finetune_24ep": "swin_large_patch4_window12_384_22kto1k",
    "detr_r101_300ep": "r101_v1",
    "conditional_detr_r101_50ep": "r101_v1",
    "pnp_detr_r101_300ep": "r101_v1",
}


def configs(projects: Path) -> Iterator[tuple[str, object]]:
    """Each config in detrex's `projects/` that names a file, or the error of loading it."""
    from detectron2.config import LazyConfig

    for path in sorted(projects.glob("*/configs/**/*.py")):
        name = str(path.relative_to(projects.parent))
        try:
            cfg = LazyConfig.load(str(path))
        except Exception as error:
            if 'init_checkpoint = "' in path.read_text():
                yield name, " ".join(f"{type(error).__name__}: {error}".split())
            continue
        if "model" in cfg and "train" in cfg and cfg.train.get("init_checkpoint"):
            yield name, cfg


def allocated(cfg):
    """A config's model on the CPU, not initialised."""
    from detectron2.config import instantiate

    cfg.model.device = "cpu" if "device" in cfg.model else None
    with weightless():
        model = instantiate(cfg.model)
    return keys_of(model), model.to_empty(device="cpu")


def loaded_by(model, path, checkpointer=None) -> tuple[set[str], Loaded]:
    """Keys of the model that a checkpointer really set, and its report."""
    for tensor in model.state_dict().values():
        # a number that no file holds
        tensor.fill_(-7)
    report = load(model, path, checkpointer)
    return {key for key, tensor in model.state_dict().items() if not (tensor == -7).all()}, report


def outcome(found: Check, really: set[str], report) -> dict[str, object]:
    """What a load did, after `check` foresaw the same."""
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
    """What a file does as it is: by detectron2's checkpointer and by detrex's own."""
    from detrex.checkpoint import DetectionCheckpointer as Forcing

    found = examine(cfg, file, target=keys)
    forced = examine(cfg, f"{file}{HEURISTICS}", target=keys)
    return {
        "exact": outcome(found, *loaded_by(model, file)),
        "forced": outcome(forced, *loaded_by(model, file, Forcing)),
    }


def from_here(cfg, folder: Path, name: str) -> dict[str, object]:
    """What the line ``from_hub(...)`` does, with the stock checkpointer."""
    path = from_hub(folder, model=cfg.model, dataloader=cfg.get("dataloader"))
    keys, model = allocated(cfg)
    found = examine(cfg, path, target=keys)
    assert found.passed, found.summary()
    return {
        "name": name,
        **outcome(found, *loaded_by(model, path)),
        "by_model": sum(key.startswith("backbone.") for key in found.absent),
    }


def survey(projects: Path) -> dict[str, object]:
    found: dict[str, dict[str, object]] = {}
    parts: dict[str, dict[str, object]] = {}
    cfgs = {}
    by_file: dict[tuple[str, str, str | None], list[str]] = {}
    for name, cfg in configs(projects):
        if isinstance(cfg, str):
            found[name] = {"error": cfg}
            continue
        file = str(cfg.train.init_checkpoint)
        backbone = class_of(cfg.model.backbone)
        weights = INSTEAD.get(Path(name).stem) or entry_of(file)
        if weights and backbone == "TorchvisionResNet":
            weights += "_torchvision"
        cfgs[name] = cfg
        found[name] = {"file": file, "backbone": backbone}
        by_file.setdefault((Path(file).name, backbone, weights), []).append(name)
    for (_, _, weights), names in by_file.items():
        with tempfile.TemporaryDirectory() as scratch, fresh_cache(scratch):
            folder, path = None, None
            for name in names:
                cfg = cfgs[name]
                keys, model = allocated(copy.deepcopy(cfg))
                path = path or original(str(cfg.train.init_checkpoint), Path(scratch), keys.shapes)
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
    """A model's keys as names of parts, most of which models share: the backbone and the rest."""
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
    facts = json.dumps(survey(projects), separators=(",", ":"))
    RECORD.write_bytes(gzip.compress(facts.encode(), mtime=0))


def digest(keys) -> str:
    return hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()


if __name__ == "__main__":
    main()
