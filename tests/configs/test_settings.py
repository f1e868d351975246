import logging

import pytest
from omegaconf import OmegaConf
from yacs.config import CfgNode

from detrex_hub.architectures.base import IMAGENET_RGB, Overrides
from detrex_hub.architectures.recognise import recognise
from detrex_hub.architectures.resnet import ResNet
from detrex_hub.configs import settings
from detrex_hub.configs.settings import Setting
from detrex_hub.errors import ConfigError
from detrex_hub.records import RepositoryConfig, StoredCheckpoint
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
        ([1.0], 1.0, True),
        (["${..x}", 1], [0, 1], False),
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
        settings.check_overrides(
            Overrides(lazy=lazy), ResNet(depth=50).paths(), where="x/config.json"
        )


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
    assert settings.check_overrides(wanted, made.paths(), where=name) is wanted


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
        settings.check_overrides(wanted, ResNet(depth=50).paths(), where="x/config.json")


@pytest.mark.parametrize(
    "overrides",
    [
        Overrides(lazy_if_present={"model.num_queries": 1}),
        Overrides(lazy_remove=("model.num_queries",)),
        Overrides(yacs={"MODEL.WEIGHTS": "x"}),
    ],
)
def test_every_kind_of_override_is_checked(overrides):
    with pytest.raises(ConfigError, match=r"^x/config\.json tries to set '(model\.num|MODEL\.W)"):
        settings.check_overrides(overrides, ResNet(depth=50).paths(), where="x/config.json")


def test_a_wrong_value_of_a_classic_key_is_refused():
    wrong = Overrides(yacs={"MODEL.RESNETS.DEPTH": "deep"})
    with pytest.raises(ConfigError, match=r"^x/config\.json: MODEL\.RESNETS\.DEPTH must be"):
        settings.check_overrides(wrong, ResNet(depth=50).paths(), where="x/config.json")


def repository(overrides):
    return RepositoryConfig(
        architecture="resnet",
        hyper_parameters={"depth": 18},
        preprocessing={},
        overrides=overrides,
        checkpoint=StoredCheckpoint(
            file="model.safetensors",
            sha256="0" * 64,
            author="torchvision",
            matching_heuristics=True,
            ties={},
            set_by_model=(),
        ),
    )


def test_a_repository_may_set_what_its_architecture_declares():
    allowed = resnet(18)
    assert settings.accepted(repository(allowed), where="x/config.json") is allowed
    with pytest.raises(ConfigError, match=r"^x/config\.json tries to set 'model\.num_queries'"):
        settings.accepted(
            repository(Overrides(lazy={"model.num_queries": 1})), where="x/config.json"
        )


def paths(found):
    return [one.path for one in found]


def test_paths_that_must_not_be_there_are_removed_where_they_are():
    removed = ("model.backbone.layer_scale", "model.backbone.depth", "model.no_node.x", "model.a.b")
    model = OmegaConf.create({"backbone": {"depth": 50, "layer_scale": True}, "a": [1]})
    changes = settings.apply(Overrides(lazy_remove=removed), model=model, where="x/y")
    assert list(map(str, changes)) == [
        "model.backbone.layer_scale: True removed",
        "model.backbone.depth: 50 removed",
    ]
    assert model == {"backbone": {}, "a": [1]}
    assert settings.apply(Overrides(lazy_remove=removed), model=model, where="x/y") == []


def test_planned_changes_cover_the_data_loader():
    cfg = lazy_config()
    changes = settings.plan_changes(resnet(), dataloader=cfg.dataloader, where="x/y")
    assert paths(changes) == ["dataloader.train.mapper.img_format"]
    assert cfg.dataloader.train.mapper.img_format == "BGR"


def test_a_refused_plan_names_the_repository():
    model = OmegaConf.create({"num_classes": 80})
    with pytest.raises(ConfigError, match="the weights of x/y need 91"):
        settings.plan_changes(Overrides(lazy={"model.num_classes": 91}), model=model, where="x/y")


def test_messages_of_changes_and_warnings_name_the_repository(caplog):
    cfg = lazy_config()
    with caplog.at_level(logging.INFO, logger="detrex_hub"):
        settings.apply(assumed(), model=cfg.model, where="x/y")
    assert "x/y: model.backbone.stages.depth: 50 -> 101" in caplog.messages
    assert any(one.startswith("x/y: model.pixel_std stays [1.0, 1.0") for one in caplog.messages)


def test_a_new_value_is_said_to_be_assumed_only_if_it_is():
    assert str(Setting("model.a", None, 1)) == "model.a = 1"
    assert str(Setting("model.a", None, 1, assumed=True)) == "model.a = 1 (assumed)"


