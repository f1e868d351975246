"""The place of a backbone's weights in a config is found, or a backbone is built for them."""

from __future__ import annotations

import functools
import logging

import pytest
import torch
from omegaconf import OmegaConf

from detrex_hub import apply_overrides, from_hub, overrides
from detrex_hub.architectures import architecture, architectures
from detrex_hub.architectures.base import IMAGENET_RGB, BackboneCall, Call
from detrex_hub.configs import placing
from detrex_hub.configs.nodes import target_of
from detrex_hub.configs.placing import lazy_call
from detrex_hub.conversion import convert
from detrex_hub.errors import ConfigError, UsageError
from tests import reference
from tests.architectures.backbones import SMALL
from tests.checkpoint_files import save, tensors
from tests.configs.test_settings import RESNET, lazy_config

VIT = "detectron2.modeling.backbone.vit"
SWIN_CLASS = "detectron2.modeling.backbone.swin.SwinTransformer"


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory):
    return convert_variant("resnet18", tmp_path_factory)


@pytest.fixture(scope="module")
def swin(tmp_path_factory):
    return convert_variant("swin_tiny_patch4_window7_224", tmp_path_factory, facts=IMAGENET_RGB)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return convert_variant("detr_r50_dc5", tmp_path_factory, facts={"dilation": True})


def convert_variant(name, tmp_path_factory, **options):
    variant = reference.load(name)
    root = tmp_path_factory.mktemp(name)
    path = save(root / "original.pth", tensors(variant.source, variant.tied_sources), "model")
    return convert(path, root / name, **options).folder


@pytest.fixture(autouse=True)
def own_cache(hub):
    return hub


def keys(path):
    return torch.load(path, weights_only=True)["model"].keys()


def with_neck(backbone=None):
    """A detector that reads three feature maps of its backbone."""
    cfg = lazy_config(backbone)
    cfg.model.neck = {
        "_target_": "detrex.modeling.neck.ChannelMapper",
        "input_shapes": {f"res{i}": {"channels": 64 * 2**i} for i in (3, 4, 5)},
        "in_features": ["res3", "res4", "res5"],
        "num_outs": 4,
    }
    return cfg


def fpn():
    cfg = lazy_config()
    bottom_up = cfg.model.backbone
    cfg.model.backbone = {
        "_target_": "detectron2.modeling.backbone.fpn.FPN",
        "bottom_up": bottom_up,
        "in_features": ["res2", "res3", "res4", "res5"],
    }
    return cfg


def test_auto_finds_the_backbone(resnet18):
    cfg = lazy_config()
    assert "backbone.stem.conv1.weight" in keys(from_hub(resnet18, model=cfg.model, prefix="auto"))


def test_auto_finds_a_backbone_below_a_pyramid_and_moves_the_overrides(resnet18):
    cfg = fpn()
    path = from_hub(resnet18, model=cfg.model, prefix="auto")
    assert "backbone.bottom_up.stem.conv1.weight" in keys(path)
    assert cfg.model.backbone.bottom_up.stages.depth == 18
    assert "stages" not in cfg.model.backbone
    assert "stride_in_1x1" not in cfg.model.backbone.bottom_up.stages


def test_a_given_prefix_moves_the_overrides_too(resnet18):
    cfg = fpn()
    from_hub(resnet18, model=cfg.model, prefix="backbone.bottom_up.")
    assert cfg.model.backbone.bottom_up.stages.depth == 18


def test_auto_searches_whole_configs_too(resnet18):
    cfg = fpn()
    apply_overrides(cfg, resnet18)
    assert cfg.model.backbone.bottom_up.stages.depth == 18


def test_auto_keeps_the_keys_of_a_whole_detector(detector):
    assert "class_embed.weight" in keys(from_hub(detector, prefix="auto"))


def test_auto_needs_a_model(resnet18):
    with pytest.raises(UsageError, match="model=model"):
        from_hub(resnet18, prefix="auto")


