"""`check` with models that are given by their keys. Real models are in tests/real."""

from __future__ import annotations

import argparse
import hashlib
import pickle

import pytest
import torch
from omegaconf import OmegaConf

from detrex_hub import from_hub
from detrex_hub.architectures import architecture
from detrex_hub.architectures.base import IMAGENET_RGB
from detrex_hub.architectures.resnet import ResNet
from detrex_hub.architectures.swin import Swin
from detrex_hub.architectures.torchvision_resnet import TorchvisionResNet
from detrex_hub.checking import as_error, check, examination, examine, fix_config, target_keys
from detrex_hub.configs.matching import ModelKeys
from detrex_hub.conversion import convert
from detrex_hub.errors import CheckpointError, ConfigError, UsageError
from tests import reference
from tests.checkpoint_files import save, tensors
from tests.configs.test_settings import lazy_config

R18 = reference.load("resnet18")


def detector(depth):
    """The backbone of a detrex detector, and other modules that a norm could match."""
    body = {f"backbone.{key}": spec.shape for key, spec in ResNet(depth=depth).target().items()}
    return ModelKeys(
        {**body, "neck.convs.0.norm.weight": (256,), "transformer.norm.weight": (256,)}
    )


def config_for(path=None, *, depth=18, **changes):
    cfg = lazy_config()
    cfg.model.backbone.stages.depth = depth
    cfg.model.backbone.stages.pop("stride_in_1x1")
    cfg.model.pixel_mean = [123.675, 116.28, 103.53]
    cfg.model.pixel_std = [58.395, 57.12, 57.375]
    cfg.dataloader.train.mapper.img_format = "RGB"
    cfg.train = {"init_checkpoint": path and str(path)}
    for name, value in changes.items():
        OmegaConf.update(cfg, name.replace("__", "."), value)
    return cfg


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return save(tmp_path_factory.mktemp("raw") / "r18.pth", tensors(R18.source))


@pytest.fixture(scope="module")
def converted(original, tmp_path_factory):
    # stated by the user, so it is not assumed
    return convert(
        original, tmp_path_factory.mktemp("converted") / "r18", facts=IMAGENET_RGB
    ).folder


@pytest.fixture(autouse=True)
def own_cache(hub):
    return hub


def test_the_file_of_from_hub_loads_whole_into_a_config_that_fits(converted):
    cfg = config_for()
    cfg.train.init_checkpoint = from_hub(converted, model=cfg.model, dataloader=cfg.dataloader)
    found = check_with(cfg, 18)
    assert found.passed
    assert found.counted == (100, 100)
    assert {one.path for one in found.settings} >= {
        "model.pixel_std",
        "model.backbone.stages.depth",
        "dataloader.train.mapper.img_format",
    }


def check_with(cfg, depth, checkpoint=None, min_matched=1.0):
    return examine(cfg, checkpoint, min_matched, target=detector(depth))


def test_a_folder_and_an_hf_path_are_checked_without_writing(converted, hub):
    assert check_with(config_for(converted), 18).passed
    cfg = config_for()
    assert check_with(cfg, 18, f"hf://{converted}").passed


@pytest.mark.parametrize("prefix", ["backbone.", "auto"])
def test_keys_with_the_backbones_prefix_are_recognised(converted, prefix):
    cfg = config_for()
    path = from_hub(converted, model=cfg.model, dataloader=cfg.dataloader, prefix=prefix)
    found = check_with(cfg, 18, path)
    assert found.match.home == "backbone."
    assert found.counted == (100, 100)
    assert found.passed
    assert not check_with(cfg, 34, path).passed


def test_a_prefix_that_the_model_does_not_have_loads_nothing(converted):
    found = check_with(config_for(), 18, from_hub(converted, prefix="body."))
    assert found.share == 0


def test_a_materialised_file_records_its_overrides(converted):
    path = from_hub(converted)
    found = check_with(config_for(path, model__pixel_std=[1.0, 1.0, 1.0]), 18)
    assert not found.passed
    assert [one.path for one in found.differences] == ["model.pixel_std"]
    with pytest.raises(ConfigError, match=r"model\.pixel_std is \[1\.0, 1\.0, 1\.0\]"):
        raise as_error(found)


