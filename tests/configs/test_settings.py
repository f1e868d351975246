import logging

import pytest
from omegaconf import OmegaConf
from yacs.config import CfgNode

from detrex_hub.architectures.base import IMAGENET_RGB, Overrides
from detrex_hub.architectures.recognise import recognise
from detrex_hub.architectures.resnet import ResNet
from detrex_hub.configs import settings
from detrex_hub.errors import ConfigError
from tests import reference

RESNET = "detectron2.modeling.backbone.resnet.ResNet"


def lazy_config(backbone=None):
    """The nodes of a detrex config of a ResNet-50 detector."""
    return OmegaConf.create(
        {
            "model": {
                "_target_": "projects.detr.modeling.DETR",
                "backbone": backbone
                or {
                    "_target_": RESNET,
                    "stem": {"_target_": "detectron2.modeling.backbone.resnet.BasicStem"},
                    "stages": {
                        "_target_": f"{RESNET}.make_default_stages",
                        "depth": 50,
                        "stride_in_1x1": True,
                        "norm": "FrozenBN",
                    },
                },
                "num_classes": 80,
                "pixel_mean": [103.53, 116.28, 123.675],
                "pixel_std": [1.0, 1.0, 1.0],
            },
            "dataloader": {
                "train": {"mapper": {"img_format": "BGR"}},
                "test": {"mapper": {"img_format": "RGB"}},
            },
        }
    )


def resnet(depth=101, **facts):
    made = ResNet(depth=depth)
    return made.overrides(made.preprocessing(facts))


def test_overrides_are_set_and_each_change_is_logged():
    cfg = lazy_config()
    changes = settings.apply(resnet(), model=cfg.model, dataloader=cfg.dataloader, where="x/y")
    assert cfg.model.backbone.stages.depth == 101
    assert cfg.model.backbone.stages.stride_in_1x1 is False
    assert list(cfg.model.pixel_mean) == IMAGENET_RGB["pixel_mean"]
    assert cfg.dataloader.train.mapper.img_format == "RGB"
    assert "model.backbone.stages.depth: 50 -> 101" in map(str, changes)
    # the test mapper already has RGB
    assert "dataloader.test.mapper.img_format" not in {change.path for change in changes}


def test_correct_values_are_not_changed():
    cfg = lazy_config()
    settings.apply(resnet(), model=cfg.model, dataloader=cfg.dataloader, where="x/y")
    before = OmegaConf.to_yaml(cfg)
    assert settings.apply(resnet(), model=cfg.model, dataloader=cfg.dataloader, where="x/y") == []
    assert OmegaConf.to_yaml(cfg) == before


@pytest.mark.parametrize(
    ("before", "after", "differs"),
    [
        (1e-6, 0.0, True),
        (0.0, 1e-300, True),
        (1.0000001, 1.0, True),
        (10000, 10001, True),
        (0.1, 0.1000000000001, True),
        ([123.675, 116.28, 103.53], [123.675, 116.28, 103.53001], True),
        (20, 20.0, False),
        (True, 1.0, True),
        (True, 1, True),
        ("1", 1, True),
        (float("nan"), 1.0, True),
        (0.224 * 255, 57.12, False),
        ([0.224 * 255, 1], [57.12, 1.0], False),
        ([1.0, 1e-6], [1.0, 0.0], True),
    ],
)
def test_numbers_are_compared_with_a_small_tolerance(before, after, differs):
    cfg = OmegaConf.create({"model": {"backbone": {"x": 0, "layer_scale_init_value": before}}})
    wanted = Overrides(lazy={"model.backbone.layer_scale_init_value": after})
    assert bool(settings.plan_changes(wanted, model=cfg.model, where="x/y")) is differs


def test_changes_are_logged_once_on_the_main_process(caplog, monkeypatch):
    with caplog.at_level(logging.INFO, logger="detrex_hub"):
        cfg = lazy_config()
        settings.apply(resnet(), model=cfg.model, where="x/y")
        assert caplog.text.count("model.backbone.stages.depth: 50 -> 101") == 1
        caplog.clear()
        monkeypatch.setenv("RANK", "3")
        cfg = lazy_config()
        settings.apply(resnet(), model=cfg.model, where="x/y")
        assert caplog.text == ""


def test_a_basic_block_does_not_get_the_stride():
    cfg = lazy_config()
    settings.apply(resnet(18), model=cfg.model, where="x/y")
    assert cfg.model.backbone.stages.depth == 18
    assert "stride_in_1x1" not in cfg.model.backbone.stages


def test_the_channels_of_a_neck_follow_the_backbone():
    cfg = lazy_config()
    cfg.model.neck = {"input_shapes": {"res5": {"channels": 2048}}}
    settings.apply(resnet(18), model=cfg.model, where="x/y")
    assert cfg.model.neck.input_shapes.res5.channels == 512
    assert list(cfg.model.neck.input_shapes) == ["res5"]