def test_the_refusal_names_two_backbones_that_could_take_the_weights(swin):
    cfg = lazy_config({"_target_": "x.Two", "a": {"_target_": SWIN_CLASS}})
    cfg.model.teacher = {"_target_": SWIN_CLASS}
    with pytest.raises(ConfigError, match=r"model\.backbone\.a and model\.teacher can both"):
        from_hub(swin, model=cfg.model, prefix="auto")


def test_the_refusal_of_another_backbone_class_names_both_and_changes_nothing(swin):
    cfg = with_neck()
    before = OmegaConf.to_yaml(cfg)
    with pytest.raises(
        ConfigError, match=r"\.ResNet, but the weights are for SwinTransformer"
    ) as e:
        from_hub(swin, model=cfg.model, dataloader=cfg.dataloader)
    assert str(swin) in str(e.value)
    assert "build=True" in str(e.value)
    assert OmegaConf.to_yaml(cfg) == before


def test_the_refusal_of_a_dilated_detector_names_both_classes(detector):
    cfg = lazy_config()
    with pytest.raises(ConfigError, match=r"ResNet, which has no \w+") as caught:
        from_hub(detector, model=cfg.model)
    assert str(detector) in str(caught.value)


def test_a_head_of_91_classes_does_not_fit_a_model_of_80(tmp_path):
    variant = reference.load("deformable_detr_r50")
    path = save(tmp_path / "d.pth", tensors(variant.source, variant.tied_sources), "model")
    folder = convert(path, tmp_path / "d91", facts={"classes": "keep"}).folder
    cfg = with_neck()
    cfg.model._target_ = "projects.deformable_detr.modeling.DeformableDETR"
    cfg.model.criterion = {"num_classes": 80}
    with pytest.raises(ConfigError, match=r"num_classes = 80, but the weights of .* need 91"):
        from_hub(folder, model=cfg.model)


# a stand-in for the class of detrex's project
Detr = type("DETR", (), {"__module__": "projects.detr.modeling.detr", "__qualname__": "DETR"})


class Inheriting(Detr):
    pass


@pytest.mark.parametrize(
    ("name", "target", "fits"),
    [
        ("detr", "projects.detr.modeling.detr.DETR", True),
        ("detr", "my_models.DETR", True),
        ("detr", "projects.conditional_detr.modeling.ConditionalDETR", False),
        ("conditional_detr", "projects.group_detr.modeling.group_detr.GroupDETR", False),
        ("group_detr", "projects.group_detr.modeling.group_detr.GroupDETR", True),
        ("group_detr", "projects.conditional_detr.modeling.ConditionalDETR", False),
        ("pnp_detr", "projects.pnp_detr.modeling.detr.PnPDETR", True),
        ("align_detr", "projects.align_detr.modeling.aligndetr.AlignDETR", True),
        ("align_detr", "projects.dino.modeling.dino.DINO", False),
        ("sqr_detr", "projects.dab_detr.modeling.dab_detr.DABDETR", True),
        ("deformable_detr", "projects.deformable_detr.modeling.DeformableDETR", True),
        # detrex has two projects with a class of this name
        ("deformable_detr", "projects.deta.modeling.deformable_detr.DeformableDETR", False),
        ("deformable_detr", "projects.h_deformable_detr.modeling.HDeformableDETR", False),
        ("dino", "projects.dino.modeling.dino.DINO", True),
        ("dino", "projects.dino_eva.modeling.dino.DINO", True),
        ("dino", "projects.align_detr.modeling.aligndetr.AlignDETR", False),
        # a function may return any object
        ("detr", "my_models.build_detr", True),
        ("detr", None, True),
    ],
)
def test_a_detector_is_loaded_only_into_a_model_of_its_class(name, target, fits):
    model = OmegaConf.create({"_target_": target} if target else {"embed_dim": 256})
    if fits:
        placing.check_model(architecture(name), model, "x/y")
        return
    with pytest.raises(ConfigError) as caught:
        placing.check_model(architecture(name), model, "x/y")
    assert target in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("decoder", "first"),
    [
        ("projects.dab_detr.modeling.DabDetrTransformerDecoder", "dab_detr"),
        ("projects.sqr_detr.modeling.dab_transformer_sqr.DabDetrTransformerDecoder_qr", "sqr_detr"),
        (None, "dab_detr"),
    ],
)
def test_an_inner_class_distinguishes_architectures_of_one_class(decoder, first):
    model = {"_target_": "projects.dab_detr.modeling.dab_detr.DABDETR", "transformer": {}}
    if decoder:
        model["transformer"]["decoder"] = {"_target_": decoder}
    assert placing.detectors_of(OmegaConf.create(model))[0].name == first