def test_an_assumption_about_weights_is_shown_and_fails_no_config(original, tmp_path):
    folder = convert(original, tmp_path / "mine").folder
    for weights in (folder, original):
        found = check_with(config_for(weights, model__pixel_std=[1.0, 1.0, 1.0]), 18)
        (shown,) = [one for one in found.settings if one.path == "model.pixel_std"]
        assert shown.differs and shown.assumed
        assert "model.pixel_std" not in [one.path for one in found.differences]


def test_half_a_backbone_is_refused(converted):
    found = check_with(config_for(converted, depth=34), 34)
    assert found.share == pytest.approx(100 / 180)
    assert not found.passed
    assert "100 of 180 tensors of backbone.*" in found.summary()
    assert "model.backbone.stages.depth is 34, but the weights need 18" in found.summary()
    assert not check_with(config_for(converted, depth=34), 34, min_matched=0.5).passed


def test_the_threshold_decides_if_the_config_fits(converted):
    keys = detector(18)
    grown = ModelKeys({**keys.shapes, "backbone.extra.weight": (1,)})
    cfg = config_for(converted)
    assert not examine(cfg, target=grown).passed
    assert examine(cfg, None, 0.98, target=grown).passed


def test_the_conflict_with_another_backbone_names_both(converted):
    cfg = config_for(converted)
    cfg.model.backbone = {"_target_": "detectron2.modeling.backbone.swin.SwinTransformer"}
    found = check_with(cfg, 18)
    assert "SwinTransformer" in found.conflict
    assert str(converted) in found.conflict
    assert not found.passed
    assert found.remedy is None
    assert "from_hub(..., build=True)" in as_error(found).hint


def test_fix_does_not_write_weights_that_the_config_cannot_take(converted, tmp_path):
    cfg = config_for(converted)
    cfg.model.backbone = {"_target_": "detectron2.modeling.backbone.swin.SwinTransformer"}
    config = tmp_path / "config.py"
    config.write_text("from x import dataloader, model, train\n")
    before = config.read_text()
    assert fix_config(config, check_with(cfg, 18), checkpoint=str(converted)) == []
    assert config.read_text() == before


def swin_backbone():
    """A Swin as its authors save it, and the keys of the detrex model."""
    variant = reference.load("swin_tiny_patch4_window7_224")
    made = Swin.read(variant.source, "original", {})
    model = {f"backbone.{key}": spec.shape for key, spec in made.target().items()}
    return variant.source, ModelKeys({**model, "neck.norm.weight": (256,)})


def test_a_raw_backbone_loads_nothing_and_the_fix_is_shown(tmp_path):
    specs, keys = swin_backbone()
    path = save(tmp_path / "swin.pth", {"model": tensors(specs)})
    found = examine(None, path, target=keys)
    assert found.share == 0
    assert found.counted[0] == 0
    assert found.remedy == f'train.init_checkpoint = "{path}?matching_heuristics=True"'
    assert found.heuristics_share == 1


def test_a_config_loads_the_whole_file_with_the_query(tmp_path):
    specs, keys = swin_backbone()
    path = save(tmp_path / "swin.pth", {"model": tensors(specs)})
    found = examine(None, f"{path}?matching_heuristics=True", target=keys)
    assert found.share == 1
    assert set(found.absent) == {
        f"backbone.norm{i}.{s}" for i in range(4) for s in ("weight", "bias")
    }
    assert set(found.match.missing) == {*found.absent, "neck.norm.weight"}


def test_a_file_is_not_recognised_by_its_name(tmp_path):
    path = save(tmp_path / "resnet18-f37072fd.pth", tensors(R18.source))
    found = check_with(config_for(path), 18)
    assert found.entry is None
    assert found.remedy is None
    assert any("is named like the original of detrex/r18_v1" in note for note in found.notes)
    assert as_error(found).hint == f"Convert it: detrex-hub convert {path}"