def test_the_refusal_of_another_backbone_names_both_and_changes_nothing():
    swin = {"_target_": "detectron2.modeling.backbone.swin.SwinTransformer", "embed_dim": 96}
    cfg = lazy_config(swin)
    before = OmegaConf.to_yaml(cfg)
    with pytest.raises(ConfigError) as caught:
        settings.apply(resnet(), model=cfg.model, dataloader=cfg.dataloader, where="detrex/r101_v2")
    text = str(caught.value)
    assert "SwinTransformer" in text
    assert "detrex/r101_v2" in text
    assert "model.backbone.stages.depth" in text
    assert OmegaConf.to_yaml(cfg) == before


def test_an_argument_that_the_callable_lacks_is_refused():
    cfg = lazy_config()
    cfg.model.backbone.stages = {"_target_": f"{__name__}.make_stages", "depth": 50}
    with pytest.raises(ConfigError, match="has no stride_in_1x1"):
        settings.apply(resnet(), model=cfg.model, where="x/y")


def make_stages(depth):
    return depth


def test_a_config_with_sine_positions_refuses_learned_ones_and_says_what_to_write():
    cfg = lazy_config()
    cfg.model.position_embedding = {"_target_": f"{__name__}.sine_embedding"}
    wanted = Overrides(lazy={"model.position_embedding.row_num_embed": 50})
    with pytest.raises(ConfigError, match=r"has no row_num_embed.*PositionEmbeddingLearned"):
        settings.apply(wanted, model=cfg.model, where="x/y")


def sine_embedding(num_pos_feats):
    return num_pos_feats


def test_the_config_decides_the_number_of_classes():
    cfg = lazy_config()
    wanted = Overrides(lazy={"model.num_classes": 91})
    with pytest.raises(ConfigError, match=r"num_classes = 80.* 91"):
        settings.apply(wanted, model=cfg.model, where="x/y")


@pytest.mark.parametrize(
    "lazy",
    [
        {"model.backbone._target_": "os.system"},
        {"model._target_": "os.system"},
        {"model.backbone.stages.norm": "x"},
        {"train.init_checkpoint": "/etc/passwd"},
        {"model.backbone.stages.depth": 51},
        {"model.backbone.stages.depth": True},
        {"model.backbone.stages.depth": "50"},
        {"model.backbone.stages.depth": 10**9},
        {"model.pixel_mean": [1.0, 2.0]},
        {"model.pixel_mean": [1.0, 2.0, float("nan")]},
        {"model.pixel_mean": ["${oc.env:HOME}", 1.0, 1.0]},
        {"model.pixel_std": {"_target_": "os.system"}},
        {"dataloader.train.mapper.img_format": "${oc.env:HOME}"},
        {"dataloader.train.mapper._target_": "RGB"},
    ],
)
def test_unknown_paths_and_wrong_values_are_refused(lazy):
    with pytest.raises(ConfigError, match=r"x/config\.json"):
        settings.check(Overrides(lazy=lazy), ResNet(depth=50).paths(), where="x/config.json")


def test_classic_configs_are_set_and_stay_frozen():
    cfg = CfgNode(
        {
            "MODEL": {
                "PIXEL_MEAN": [103.53, 116.28, 123.675],
                "PIXEL_STD": [1.0, 1.0, 1.0],
                "RESNETS": {"DEPTH": 50, "STRIDE_IN_1X1": True},
            },
            "INPUT": {"FORMAT": "BGR"},
        }
    )
    cfg.freeze()
    changes = settings.apply_yacs(resnet(), cfg, where="x/y")
    assert cfg.is_frozen()
    assert cfg.MODEL.RESNETS.DEPTH == 101
    assert cfg.MODEL.RESNETS.STRIDE_IN_1X1 is False
    assert cfg.INPUT.FORMAT == "RGB"
    assert len(changes) == 5
    assert settings.apply_yacs(resnet(), cfg, where="x/y") == []


def test_a_classic_config_without_the_key_is_refused_untouched():
    cfg = CfgNode({"MODEL": {"PIXEL_MEAN": [0.0, 0.0, 0.0], "PIXEL_STD": [1.0, 1.0, 1.0]}})
    with pytest.raises(ConfigError, match=r"no MODEL\.RESNETS\.DEPTH"):
        settings.apply_yacs(resnet(), cfg, where="x/y")
    assert cfg.MODEL.PIXEL_MEAN == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("name", reference.names())
def test_overrides_of_all_architectures_are_allowed(name):
    specs = reference.load(name).source
    found = recognise(specs)
    made = found.architecture.read(specs, found.layout, {})
    wanted = made.overrides(made.preprocessing({}))
    assert settings.check(wanted, made.paths(), where=name) is wanted


