"""Detectors on backbones that no config of detrex gives them, trained, published and loaded."""

from __future__ import annotations

import pytest
import torch

from detrex_hub import from_hub, load_state_dict
from detrex_hub.conversion import convert
from tests.real.checkpointers import built, load

CASES = [
    ("projects/dab_detr/configs/dab_detr_r50_50ep.py", "convnext_tiny_22k_1k_384"),
    ("projects/anchor_detr/configs/anchor_detr_r50_50ep.py", "swin_tiny_patch4_window7_224"),
    ("projects/dino/configs/dino-resnet/dino_r50_4scale_12ep.py", "r50_v1_torchvision"),
    ("projects/deformable_detr/configs/deformable_detr_r50_50ep.py", "mae_pretrain_vit_base"),
    ("projects/deta/configs/deta_r50_5scale_12ep.py", "focalnet_tiny_lrf"),
]


@pytest.mark.parametrize(("path", "body"), CASES)
def test_a_trained_detector_is_recognised_and_loads_whole(path, body, config, tmp_path):
    cfg = config(path)
    started = convert(body, tmp_path / body, synthetic=True).folder
    from_hub(started, model=cfg.model, build=True)
    trained = built(cfg)
    generator = torch.Generator().manual_seed(0)
    for tensor in {id(one): one for one in trained.state_dict().values()}.values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1, generator=generator)
    torch.save({"model": trained.state_dict()}, tmp_path / "model_final.pth")

    folder = convert(tmp_path / "model_final.pth", tmp_path / "detector").folder
    again = config(path)
    weights = from_hub(folder, model=again.model, dataloader=again.dataloader, build=True)
    model = built(again)
    for parameter in model.parameters():
        parameter.data.fill_(7)
    loaded = load(model, weights)
    assert not loaded.unexpected
    assert not loaded.wrong_shape
    assert not loaded.missing
    now, before = model.state_dict(), trained.state_dict()
    assert now.keys() == before.keys() >= load_state_dict(folder).keys()
    assert [key for key, tensor in before.items() if not torch.equal(now[key], tensor)] == []