def test_an_imported_subclass_counts_as_its_class():
    for target in (Inheriting, f"{__name__}.Inheriting"):
        model = OmegaConf.create({"_target_": target}, flags={"allow_objects": True})
        placing.check_model(architecture("detr"), model, "x/y")
        assert placing.detectors_of(model) == [architecture("detr")]
        with pytest.raises(ConfigError, match="Inheriting"):
            placing.check_model(architecture("dino"), model, "x/y")


def test_every_architecture_names_its_model_classes():
    for name, kind in architectures().items():
        assert kind.taken_by, name


def test_a_model_of_another_class_is_refused_and_stays_unchanged(detector):
    cfg = lazy_config()
    cfg.model._target_ = "projects.conditional_detr.modeling.ConditionalDETR"
    before = OmegaConf.to_yaml(cfg)
    for load in (
        lambda: from_hub(detector, model=cfg.model),
        lambda: from_hub(detector, model=cfg.model, build=True),
        lambda: apply_overrides(cfg, detector),
    ):
        with pytest.raises(ConfigError, match=r"ConditionalDETR, .* for projects\.detr\.DETR"):
            load()
    assert OmegaConf.to_yaml(cfg) == before


def test_a_backbone_is_built_and_the_neck_is_adapted(swin, caplog):
    cfg = with_neck()
    with caplog.at_level(logging.INFO, logger="detrex_hub"):
        path = from_hub(swin, model=cfg.model, dataloader=cfg.dataloader, build=True)
    built = cfg.model.backbone
    assert built["_target_"] == SWIN_CLASS
    assert list(built.depths) == [2, 2, 6, 2]
    assert list(built.out_indices) == [1, 2, 3]
    assert OmegaConf.to_container(cfg.model.neck.input_shapes) == {
        "p1": {"channels": 192},
        "p2": {"channels": 384},
        "p3": {"channels": 768},
    }
    assert list(cfg.model.neck.in_features) == ["p1", "p2", "p3"]
    assert cfg.dataloader.train.mapper.img_format == "RGB"
    assert f"model.backbone replaced, it is a {SWIN_CLASS}" in caplog.text
    assert OmegaConf.create(OmegaConf.to_yaml(cfg)) == cfg
    # it fits now, so nothing is left to do
    assert from_hub(swin, model=cfg.model, dataloader=cfg.dataloader) == path


def test_a_detector_of_one_level_reads_the_last_feature_map(swin):
    cfg = lazy_config()
    cfg.model.in_features = ["res5"]
    cfg.model.in_channels = 2048
    from_hub(swin, model=cfg.model, build=True)
    assert list(cfg.model.in_features) == ["p3"]
    assert cfg.model.in_channels == 768
    assert list(cfg.model.backbone.out_indices) == [3]


