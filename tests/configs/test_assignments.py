"""Lines of a config are read and corrected without running it."""

from __future__ import annotations

import pytest

from detrex_hub.configs.assignments import Expression, assigned, corrected, read
from detrex_hub.errors import ConfigError

CONFIG = '''"""A config."""
from detrex.config import get_config
from .models.dino_r50 import model

train = get_config("common/train.py").train
optimizer, dataloader = get_config("a.py").optimizer, get_config("b.py").dataloader

# modify training config
train.init_checkpoint = "detectron2://ImageNetPretrained/torchvision/R-50.pkl"  # a comment
train.max_iter = 90000
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
        '"detectron2://ImageNetPretrained/torchvision/R-50.pkl"',
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


def from_hub(repo, node="model"):
    return Expression(f"from_hub('{repo}', {node}={node})", "from detrex_hub import from_hub")


def test_a_call_replaces_the_last_call_of_the_same_function():
    once = corrected(CONFIG, {"train.init_checkpoint": from_hub("detrex/r101_v1")})
    after = corrected(once, {"train.init_checkpoint": from_hub("detrex/r101_v2")})
    assert after == once.replace("r101_v1", "r101_v2")
    # what the first call sets may be read in between
    later = f"{once}model.x = model.y\n"
    after = corrected(later, {"train.init_checkpoint": from_hub("detrex/r101_v2")})
    assert after.startswith(later)
    assert after.count("import from_hub") == 1


def test_a_call_needs_its_names():
    with pytest.raises(ConfigError, match="does not define loader itself"):
        corrected(CONFIG, {"train.init_checkpoint": from_hub("detrex/r101_v2", "loader")})


def test_a_text_without_a_final_newline_is_corrected():
    assert corrected("train = {}", {"train.x": 1}).splitlines()[-1] == "train.x = 1"


def test_a_value_without_a_name_in_the_config_is_refused():
    with pytest.raises(ConfigError, match="does not define lr_multiplier"):
        corrected(CONFIG, {"lr_multiplier.x": 1})
    with pytest.raises(ConfigError, match="not valid Python"):
        assigned("model = (", "model.x")


NEW = {"train.init_checkpoint": "new"}


@pytest.mark.parametrize(
    "before",
    [
        "train = {}; train.init_checkpoint = 'old'; train.seed = 1",
        "train.init_checkpoint = ('old')  # ünïcode 'old'",
        "π = 'ünïcode'; train.init_checkpoint = 'old'; train.seed = 1",
        "train.init_checkpoint = \\\n    'old'",
        "seed = 1\r\ntrain.init_checkpoint = 'old'\r\ntrain.seed = 1\r\n",
        "seed = 1\rtrain.init_checkpoint = 'old'\rtrain.seed = 1\r",
        # these end a line for `str.splitlines`, and not for Python
        "seed = 1\n\x0c\ntrain.init_checkpoint = 'old'",
        "seed = '\u2028\x85\x0b\x1c'\ntrain.init_checkpoint = 'old'\ntrain.seed = 2",
        "train.init_checkpoint = 'older'\ntrain.init_checkpoint = 'old'",
    ],
)
def test_only_the_value_is_replaced(before):
    before = f"import train\n{before}"
    assert corrected(before, NEW) == before.replace("'old'", "'new'", 1)
    assert assigned(before, "train.init_checkpoint") == "old"


def test_a_value_with_a_comment_inside_is_kept():
    before = "import model\nmodel.std = [\n    1.0,  # red\n    1.0,\n]\n"
    assert corrected(before, {"model.std": [2.0]}).startswith(before)


@pytest.mark.parametrize(
    "later",
    [
        "if True:\n    train.init_checkpoint = 'elsewhere'",
        "train.update(init_checkpoint='elsewhere')",
        "train['init_checkpoint'] = 'elsewhere'",
        "other = train.init_checkpoint = 'elsewhere'",
        "train.init_checkpoint += '.pth'",
        "del train.init_checkpoint",
        "train = dict()",
        "from .other import model, train",
        "from .other import *",
    ],
)
def test_a_value_that_a_later_statement_may_change_is_not_trusted(later):
    before = f"train = object()\ntrain.init_checkpoint = 'old'\n{later}\n"
    assert assigned(before, "train.init_checkpoint") is None
    assert corrected(before, NEW).startswith(before)
    assert corrected(before, NEW).endswith("\ntrain.init_checkpoint = 'new'\n")


def test_appended_lines_have_the_line_ends_of_the_text():
    after = corrected("train = {}\r\ntrain.y = 2", {"train.x": 1})
    assert after.startswith("train = {}\r\ntrain.y = 2\r\n\r\n#")
    assert after.endswith("\r\ntrain.x = 1\r\n")
    assert after.count("\n") == after.count("\r\n")


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbftrain = '\xc3\xbc'\r\n",
        b"# -*- coding: latin-1 -*-\ntrain = '\xfc'\n",
    ],
)
def test_the_encoding_of_a_file_is_kept(tmp_path, content):
    path = tmp_path / "config.py"
    path.write_bytes(content)
    assert read(path).encode() == content
    assert "'ü'" in read(path).text


@pytest.mark.parametrize(
    "content", [b"train = '\xfc'\n", b"# coding: nothing\n", b"\x80\x02}q\x00"]
)
def test_a_file_that_is_not_text_is_refused(tmp_path, content):
    path = tmp_path / "config.py"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is not the text of a config"):
        read(path)