def test_an_assumed_value_that_one_mapper_cannot_take_is_still_set_on_the_others():
    unreadable = {"mapper": {"img_format": {"a": 1}}}
    cfg = mappers([unreadable, {"mapper": {"img_format": "BGR"}}], {})
    found = settings.settings(assumed(), dataloader=cfg.dataloader, where="x/y")
    assert paths(found) == ["dataloader.train.1.mapper.img_format"]


def test_a_mapper_that_takes_any_argument_is_given_one_format():
    cfg = mappers({"mapper": {"_target_": f"{__name__}.any_mapper"}}, {})
    found = settings.settings(resnet(), dataloader=cfg.dataloader, where="x/y")
    assert found == [Setting("dataloader.train.mapper.img_format", None, "RGB")]


def any_mapper(**options):
    return options


def test_a_mapper_that_takes_no_format_is_taken_to_produce_rgb():
    cfg = mappers({"mapper": {"_target_": "nowhere.Mapper"}}, {})
    assert settings.settings(resnet(), dataloader=cfg.dataloader, where="x/y") == []
    found = settings.settings(resnet(image_format="BGR"), dataloader=cfg.dataloader, where="x/y")
    assert found == [
        Setting("dataloader.train.mapper.img_format", None, "BGR", differs=False, has_place=False)
    ]


def test_the_note_for_the_loader_says_the_format_once():
    cfg = mappers({"mapper": {"img_format": "RGB"}}, {"mapper": {"image_format": "RGB"}})
    cfg.model._target_ = f"{__name__}.Tracker"
    del cfg.model["pixel_mean"]
    wanted = settings.settings(resnet(), model=cfg.model, dataloader=cfg.dataloader, where="x/y")
    assert list(settings.loader_notes(wanted, cfg.model)) == [
        f"the model takes no pixel_mean (it is a {__name__}.Tracker): the config's data loader must"
        " normalise RGB images: subtract [123.675, 116.28, 103.53], divide by "
        "[58.395, 57.12, 57.375] (pixels of 0 to 255; for pixels of 0 to 1 divide these numbers by "
        "255)"
    ]


def test_a_class_that_is_not_imported_is_taken_to_have_the_parameter():
    model = OmegaConf.create({"_target_": "nowhere.Model"})
    wanted = Overrides(lazy={"model.pixel_mean": [1.0, 2.0, 3.0], "model.num_queries": 300})
    settings.apply(wanted, model=model, where="x/y")
    assert model == {"_target_": "nowhere.Model", "pixel_mean": [1.0, 2.0, 3.0], "num_queries": 300}


def test_a_node_that_builds_nothing_takes_no_new_value():
    model = OmegaConf.create({"num_queries": 300})
    with pytest.raises(
        ConfigError, match=r"not a node that can be built \(DictConfig\), which has"
    ):
        settings.apply(Overrides(lazy={"model.embed_dim": 256}), model=model, where="x/y")


def test_a_missing_feature_map_is_named():
    model = OmegaConf.create({"neck": {"input_shapes": {"res3": {"channels": 512}}}})
    wanted = Overrides(lazy={"model.neck.input_shapes.res2.channels": 256})
    with pytest.raises(ConfigError, match=r"^model\.neck\.input_shapes .*: it has no res2, and"):
        settings.settings(wanted, model=model, where="x/y")


@pytest.mark.parametrize("below", [3, "resnet", True, None])
def test_a_value_in_the_place_of_a_node_is_refused(below):
    model = OmegaConf.create({"backbone": {"_target_": RESNET, "stages": below}})
    wanted = Overrides(lazy={"model.backbone.stages.depth": 50})
    with pytest.raises(
        ConfigError, match=r"^model\.backbone cannot take the weights of x/y: it is a"
    ):
        settings.settings(wanted, model=model, where="x/y")
    assert settings.settings(Overrides(lazy_if_present=wanted.lazy), model=model, where="x/y") == []


def test_a_list_in_the_place_of_a_node_is_refused():
    model = OmegaConf.create({"backbone": [1]})
    wanted = Overrides(lazy={"model.backbone.depth": 50})
    with pytest.raises(ConfigError, match=r"\(ListConfig\), and x/y needs model\.backbone\.depth"):
        settings.settings(wanted, model=model, where="x/y")
    assert settings.settings(Overrides(lazy_if_present=wanted.lazy), model=model, where="x/y") == []


def test_numbers_in_a_path_are_elements_of_a_list_or_names_of_a_node():
    model = OmegaConf.create({"listed": [{"x": 1}], "named": {"0": {"x": 1}}})
    places = ("listed.0.x", "named.0.x", "listed.1.x", "listed.a.x", "named.1.x")
    wanted = Overrides(lazy_if_present={f"model.{place}": 2 for place in places})
    settings.apply(wanted, model=model, where="x/y")
    assert model == {"listed": [{"x": 2}], "named": {"0": {"x": 2}}}