def test_a_resnet_is_built_in_place_of_a_swin(resnet18):
    cfg = with_neck({"_target_": SWIN_CLASS, "embed_dim": 96})
    from_hub(resnet18, model=cfg.model, dataloader=cfg.dataloader, build=True)
    built = cfg.model.backbone
    assert target_of(built).endswith(".ResNet")
    assert (built.stages.depth, "stride_in_1x1" in built.stages) == (18, False)
    assert list(built.out_features) == ["res3", "res4", "res5"]
    assert cfg.model.neck.input_shapes.res5.channels == 512


def test_a_dilated_detector_needs_a_built_backbone_in_a_plain_config(detector):
    cfg = lazy_config()
    for path, value in overrides(detector).items():
        if not path.startswith("model.backbone."):
            OmegaConf.update(cfg, path, value, force_add=True)
    cfg.model.in_features = ["res2"]
    before = OmegaConf.to_yaml(cfg)
    with pytest.raises(ConfigError, match=r"ResNet.* no dilation.*build=True"):
        from_hub(detector, model=cfg.model)
    assert OmegaConf.to_yaml(cfg) == before
    from_hub(detector, model=cfg.model, build=True)
    built = cfg.model.backbone
    assert target_of(built).endswith(".TorchvisionResNet")
    assert (built.name, built.dilation) == ("resnet50", True)
    assert list(cfg.model.in_features) == ["res5"]
    assert cfg.model.in_channels == 2048


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    return convert_variant("wide_resnet50_2", tmp_path_factory)


def test_stages_for_which_the_default_builder_is_wrong_are_refused_or_built(wide, resnet18):
    # with num_groups or bottleneck_channels it silently builds other channels
    cfg = with_neck()
    before = OmegaConf.to_container(cfg)
    with pytest.raises(
        ConfigError, match=r"make_default_stages.*bottleneck_channels = 128|stages"
    ) as e:
        from_hub(wide, model=cfg.model)
    assert "build=True" in str(e.value)
    assert OmegaConf.to_container(cfg) == before

    from_hub(wide, model=cfg.model, build=True)
    stages = cfg.model.backbone.stages
    assert [stage.bottleneck_channels for stage in stages] == [128, 256, 512, 1024]
    assert {stage._target_ for stage in stages} == {f"{RESNET}.make_stage"}
    assert all(stage.block_class.name.endswith("resnet.BottleneckBlock") for stage in stages)
    assert cfg.model.neck.in_features == ["res3", "res4", "res5"]
    # a backbone built this way takes exactly these weights
    built = OmegaConf.to_container(cfg)
    from_hub(wide, model=cfg.model)
    assert OmegaConf.to_container(cfg) == built
    with pytest.raises(ConfigError, match=r"build=True|stages"):
        from_hub(resnet18, model=cfg.model)
    from_hub(resnet18, model=cfg.model, build=True)
    assert cfg.model.backbone.stages.depth == 18


def test_a_backbone_that_takes_the_weights_is_not_replaced(swin):
    cfg = with_neck({"_target_": SWIN_CLASS, "embed_dim": 128, "use_checkpoint": True})
    from_hub(swin, model=cfg.model, build=True)
    assert cfg.model.backbone.use_checkpoint is True
    assert cfg.model.backbone.embed_dim == 96


def test_a_built_backbone_is_undone_if_the_weights_are_unavailable(swin, tmp_path):
    import shutil

    broken = shutil.copytree(swin, tmp_path / "broken")
    (broken / "model.safetensors").unlink()
    cfg = with_neck()
    before = OmegaConf.to_yaml(cfg)
    with pytest.raises(Exception, match=r"model\.safetensors"):
        from_hub(broken, model=cfg.model, build=True)
    assert OmegaConf.to_yaml(cfg) == before


def small(name, tmp_path_factory):
    made = architecture(name).from_hyper_parameters(SMALL[name])
    root = tmp_path_factory.mktemp(name)
    path = save(root / "original.pth", tensors(made.original()[0]), "model")
    return convert(path, root / name).folder


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return small("vit_mae", tmp_path_factory)