def resnet_file(path, **beside):
    """A ResNet-101 in detectron2's names, as detectron2's converters pickle it."""
    arrays = {key: value.numpy() for key, value in tensors(ResNet(depth=101).target()).items()}
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps({"model": arrays, "matching_heuristics": True, **beside}))
    return path


def resnet_config(path, *, images="RGB"):
    cfg = config_for(path, depth=101)
    cfg.model.backbone.stages.stride_in_1x1 = images == "BGR"
    if images == "BGR":
        cfg.model.pixel_mean = [103.53, 116.28, 123.675]
        cfg.model.pixel_std = [1.0, 1.0, 1.0]
    for loader in cfg.dataloader.values():
        loader.mapper.img_format = images
    return cfg


@pytest.mark.parametrize("folder", ["MSRA", "torchvision", "elsewhere"])
@pytest.mark.parametrize("images", ["RGB", "BGR"])
def test_the_author_of_a_file_decides_its_images_and_its_name_does_not(tmp_path, folder, images):
    path = resnet_file(tmp_path / folder / "R-101.pkl", __author__="torchvision")
    found = check_with(resnet_config(path, images=images), 101)
    assert found.share == 1
    assert found.passed is (images == "RGB")
    if images == "BGR":
        wanted = {one.path: one.wanted for one in found.differences}
        assert wanted["model.pixel_std"] == [58.395, 57.12, 57.375]
        assert wanted["model.backbone.stages.stride_in_1x1"] is False


@pytest.mark.parametrize("folder", ["MSRA", "torchvision", "elsewhere"])
@pytest.mark.parametrize("images", ["RGB", "BGR"])
def test_a_config_keeps_values_that_the_file_does_not_decide(tmp_path, folder, images):
    path = resnet_file(tmp_path / folder / "R-101.pkl", __author__="third_party")
    cfg = resnet_config(path, images=images)
    found = check_with(cfg, 101)
    assert found.passed
    assert not found.differences
    (note,) = [one for one in found.notes if one.startswith("the file does not show")]
    assert "model.pixel_mean" in note
    assert "model.backbone.stages.stride_in_1x1" in note
    config = tmp_path / "config.py"
    config.write_text("train = model = dataloader = object()\n")
    assert fix_config(config, found) == []
    # the depth shows
    cfg.model.backbone.stages.depth = 50
    assert [one.path for one in check_with(cfg, 101).differences] == ["model.backbone.stages.depth"]


ENTRIES = """
[defaults]
layout = "torchvision"
hyper_parameters = { depth = 18 }

[weights.tv18]
architecture = "resnet"
title = "For detectron2"
url = "https://example.org/tv18.pth"

[weights.tv18_body]
architecture = "torchvision_resnet"
title = "For detrex"
url = "https://example.org/tv18.pth"
"""
LOCK = """
[sources."https://example.org/tv18.pth"]
sha256 = "{sha256}"
"""


def test_a_file_that_fits_several_models_follows_the_config(tmp_path, monkeypatch):
    path = save(tmp_path / "tv18.pth", tensors(R18.source))
    (tmp_path / "my.toml").write_text(ENTRIES)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "my.lock.toml").write_text(LOCK.format(sha256=sha256))
    monkeypatch.setenv("DETREX_HUB_CATALOGUE", str(tmp_path / "my.toml"))
    made = TorchvisionResNet(depth=18)
    keys = ModelKeys({f"backbone.{key}": spec.shape for key, spec in made.target().items()})
    cfg = config_for(path)
    assert check_with(cfg, 18).entry == "tv18"
    target = "detrex.modeling.backbone.TorchvisionResNet"
    cfg.model.backbone = {"_target_": target, "name": "resnet18"}
    found = examine(cfg, target=keys)
    assert found.entry == "tv18_body"
    assert not found.conflict
    assert found.share == 0
    call = 'from_hub("detrex/tv18_body", model=model, dataloader=dataloader)'
    assert found.remedy == f"train.init_checkpoint = {call}"
    config = tmp_path / "config.py"
    config.write_text("from x import dataloader, model, train\n")
    fix_config(config, found)
    assert config.read_text().endswith(f"\n{found.remedy}\n")

    # a name that the config does not have would stop it
    del cfg.dataloader
    found = examine(cfg, target=keys)
    assert found.remedy == f"train.init_checkpoint = {call.replace(', dataloader=dataloader', '')}"
    config.write_text("from x import model, train\n")
    fix_config(config, found)
    assert config.read_text().endswith(f"\n{found.remedy}\n")

    monkeypatch.delenv("DETREX_HUB_CATALOGUE")
    found = examine(cfg, target=keys, extra_catalogues=[tmp_path / "my.toml"])
    needed = f"export DETREX_HUB_CATALOGUE={tmp_path / 'my.toml'}"
    assert needed in found.notes[-1]


