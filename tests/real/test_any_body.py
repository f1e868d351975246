"""Detectors on backbones that no detrex config combines are converted from shapes alone."""

from __future__ import annotations

import pytest

from detrex_hub import from_hub
from detrex_hub.conversion import convert
from tests.real.training import loads_whole, trained

CASES = [
    ("projects/dab_detr/configs/dab_detr_r50_50ep.py", "convnext_tiny_22k_1k_384"),
    ("projects/anchor_detr/configs/anchor_detr_r50_50ep.py", "swin_tiny_patch4_window7_224"),
    ("projects/dino/configs/dino-resnet/dino_r50_4scale_12ep.py", "r50_v1_torchvision"),
    ("projects/deformable_detr/configs/deformable_detr_r50_50ep.py", "mae_pretrain_vit_base"),
    ("projects/deta/configs/deta_r50_5scale_12ep.py", "focalnet_tiny_lrf"),
]


@pytest.mark.parametrize(("path", "body"), CASES)
def test_a_detector_is_recognised_and_loads_whole(path, body, config, tmp_path):
    cfg = config(path)
    started = convert(body, tmp_path / body, synthetic=True).folder
    from_hub(started, model=cfg.model, build=True)
    state = trained(cfg, tmp_path / "model_final.pth")
    folder = convert(tmp_path / "model_final.pth", tmp_path / "detector").folder
    loads_whole(config(path), folder, state, build=True)
