"""The replay agrees with the real checkpointers on random models and files."""

from __future__ import annotations

import logging
import random

import pytest
import torch
from torch import nn

from detrex_hub.configs.lazy import keys_of
from detrex_hub.configs.matching import FileKeys, match
from detrex_hub.errors import CheckpointError
from tests.real.checkpointers import load

NAMES = ["a", "b", "norm", "conv", "x1"]


def random_model(dice, depth=0):
    from detectron2.layers import FrozenBatchNorm2d

    module = nn.Module()
    for name in dice.sample(NAMES, dice.randint(1, 3)):
        roll = dice.random()
        if roll < 0.3 and depth < 3:
            setattr(module, name, random_model(dice, depth + 1))
        elif roll < 0.6:
            setattr(module, name, nn.Linear(dice.choice([2, 3]), dice.choice([2, 3])))
        elif roll < 0.8:
            setattr(module, name, FrozenBatchNorm2d(dice.choice([2, 3])))
        else:
            setattr(module, name, nn.LayerNorm(dice.choice([2, 3])))
    return module


def random_file(dice, state):
    """Some of a model's tensors, under shortened names, some of them of another shape."""
    prefix = dice.choice(["", "", "module."])
    file = {}
    for key, tensor in state.items():
        if dice.random() < 0.25:
            continue
        parts = key.split(".")
        shorter = ".".join(parts[dice.choice([0, 0, 0, 1, 2]) :]) or key
        fits = dice.random() < 0.9
        file[prefix + shorter] = torch.randn(tensor.shape if fits else (7,))
    if dice.random() < 0.3:
        file[f"{prefix}extra.weight"] = torch.randn(2)
    return file


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("forced", [False, True], ids=["detectron2", "detrex's own"])
def test_the_replay_matches_the_checkpointers_on_random_files(seed, forced, tmp_path, caplog):
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.layers import FrozenBatchNorm2d

    if forced:
        from detrex.checkpoint import DetectionCheckpointer
    caplog.set_level(logging.CRITICAL)
    logging.disable(logging.CRITICAL)
    dice = random.Random(seed)
    refusals = cases = 0
    path = tmp_path / "file.pth"
    try:
        for _ in range(60):
            model = random_model(dice)
            file = random_file(dice, model.state_dict())
            if not file:
                continue
            cases += 1
            heuristics = forced or dice.random() < 0.5
            flag = {} if forced else {"matching_heuristics": heuristics}
            torch.save({"model": file, **flag}, path)
            keys = keys_of(model)
            shapes = {key: tuple(tensor.shape) for key, tensor in file.items()}
            try:
                ours = match(keys, FileKeys(shapes, heuristics))
            except CheckpointError:
                ours = None
            try:
                theirs = load(model, path, DetectionCheckpointer)
            except ValueError:
                theirs = None
            assert (ours is None) == (theirs is None), file.keys()
            if ours is None:
                refusals += 1
                continue
            # detectron2 counts a wrong shape as missing too, and statistics never
            lacking = {*ours.missing, *ours.wrong_shape}
            assert theirs.missing == lacking - keys.statistics
            assert theirs.wrong_shape <= ours.wrong_shape.keys()
            frozen = [m for m in model.modules() if isinstance(m, FrozenBatchNorm2d)]
            assert bool(frozen) == bool(keys.statistics)
            now = model.state_dict()
            for key, source in ours.loaded.items():
                assert torch.equal(now[key], file[source])
            loaded_from = set(ours.loaded.values())
            stripped = {key.removeprefix("module.") for key in ours.unexpected}
            assert {key.removeprefix("module.") for key in theirs.unexpected} <= (
                stripped | {source.removeprefix("module.") for source in file} - loaded_from
            )
    finally:
        logging.disable(logging.NOTSET)
    assert cases > 40
    assert not seed or refusals