def test_a_classic_config_without_a_key_for_the_need_is_refused():
    cfg = CfgNode({"MODEL": {"PIXEL_MEAN": [0.0, 0.0, 0.0]}})
    with pytest.raises(ConfigError, match="a classic config has no keys"):
        settings.apply_yacs(Overrides(lazy={"model.num_queries": 300}), cfg, where="x/y")


def mappers(train, test):
    cfg = lazy_config()
    cfg.dataloader = {"train": train, "test": test}
    return cfg


@pytest.mark.parametrize(
    ("node", "places"),
    [
        ({"mapper": {"img_format": "BGR"}}, ["mapper.img_format"]),
        ({"mapper": {"image_format": "BGR"}}, ["mapper.image_format"]),
        (
            {"mapper": {"image_format": "BGR", "augmentation": {"img_format": "BGR"}}},
            ["mapper.image_format", "mapper.augmentation.img_format"],
        ),
        (
            {"mapper": [{"img_format": "BGR"}, {"image_format": "BGR"}]},
            ["mapper.0.img_format", "mapper.1.image_format"],
        ),
        (
            [{"mapper": {"img_format": "BGR"}}, {"mapper": {"img_format": "RGB"}}],
            ["0.mapper.img_format"],
        ),
        (
            {"mapper": {"_target_": "detrex.data.DetrDatasetMapper", "is_train": True}},
            ["mapper.img_format"],
        ),
        ({"mapper": {"_target_": "somebodys.Mapper"}}, []),
        ({"dataset": "coco"}, []),
    ],
)
def test_the_image_format_is_set_at_every_path_of_a_config(node, places):
    cfg = mappers(node, {"mapper": {"img_format": "RGB"}})
    changes = settings.apply(resnet(), dataloader=cfg.dataloader, where="x/y")
    assert [change.path for change in changes] == [f"dataloader.train.{one}" for one in places]
    for place in places:
        assert OmegaConf.select(cfg.dataloader.train, indexed(place)) == "RGB"


def indexed(path):
    return "".join(
        f"[{part}]" if part.isdigit() else f".{part}" for part in path.split(".")
    ).lstrip(".")


def test_a_mapper_without_a_format_gets_a_note_to_read_bgr(caplog):
    cfg = mappers({"mapper": {"_target_": "somebodys.Mapper"}}, {})
    before = OmegaConf.to_yaml(cfg)
    settings.apply(resnet(image_format="BGR"), dataloader=cfg.dataloader, where="x/y")
    assert OmegaConf.to_yaml(cfg) == before
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    said = "x/y: dataloader.train.mapper takes no image format: it must produce BGR images"
    assert record.getMessage() == said


class Tracker:
    """A model whose loader normalises."""

    def __init__(self, backbone, num_classes):
        pass