@pytest.fixture(scope="module")
def eva(tmp_path_factory):
    return small("eva02", tmp_path_factory)


def test_a_plain_vit_is_built_below_a_pyramid(vit):
    cfg = with_neck()
    path = from_hub(vit, model=cfg.model, dataloader=cfg.dataloader, build=True, prefix="auto")
    built = cfg.model.backbone
    assert built["_target_"] == "detectron2.modeling.backbone.vit.SimpleFeaturePyramid"
    assert built.net["_target_"] == "detectron2.modeling.backbone.vit.ViT"
    assert (built.net.embed_dim, built.net.depth, built.net.num_heads) == (64, 2, 1)
    assert built.net.norm_layer.keywords == {"eps": 1e-6}
    assert list(built.scale_factors) == [2.0, 1.0, 0.5]
    assert list(cfg.model.neck.in_features) == ["p3", "p4", "p5"]
    assert cfg.model.neck.input_shapes.p5.channels == 256
    assert "backbone.net.blocks.1.attn.qkv.weight" in keys(path)


def test_overrides_reach_a_vit_below_its_pyramid_and_keep_its_windows(vit):
    net = {"_target_": f"{VIT}.ViT", "embed_dim": 768, "depth": 12, "num_heads": 12}
    net["window_block_indexes"] = [0, 1]
    cfg = lazy_config({"_target_": f"{VIT}.SimpleFeaturePyramid", "net": net})
    from_hub(vit, model=cfg.model)
    assert (cfg.model.backbone.net.embed_dim, cfg.model.backbone.net.depth) == (64, 2)
    assert list(cfg.model.backbone.net.window_block_indexes) == [0, 1]


def test_a_backbone_of_square_images_needs_a_detector_that_pads(eva):
    cfg = with_neck()
    cfg.model._target_ = "projects.dino.modeling.dino.DINO"
    before = OmegaConf.to_yaml(cfg)
    with pytest.raises(ConfigError, match=r"square images of 1024 .* projects\.dino\.modeling"):
        from_hub(eva, model=cfg.model, build=True)
    assert OmegaConf.to_yaml(cfg) == before
    cfg.model._target_ = "projects.dino_eva.modeling.dino.DINO"
    from_hub(eva, model=cfg.model, build=True)
    assert cfg.model.backbone.net["_target_"] == "detrex.modeling.backbone.eva_02.EVA02_ViT"


def test_dc5_models_take_resnets_below_a_body(tmp_path):
    variant = reference.load("resnet18")
    path = save(tmp_path / "original.pth", tensors(variant.source))
    made = convert(path, tmp_path / "r18", architecture="torchvision_resnet").folder
    dc5 = "detrex.modeling.backbone.TorchvisionResNet"
    cfg = lazy_config({"_target_": dc5, "name": "resnet50", "dilation": True})
    loaded = from_hub(made, model=cfg.model, prefix="auto")
    assert "backbone.body.layer4.1.bn2.running_var" in keys(loaded)
    assert (cfg.model.backbone.name, cfg.model.backbone.dilation) == ("resnet18", True)
    with pytest.raises(ConfigError, match=r"\.ResNet, but the weights are for TorchvisionResNet"):
        from_hub(made, model=lazy_config().model)


def test_a_call_becomes_a_node():
    node = lazy_call(
        BackboneCall(
            "a.b.Pyramid",
            {"net": Call("a.b.Net", {"depth": 2}), "norm": Call("math.pow", {}, partial=True)},
            channels={"p1": 1},
        )
    )
    assert node["_target_"] == "a.b.Pyramid"
    assert node.net == {"_target_": "a.b.Net", "depth": 2}
    assert isinstance(node.norm, functools.partial)


def test_plain_resnet_configs_fit(resnet18):
    cfg = lazy_config()
    from_hub(resnet18, model=cfg.model)
    assert cfg.model.backbone["_target_"] == RESNET
