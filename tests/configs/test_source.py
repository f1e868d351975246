"""Lines of a config are read and corrected without running it."""

from __future__ import annotations

import pytest

from detrex_hub.configs.assignments import Expression, assigned, corrected
from detrex_hub.errors import ConfigError

CONFIG = '''"""A config."""
from detrex.config import get_config
from .models.dino_r50 import model

train = get_config("common/train.py").train
optimizer, dataloader = get_config("a.py").optimizer, get_config("b.py").dataloader

# modify training config
train.init_checkpoint = "detectron2://ImageNetPretrained/torchvision/R-50.pkl"  # as ever
train.max_iter = 90000
if True:
    train.init_checkpoint = "elsewhere"
model.pixel_std = [
    1.0,
    1.0,
    1.0,
]
model.neck.num_outs = train.max_iter
train.output_dir = "./output"
'''


def test_assignments_are_read_from_the_source():
    assert assigned(CONFIG, "train.init_checkpoint").endswith("R-50.pkl")
    assert assigned(CONFIG, "train.max_iter") == 90000
    assert assigned(CONFIG, "model.neck.num_outs") is None
    assert assigned(CONFIG, "train.seed") is None


def test_an_existing_line_is_corrected_in_place():
    after = corrected(CONFIG, {"train.init_checkpoint": "x.pth?matching_heuristics=True"})
    assert after == CONFIG.replace(
        '"detectron2://ImageNetPretrained/torchvision/R-50.pkl"  # as ever',
        "'x.pth?matching_heuristics=True'",
    )


def test_a_value_over_several_lines_becomes_one_line():
    after = corrected(CONFIG, {"model.pixel_std": [58.395, 57.12, 57.375]})
    assert "model.pixel_std = [58.395, 57.12, 57.375]\nmodel.neck" in after
    compile(after, "config.py", "exec")


def test_other_values_are_appended_at_the_end():
    after = corrected(
        CONFIG,
        {
            "model.neck.num_outs": 5,
            "dataloader.test.0.mapper.img_format": "RGB",
            "model.backbone.stages.stride_in_1x1": None,
        },
    )
    assert after.startswith(CONFIG)
    assert after[len(CONFIG) :].splitlines()[2:] == [
        "model.neck.num_outs = 5",
        "dataloader.test[0].mapper.img_format = 'RGB'",
        "model.backbone.stages.pop('stride_in_1x1', None)",
    ]


def test_an_expression_comes_last_with_its_import():
    call = Expression('from_hub("detrex/r101_v2", model=model)', "from detrex_hub import from_hub")
    after = corrected(CONFIG, {"train.init_checkpoint": call})
    assert after.startswith(CONFIG)
    assert after.splitlines()[-2:] == [
        "from detrex_hub import from_hub",
        'train.init_checkpoint = from_hub("detrex/r101_v2", model=model)',
    ]


def test_a_text_without_a_final_newline_is_corrected():
    assert corrected("train = {}", {"train.x": 1}).splitlines()[-1] == "train.x = 1"


def test_a_value_without_a_name_in_the_config_is_refused():
    with pytest.raises(ConfigError, match="does not define lr_multiplier"):
        corrected(CONFIG, {"lr_multiplier.x": 1})
    with pytest.raises(ConfigError, match="not valid Python"):
        assigned("model = (", "model.x")
