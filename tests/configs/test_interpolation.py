"""A config with an interpolation that leads to nothing is refused in one line."""

import pytest

from detrex_hub import apply_overrides, convert, from_hub
from detrex_hub.checking import examine
from detrex_hub.configs.interpolation import readable
from detrex_hub.errors import ConfigError

omegaconf = pytest.importorskip("omegaconf")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(convert("r18_v1", tmp_path_factory.mktemp("weights") / "r18", synthetic=True).folder)


def config(path):
    """A LazyConfig whose value at a path cannot be read."""
    backbone = {
        "_target_": "detectron2.modeling.backbone.ResNet",
        "stem": {"_target_": "detectron2.modeling.backbone.BasicStem"},
        "stages": {"_target_": "detectron2.modeling.ResNet.make_default_stages", "depth": 18},
    }
    model = {"_target_": "some.Detector", "backbone": backbone, "pixel_mean": [1, 2, 3]}
    cfg = omegaconf.OmegaConf.create({"model": model, "train": {"init_checkpoint": "there"}})
    omegaconf.OmegaConf.update(cfg, path, "${nowhere}")
    return cfg


PLACES = (
    "model._target_",
    "model.backbone",
    "model.backbone._target_",
    "model.backbone.stages",
    "model.backbone.stages.depth",
    "model.pixel_mean",
)


@pytest.mark.parametrize("path", PLACES)
def test_a_load_refuses_a_value_that_cannot_be_read(weights, path):
    with pytest.raises(ConfigError, match=r"of the config, which cannot be read: .*'nowhere'"):
        from_hub(weights, model=config(path).model)


@pytest.mark.parametrize("path", ("model", *PLACES))
def test_apply_overrides_refuses_a_value_that_cannot_be_read(weights, path):
    with pytest.raises(ConfigError, match=r"of the config, which cannot be read: .*'nowhere'"):
        apply_overrides(config(path), weights)


@pytest.mark.parametrize("path", ("train", "train.init_checkpoint"))
def test_a_check_refuses_a_value_that_cannot_be_read(path):
    with pytest.raises(ConfigError, match=f"{path} of the config, which cannot be read"):
        examine(config(path))


def test_other_errors_are_raised_as_they_are():
    with pytest.raises(ZeroDivisionError), readable("the weights"):
        _ = 1 / 0
