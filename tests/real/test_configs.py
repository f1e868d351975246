"""Real configs of detectron2 and detrex get overrides, are saved, and load the weights."""

from __future__ import annotations

import pytest
import torch

from detrex_hub import apply_overrides, from_hub, load_state_dict
from detrex_hub.checking import check
from detrex_hub.conversion import convert
from detrex_hub.detectron2 import pin
from detrex_hub.errors import ConfigError
from detrex_hub.repositories import push
from tests.real.checkpointers import built, load

DINO = "projects/dino/configs/dino-resnet/dino_r50_4scale_12ep.py"
SWIN = "projects/dino/configs/dino-swin/dino_swin_tiny_224_4scale_12ep.py"


@pytest.fixture(scope="module")
def r101(tmp_path_factory):
    return convert("r101_v2", tmp_path_factory.mktemp("hub") / "r101_v2", synthetic=True).folder


@pytest.fixture(scope="module")
def r18(tmp_path_factory):
    return convert("r18_v1", tmp_path_factory.mktemp("hub") / "r18_v1", synthetic=True).folder


def holds(model, folder, prefix):
    state = model.state_dict()
    return all(
        torch.equal(state[prefix + key], tensor) for key, tensor in load_state_dict(folder).items()
    )


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        ("COCO-Detection/retinanet_R_50_FPN_1x.yaml", "backbone.bottom_up."),
        ("COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml", "backbone.bottom_up."),
    ],
)
@pytest.mark.parametrize("weights", ["r18", "r101"])
def test_a_classic_config_is_set_and_its_model_takes_the_weights(path, prefix, weights, request):
    from detectron2 import model_zoo
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    folder = request.getfixturevalue(weights)
    cfg = get_cfg()
    cfg.merge_from_file(model_zoo.get_config_file(path))
    cfg.freeze()
    assert apply_overrides(cfg, folder) is cfg
    assert cfg.is_frozen()
    assert cfg.INPUT.FORMAT == "RGB"
    assert cfg.MODEL.PIXEL_STD == [58.395, 57.12, 57.375]
    assert int(weights[1:]) == cfg.MODEL.RESNETS.DEPTH
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = from_hub(folder, prefix=prefix)
    again = get_cfg()
    again.merge_from_other_cfg(type(cfg).load_cfg(cfg.dump()))
    model = build_model(again)
    loaded = load(model, again.MODEL.WEIGHTS)
    assert not loaded.unexpected
    assert not [key for key in loaded.missing if key.startswith(prefix)]
    assert holds(model, folder, prefix)


def saved_and_loaded(cfg, folder):
    from detectron2.config import LazyConfig

    # detrex's is a lambda, which detectron2 writes and cannot read back
    cfg.optimizer.params.pop("lr_factor_func")
    LazyConfig.save(cfg, str(folder / "config.yaml"))
    return LazyConfig.load(str(folder / "config.yaml"))


@pytest.mark.parametrize("prefix", [None, "backbone.", "auto"])
def test_a_saved_config_starts_from_the_same_weights(prefix, r101, config, tmp_path):
    cfg = config(DINO)
    cfg.train.init_checkpoint = from_hub(
        r101, model=cfg.model, dataloader=cfg.dataloader, prefix=prefix
    )
    assert cfg.model.backbone.stages.depth == 101
    again = saved_and_loaded(cfg, tmp_path)
    assert again.model.backbone.stages.depth == 101
    assert check(again).counted == (520, 520)
    model = built(again)
    loaded = load(model, again.train.init_checkpoint)
    assert not loaded.unexpected
    assert holds(model, r101, "backbone.")


def test_the_checkpointer_resolves_a_pinned_path_of_a_saved_config(r18, config, tmp_path, login):
    from detectron2.utils.file_io import PathManager

    login("alice")
    push(r18, "alice/r18", allow_synthetic=True)
    cfg = config(DINO)
    cfg.train.init_checkpoint = pin("hf://alice/r18")
    apply_overrides(cfg, cfg.train.init_checkpoint)
    again = saved_and_loaded(cfg, tmp_path)
    assert again.train.init_checkpoint.startswith("hf://alice/r18@")
    assert check(again).passed
    assert PathManager.isfile(again.train.init_checkpoint)
    model = built(again)
    loaded = load(model, again.train.init_checkpoint)
    assert not loaded.unexpected
    assert holds(model, r18, "backbone.")


def test_a_config_of_another_backbone_is_refused_unchanged(r101, config):
    from omegaconf import OmegaConf

    cfg = config(SWIN)
    before = OmegaConf.to_container(cfg.model.backbone)
    with pytest.raises(ConfigError, match=r"SwinTransformer.*for ResNet.*build=True"):
        from_hub(r101, model=cfg.model, dataloader=cfg.dataloader)
    with pytest.raises(ConfigError, match="SwinTransformer"):
        apply_overrides(cfg, r101)
    assert OmegaConf.to_container(cfg.model.backbone) == before


def test_a_resnet_replaces_a_swin(r101, config):
    cfg = config(SWIN)
    path = from_hub(r101, model=cfg.model, dataloader=cfg.dataloader, build=True)
    model = built(cfg)
    loaded = load(model, path)
    assert not loaded.unexpected
    assert holds(model, r101, "backbone.")
    with torch.no_grad():
        features = model.eval().backbone(torch.zeros(1, 3, 64, 64))
    assert [tuple(one.shape[1:]) for one in model.neck(features)] == [
        (256, 8, 8),
        (256, 4, 4),
        (256, 2, 2),
        (256, 1, 1),
    ]