def test_a_custom_converted_file_is_recognised(tmp_path):
    path = save(tmp_path / "own.pth", {"model": tensors(ResNet(depth=18).target())})
    found = check_with(config_for(f"{path}?matching_heuristics=True", depth=18), 18)
    assert found.passed
    assert found.what.startswith("resnet")


def test_one_fix_writes_the_values_and_the_matching_by_suffix(tmp_path):
    path = save(tmp_path / "own.pth", {"model": tensors(ResNet(depth=18).target())})
    found = check_with(config_for(path, depth=34), 34)
    assert found.share == 0
    assert as_error(found).hint == "Try: detrex-hub check CONFIG --fix"
    config = tmp_path / "config.py"
    config.write_text("from x import dataloader, model, train\n")
    fix_config(config, found)
    assert config.read_text().splitlines()[-2:] == [
        "model.backbone.stages.depth = 18",
        f"train.init_checkpoint = '{path}?matching_heuristics=True'",
    ]


def caffe2(path, **extra):
    contents = {"conv1_w": torch.zeros(64, 3, 7, 7).numpy(), "fc1000_b": torch.zeros(1000).numpy()}
    path.write_bytes(pickle.dumps({**contents, **extra}))
    return path


def test_a_caffe2_pickle_is_matched_under_its_new_names(tmp_path):
    found = check_with(None, 18, caffe2(tmp_path / "R-50.pkl"))
    assert found.heuristics
    assert dict(found.match.loaded) == {"backbone.stem.conv1.weight": "conv1_w"}
    assert found.match.unexpected == ("fc1000_b",)


@pytest.mark.parametrize("folder", ["MSRA", "torchvision"])
def test_the_names_of_a_caffe2_file_decide_its_images(tmp_path, folder):
    variant = reference.load("c2_msra_r50_d2")
    path = tmp_path / folder / "R-50.pkl"
    path.parent.mkdir()
    path.write_bytes(pickle.dumps({k: v.numpy() for k, v in tensors(variant.source).items()}))
    for images, differs in (
        ("BGR", {"model.backbone.stages.depth"}),
        (
            "RGB",
            {
                "model.backbone.stages.depth",
                "model.backbone.stages.stride_in_1x1",
                "model.pixel_mean",
                "model.pixel_std",
                "dataloader.train.mapper.img_format",
                "dataloader.test.mapper.img_format",
            },
        ),
    ):
        found = check_with(resnet_config(path, images=images), 50)
        assert found.share == 1
        assert {one.path for one in found.differences} == differs


@pytest.mark.parametrize(
    ("contents", "name", "message"),
    [
        ({"module": {"a.weight": torch.zeros(1)}}, "eva.pth", "under 'module'"),
        ({"state_dict": {"a.weight": torch.zeros(1)}}, "a.pth", "under 'state_dict'"),
        (
            {"model": {"a.weight": torch.zeros(1)}, "args": argparse.Namespace(lr=1)},
            "detr.pth",
            r"refuse argparse\.Namespace",
        ),
        ({"model": {"a.weight": torch.zeros(1)}}, "a.pkl", "not a pickle"),
        ({"model": {"a.weight": torch.zeros(1)}}, "a.pyth", "model_state"),
    ],
)
def test_a_file_that_detectron2_cannot_read_is_reported_before_training(
    tmp_path, contents, name, message
):
    torch.save(contents, tmp_path / name)
    with pytest.raises(CheckpointError, match=message):
        examine(None, tmp_path / name, target=detector(18))