@pytest.mark.parametrize(
    "target",
    [
        f"{__name__}.Tracker",
        Tracker,
        # it is recognised without being imported
        "projects.co_mot.modeling.MOT",
    ],
)
def test_a_model_without_a_mean_gets_a_note_for_its_loader(caplog, target):
    cfg = lazy_config()
    cfg._set_flag("allow_objects", True)
    cfg.model._target_ = target
    del cfg.model["pixel_mean"], cfg.model["pixel_std"]
    changes = settings.apply(resnet(), model=cfg.model, dataloader=cfg.dataloader, where="x/y")
    assert {"pixel_mean", "pixel_std"}.isdisjoint(cfg.model)
    assert cfg.model.backbone.stages.depth == 101
    assert "model.pixel_mean" not in {one.path for one in changes}
    (record,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    text = record.getMessage()
    assert text.startswith("x/y: the model takes no pixel_mean and no pixel_std (it is a ")
    assert "normalise RGB images: subtract [123.675, 116.28, 103.53]" in text
    assert "divide by [58.395, 57.12, 57.375]" in text


def test_a_required_override_without_a_place_is_refused():
    cfg = lazy_config()
    cfg.model._target_ = f"{__name__}.Tracker"
    del cfg.model["pixel_mean"], cfg.model["pixel_std"]
    wanted = Overrides(lazy={**resnet().lazy, "model.num_queries": 300})
    with pytest.raises(ConfigError, match=r"has no num_queries"):
        settings.apply(wanted, model=cfg.model, where="x/y")
    assert cfg.model.backbone.stages.depth == 50


def test_an_interpolated_value_is_set_at_its_source():
    cfg = lazy_config()
    cfg.model.num_queries = 300
    cfg.model.transformer = {"two_stage_num_proposals": "${..num_queries}"}
    wanted = Overrides(
        lazy={"model.transformer.two_stage_num_proposals": 900, "model.num_queries": 900}
    )
    changes = settings.apply(wanted, model=cfg.model, where="x/y")
    assert [change.path for change in changes] == ["model.num_queries"]
    assert cfg.model.transformer.two_stage_num_proposals == 900
    cfg.model.num_queries = 100
    assert cfg.model.transformer.two_stage_num_proposals == 100


@pytest.mark.parametrize("first", ["encoder", "decoder"])
def test_a_shared_value_is_set_separately_where_nodes_differ(first):
    # Mask DINO's params.feed_forward sets the width of both
    widths = {"encoder": 1024, "decoder": 2048}
    model = OmegaConf.create(
        {"params": {"width": 2048}, **{side: {"width": "${..params.width}"} for side in widths}}
    )
    ordered = sorted(widths, key=lambda side: side != first)
    overrides = Overrides(lazy={f"model.{side}.width": widths[side] for side in ordered})
    (change,) = settings.apply(overrides, model=model, where="x/y")
    assert str(change) == "model.encoder.width: 2048 -> 1024"
    assert (model.encoder.width, model.decoder.width, model.params.width) == (1024, 2048, 2048)
    assert settings.plan_changes(overrides, model=model, where="x/y") == []


def test_settings_decide_what_fits():
    cfg = lazy_config()
    found = {one.path: one for one in settings.settings(resnet(), model=cfg.model, where="x/y")}
    assert found["model.backbone.stages.depth"].differs
    cfg.model.backbone.stages.depth = 101
    (again,) = (
        one
        for one in settings.settings(resnet(), model=cfg.model, where="x/y")
        if one.path == "model.backbone.stages.depth"
    )
    assert not again.differs
    assert again.before == again.wanted == 101


def assumed(**facts):
    """The overrides of weights whose image settings are unknown."""
    made = ResNet(depth=101)
    return made.assuming(made.overrides(made.preprocessing(facts)), ("image_format", "pixel_std"))


def test_an_assumed_value_replaces_no_value_and_gives_a_warning(caplog):
    cfg = lazy_config()
    with caplog.at_level(logging.WARNING, logger="detrex_hub"):
        settings.apply(assumed(), model=cfg.model, dataloader=cfg.dataloader, where="x/y")
    assert cfg.model.backbone.stages.depth == 101
    assert list(cfg.model.pixel_mean) == IMAGENET_RGB["pixel_mean"]
    assert list(cfg.model.pixel_std) == [1.0, 1.0, 1.0]
    assert cfg.dataloader.train.mapper.img_format == "BGR"
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == 2
    assert any("model.pixel_std stays [1.0, 1.0, 1.0]" in one for one in warned)
    assert any("dataloader.train.mapper.img_format stays BGR" in one for one in warned)


def test_an_assumed_value_fills_an_empty_config_field():
    cfg = lazy_config()
    del cfg.model.pixel_std
    cfg.model._target_ = f"{__name__}.make_model"
    changes = settings.apply(assumed(), model=cfg.model, where="x/y")
    assert "model.pixel_std = [58.395, 57.12, 57.375] (assumed)" in map(str, changes)
    assert list(cfg.model.pixel_std) == IMAGENET_RGB["pixel_std"]


def make_model(pixel_mean, pixel_std, **others):
    return pixel_mean, pixel_std


def test_an_assumed_value_does_not_refuse_a_config():
    cfg = lazy_config()
    cfg.model.backbone.stages._target_ = f"{__name__}.make_stages"
    del cfg.model.backbone.stages.stride_in_1x1
    wanted = ResNet(depth=101).assuming(resnet(), ("stride_in_1x1",))
    settings.apply(wanted, model=cfg.model, where="x/y")
    assert "stride_in_1x1" not in cfg.model.backbone.stages


def test_a_classic_config_keeps_values_that_are_only_assumed(caplog):
    cfg = CfgNode(
        {
            "MODEL": {
                "PIXEL_MEAN": [103.53, 116.28, 123.675],
                "PIXEL_STD": [1.0, 1.0, 1.0],
                "RESNETS": {"DEPTH": 50, "STRIDE_IN_1X1": True},
            },
            "INPUT": {"FORMAT": "BGR"},
        }
    )
    with caplog.at_level(logging.WARNING, logger="detrex_hub"):
        settings.apply_yacs(assumed(), cfg, where="x/y")
    assert (cfg.INPUT.FORMAT, cfg.MODEL.PIXEL_STD) == ("BGR", [1.0, 1.0, 1.0])
    assert cfg.MODEL.RESNETS.DEPTH == 101
    assert "INPUT.FORMAT stays BGR" in caplog.text


def test_an_assumption_about_a_path_that_is_not_set_is_refused():
    wanted = Overrides(lazy={"model.backbone.stages.depth": 50}, assumed=("model.pixel_mean",))
    with pytest.raises(ConfigError, match=r"assumes a value for 'model\.pixel_mean'"):
        settings.check(wanted, ResNet(depth=50).paths(), where="x/config.json")