def test_values_of_a_plain_dictionary_are_read():
    wanted = Overrides(lazy={"model.num_queries": 900})
    found = settings.settings(wanted, model={"num_queries": 300}, where="x/y")
    assert found == [Setting("model.num_queries", 300, 900, differs=True)]


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("model.neck.x", "."),
        ("model.backbone.stages.x", ", or replace the backbone: from_hub(..., build=True)."),
        (
            "model.position_embedding.row_num_embed",
            ", with model.position_embedding = L(detrex.layers.PositionEmbeddingLearned)().",
        ),
    ],
)
def test_a_refusal_says_which_config_to_start_from(path, hint):
    wanted = Overrides(lazy={path: 1})
    with pytest.raises(ConfigError) as caught:
        settings.settings(wanted, model=OmegaConf.create({"a": 1}), where="x/y")
    start = "Start from a config whose model these weights belong to"
    assert f"{caught.value.hint}." == start + hint


def test_an_equal_value_is_reported_where_it_is_read():
    model = OmegaConf.create({"num_queries": 900, "transformer": {"proposals": "${..num_queries}"}})
    wanted = Overrides(lazy={"model.transformer.proposals": 900})
    found = settings.settings(wanted, model=model, where="x/y")
    assert paths(found) == ["model.transformer.proposals"]


def test_a_conflict_with_the_source_of_a_value_names_the_repository():
    model = OmegaConf.create({"num_classes": 80, "head": {"classes": "${..num_classes}"}})
    with pytest.raises(ConfigError, match=r"num_classes = 80, but the weights of x/y need 91"):
        settings.settings(Overrides(lazy={"model.head.classes": 91}), model=model, where="x/y")


def test_a_value_is_followed_through_several_interpolations_up_to_a_shared_one():
    model = OmegaConf.create(
        {
            "width": 2048,
            "params": {"encoder": "${..width}", "decoder": "${..width}"},
            "encoder": {"width": "${..params.encoder}"},
            "decoder": {"width": "${..params.decoder}"},
        }
    )
    wanted = Overrides(lazy={"model.encoder.width": 1024, "model.decoder.width": 2048})
    changes = settings.apply(wanted, model=model, where="x/y")
    assert paths(changes) == ["model.params.encoder"]
    assert (model.encoder.width, model.decoder.width) == (1024, 2048)


def test_a_value_from_outside_the_node_is_set_in_the_node():
    cfg = OmegaConf.create({"num_queries": 300, "model": {"num_queries": "${..num_queries}"}})
    wanted = Overrides(lazy={"model.num_queries": 900})
    changes = settings.apply(wanted, model=cfg.model, where="x/y")
    assert paths(changes) == ["model.num_queries"]
    assert cfg == {"num_queries": 300, "model": {"num_queries": 900}}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("${..nothing}", r"num_queries of the config, which cannot be read: .*'\.\.nothing'"),
        ("${.num_queries}", "num_queries of .* cannot be read: Recursive interpolation detected"),
        (["${..nothing}"], r"num_queries\[0\] of the config, which cannot be read"),
    ],
)
def test_a_value_that_cannot_be_resolved_is_refused_in_one_line(value, why):
    model = OmegaConf.create({"num_queries": value})
    with pytest.raises(ConfigError, match=f"^x/y needs {why}") as caught:
        settings.settings(Overrides(lazy={"model.num_queries": 1}), model=model, where="x/y")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("broken", [{}, {"MODEL": 1}, {"MODEL": {"RESNETS": "x"}}])
def test_a_classic_config_without_the_node_is_refused(broken):
    with pytest.raises(ConfigError, match=r"no MODEL\.RESNETS\.DEPTH\.X, which x/y needs as 1"):
        settings.apply_yacs(
            Overrides(yacs={"MODEL.RESNETS.DEPTH.X": 1}), CfgNode(broken), where="x/y"
        )


def test_an_assumed_key_that_a_classic_config_lacks_is_left_out(caplog):
    cfg = CfgNode({"MODEL": {"DEPTH": 50, "STD": 1.0}})
    wanted = Overrides(
        yacs={"INPUT.FORMAT": "RGB", "MODEL.DEPTH": 101, "MODEL.STD": 2.0},
        assumed=("INPUT.FORMAT", "MODEL.STD"),
    )
    with caplog.at_level(logging.INFO, logger="detrex_hub"):
        (change,) = settings.apply_yacs(wanted, cfg, where="x/y")
    assert str(change) == "MODEL.DEPTH: 50 -> 101"
    assert cfg == {"MODEL": {"DEPTH": 101, "STD": 1.0}}
    assert caplog.messages[0] == "x/y: MODEL.DEPTH: 50 -> 101"
    assert caplog.messages[1].startswith("x/y: MODEL.STD stays 1.0. 2.0 is assumed")