def test_an_older_torch_runs_any_pickle(tmp_path, monkeypatch):
    path = save(tmp_path / "detr.pth", tensors(R18.source), "model")
    monkeypatch.setattr("detrex_hub.checking.checkpointer.version", lambda package: "2.5.1+cu121")
    assert check_with(None, 18, path).share == 0


def test_an_unknown_query_is_refused_as_detectron2_refuses_it(original):
    with pytest.raises(CheckpointError, match="knows no"):
        examine(None, f"{original}?map=1", target=detector(18))


def test_detectron2_reads_the_dict_model_among_others(tmp_path):
    path = tmp_path / "both.pth"
    ours = {"neck.convs.0.norm.weight": torch.zeros(256)}
    torch.save({"ema": {**ours, "x": torch.zeros(1)}, "model": ours}, path)
    assert check_with(None, 18, path).match.loaded.keys() == ours.keys()


def test_a_config_without_a_checkpoint_says_so():
    with pytest.raises(UsageError, match="--checkpoint"):
        examine(config_for(), target=detector(18))
    with pytest.raises(UsageError, match="there is no checkpoint"):
        examine(config_for("/nowhere/x.pth"), target=detector(18))


def test_a_missing_file_of_a_known_name_names_the_weights_of_the_catalogue():
    cfg = config_for("/path/to/resnet50-0676ba61.pth")
    with pytest.raises(UsageError, match=r"of this name: --checkpoint detrex/r50_v1$"):
        examine(cfg, target=detector(18))
    cfg.model.backbone = {"_target_": "detrex.modeling.backbone.TorchvisionResNet"}
    with pytest.raises(UsageError, match=r": --checkpoint detrex/r50_v1_torchvision$"):
        examine(cfg, target=detector(18))


def test_check_raises_the_problems_that_examine_finds(converted, monkeypatch):
    monkeypatch.setattr(examination, "model_keys", lambda node: detector(34))
    with pytest.raises(ConfigError, match=r"100 of 180 .* 18"):
        check(config_for(converted, depth=34))
    monkeypatch.setattr(examination, "model_keys", lambda node: detector(18))
    assert check(config_for(converted)).passed


def test_a_target_may_be_a_checkpoint_a_name_or_an_architecture(converted, original, tmp_path):
    expected = {f"backbone.{key}" for key in ResNet(depth=18).target()}
    assert target_keys("r18_v1").shapes.keys() == expected
    assert target_keys("resnet", like=str(original)).shapes.keys() == expected
    assert target_keys(str(original)).shapes.keys() == R18.source.keys()
    assert target_keys(str(converted)).shapes.keys() == ResNet(depth=18).target().keys()
    with pytest.raises(UsageError, match="size of the resnet is not known"):
        target_keys("resnet")
    with pytest.raises(UsageError, match="Architectures: "):
        target_keys("vgg")


def test_the_report_is_plain_data(converted):
    import json

    document = check_with(config_for(converted), 18).to_json()
    assert json.loads(json.dumps(document)) == document
    assert document["matching"] == "suffix"
    assert document["modules"][0]["name"] == "backbone.res2"


@pytest.mark.parametrize(("wrapper", "loaded"), [("", 1), ("module.", 1), ("_orig_mod.", 0)])
def test_detectron2_removes_one_prefix_of_a_wrapped_model(tmp_path, wrapper, loaded):
    path = tmp_path / "wrapped.pth"
    torch.save({"model": {f"{wrapper}neck.convs.0.norm.weight": torch.zeros(256)}}, path)
    assert len(check_with(None, 18, path).match.loaded) == loaded


