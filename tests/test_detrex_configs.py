"""The replay agrees with the recorded loads of the real checkpointers for detrex's own configs."""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import cache

import pytest

from detrex_hub.configs.matching import FileKeys, ModelKeys, match
from tests.detrex_configs import (
    DOCUMENT,
    keys_of,
    loaded_of,
    new_of,
    record,
    shapes_of,
    surveyed,
    written,
)


@cache
def replayed(keys: tuple[str, ...], file: str, heuristics: bool):
    """Configs of one model and one file share a replay."""
    name = next(one for one in surveyed() if tuple(record()["configs"][one]["keys"]) == keys)
    model = keys_of(name)
    return match(model, FileKeys(shapes_of(file), heuristics))


@pytest.mark.parametrize("how", ["exact", "forced"])
def test_the_replay_predicts_the_real_checkpointers(how):
    for name in surveyed():
        facts = record()["configs"][name]
        heuristics = how == "forced" or facts["file"].endswith(".pkl")
        found = replayed(tuple(facts["keys"]), facts["file"], heuristics)
        really = facts[how]
        assert len(found.loaded) == really["all"], name
        digest = hashlib.sha256("\n".join(sorted(found.loaded)).encode()).hexdigest()
        assert digest == really["sha256"], name
        # a wrong shape is also reported as missing, a filled-in statistic is not
        reported = {*found.missing, *found.wrong_shape} - found.silent
        assert len(reported) == really["reported_missing"], name


def test_most_configs_load_nothing_from_their_checkpoint():
    count = Counter(bool(loaded_of(name, "exact")[0]) for name in surveyed())
    assert count == {True: 45, False: 63}
    assert sum("error" in facts for facts in record()["configs"].values()) == 5


def test_from_hub_loads_the_whole_file():
    # also configs that detectron2 itself cannot load
    assert len(record()["configs"]) == 113
    for name in record()["configs"]:
        loaded, of = loaded_of(name, "after")
        assert loaded + new_of(name) == of, name


def test_the_document_matches_the_record():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == written(text), "write it again: python -m tests.detrex_configs"


def test_the_three_r101_configs_miss_more_than_the_log_says():
    name = "projects/detr/configs/detr_r101_300ep.py"
    model: ModelKeys = keys_of(name)
    found = match(model, FileKeys(shapes_of("R-50.pkl"), heuristics=True))
    missing = [key for key in found.missing if key.startswith("backbone.")]
    assert len(missing) == 255
    assert len(set(missing) - found.silent) == 153