def test_a_backbone_of_an_unknown_kind_is_judged_as_a_backbone(tmp_path):
    file = {"backbone.net.a.weight": torch.zeros(4), "roi_heads.b.weight": torch.zeros(4)}
    keys = ModelKeys({"backbone.net.a.weight": (4,), "transformer.c.weight": (4,)})
    torch.save({"model": file}, tmp_path / "eva.pth")
    found = examine(None, tmp_path / "eva.pth", target=keys)
    assert (found.share, found.counted, found.passed) == (1.0, (1, 1), True)
    assert "1 of 1 tensors of backbone.*" in found.summary()


def test_a_model_whose_loader_normalises_passes_with_a_note(converted):
    cfg = config_for(converted)
    cfg.model._target_ = "projects.co_mot.modeling.MOT"
    del cfg.model["pixel_mean"], cfg.model["pixel_std"]
    found = check_with(cfg, 18)
    assert found.passed
    assert any("the model takes no pixel_mean" in note for note in found.notes)
    (mean,) = [one for one in found.to_json()["settings"] if one["path"] == "model.pixel_mean"]
    assert not mean["has_place"]


def conditional(tmp_path, queries):
    made = architecture("conditional_detr").from_hyper_parameters(
        {
            "backbone": "resnet",
            "backbone_depth": 18,
            "num_queries": queries,
            "num_classes": 3,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "embed_dim": 32,
            "feedforward_dim": 8,
        }
    )
    keys = ModelKeys({key: spec.shape for key, spec in made.target().items()})
    return save(tmp_path / "c.pth", {"model": tensors(made.target())}), keys


def of_class(path, target):
    cfg = config_for(path)
    cfg.model._target_ = target
    return cfg


def test_the_conflict_with_another_model_class_names_both(tmp_path):
    path, keys = conditional(tmp_path, 300)
    other = "projects.detr.modeling.detr.DETR"
    found = examine(of_class(path, other), target=keys)
    assert other in found.conflict
    assert "ConditionalDETR" in found.conflict
    assert not found.passed
    found = examine(of_class(path, "projects.conditional_detr.ConditionalDETR"), target=keys)
    assert "weights are for" not in str(found.conflict)


@pytest.mark.parametrize(
    ("variant", "name"), [("mae_pretrain_vit_base", "vit_mae"), ("dinov2_vits14_p16", "dinov2")]
)
def test_keys_distinguish_architectures_of_one_class(tmp_path, variant, name):
    path = save(tmp_path / "vit.pth", tensors(reference.load(variant).source))
    cfg = config_for(path)
    vit = {"_target_": "detectron2.modeling.backbone.ViT"}
    cfg.model.backbone = {"_target_": "detectron2.modeling.SimpleFeaturePyramid", "net": vit}
    found = examine(cfg, target=ModelKeys({"backbone.net.pos_embed": (1,)}))
    assert found.what.startswith(name)


def test_the_class_of_the_model_distinguishes_look_alikes(tmp_path):
    path, keys = conditional(tmp_path, 33)
    found = examine(of_class(path, "projects.conditional_detr.ConditionalDETR"), target=keys)
    assert found.what.startswith("conditional_detr")
    found = examine(of_class(path, "projects.group_detr.GroupDETR"), target=keys)
    assert found.what.startswith("group_detr")
    assert found.share == 1


def test_a_prefix_identifies_a_file_that_detectron2_cannot_match(original, tmp_path):
    state = torch.load(original, weights_only=True)
    path = tmp_path / "mine.pth"
    torch.save(
        {"encoder_q." + key: one for key, one in state.items()} | {"queue": torch.ones(1)}, path
    )
    unknown = check_with(config_for(path), 18)
    assert (unknown.what, unknown.share) == ("", 0)
    found = examine(config_for(path), target=detector(18), prefix="encoder_q")
    assert found.what.startswith("resnet, ")
    assert found.share == 0
    assert as_error(found).hint == f"Convert it: detrex-hub convert {path} --prefix encoder_q."
    with pytest.raises(UsageError, match=r"begins with 'encoder_k\.'"):
        examine(config_for(path), target=detector(18), prefix="encoder_k.")
