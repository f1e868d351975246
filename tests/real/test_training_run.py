"""Models of detrex's own configs are published with the config, and loaded into it again."""

from __future__ import annotations

import pytest

from detrex_hub.publishing.single import push_any
from detrex_hub.publishing.training_run import TrainingRun
from detrex_hub.repositories import PushOptions
from tests.real.training import loads_whole, trained

# one for each project, and for each kind of backbone
CONFIGS = (
    "align_detr/configs/aligndetr_k=2_r50_4scale_12ep",
    "anchor_detr/configs/anchor_detr_r50_50ep",
    "co_mot/configs/mot_r50_4scale_10ep",
    "conditional_detr/configs/conditional_detr_r50_50ep",
    "dab_deformable_detr/configs/dab_deformable_detr_r50_two_stage_50ep",
    "dab_detr/configs/dab_detr_r50_3patterns_50ep",
    "dab_detr/configs/dab_detr_swin_t_in1k_50ep",
    "deformable_detr/configs/deformable_detr_r50_two_stage_50ep",
    "deta/configs/deta_r50_5scale_12ep",
    "deta/configs/improved_deformable_detr_baseline_50ep",
    "detr/configs/detr_r50_dc5_300ep",
    "dino/configs/dino-convnext/dino_convnext_tiny_384_4scale_12ep",
    "dino/configs/dino-focal/dino_focal_tiny_lrf_fl3_4scale_12ep",
    "dino/configs/dino-internimage/dino_internimage_tiny_4scale_12ep",
    "dino/configs/dino-resnet/dino_r50_4scale_24ep",
    "dino/configs/dino-swin/dino_swin_tiny_224_4scale_12ep",
    "dino/configs/dino-vitdet/dino_vitdet_base_4scale_12ep",
    "dino_eva/configs/dino-eva-02/dino_eva_02_vitdet_b_6attn_win32_1536_lrd0p7_4scale_12ep",
    "dn_deformable_detr/configs/dn_deformable_detr_r50_50ep",
    "dn_detr/configs/dn_detr_r50_50ep",
    "focus_detr/configs/focus_detr_resnet/focus_detr_r50_4scale_12ep",
    "focus_detr/configs/focus_detr_swin/focus_detr_swin_tiny_224_4scale_12ep",
    "group_detr/configs/group_detr_r50_50ep",
    "h_deformable_detr/configs/h_deformable_detr_r50_50ep",
    "h_deformable_detr/configs/h_deformable_detr_swin_tiny_two_stage_12ep",
    "maskdino/configs/maskdino_r50_coco_instance_seg_50ep",
    "maskdino/configs/maskdino_r50_coco_panoptic_seg_50ep",
    "maskdino/configs/maskdino_r50_ade20k_semantic_seg_160k",
    "pnp_detr/configs/pnp_detr_r50_300ep",
    "sqr_detr/configs/dab_detr_r50_50ep_sqr",
)


# H-DETR's and Mask DINO's configs as they are fail in the first step, or say a number twice
MENDED = {
    "h_deformable_detr_r50_50ep": {"model.transformer.decoder.look_forward_twice": False},
    "maskdino_r50_coco_panoptic_seg_50ep": {"model.params.num_classes": 133},
    "maskdino_r50_ade20k_semantic_seg_160k": {
        "model.params.num_classes": 150,
        "model.params.num_queries": 100,
    },
}


@pytest.mark.parametrize("path", CONFIGS)
def test_a_published_model_loads_whole_into_its_config(path, config, tmp_path):
    from detectron2.config import LazyConfig
    from omegaconf import OmegaConf

    cfg = config(f"projects/{path}.py")
    for place, value in MENDED.get(path.rpartition("/")[2], {}).items():
        OmegaConf.update(cfg, place, value)
    state = trained(cfg, tmp_path / "model_final.pth")
    # as training writes it
    LazyConfig.save(cfg, str(tmp_path / "config.yaml"))
    run = TrainingRun(config=tmp_path / "config.yaml")
    push = PushOptions(to=tmp_path / "hub", license="apache-2.0")
    push_any(tmp_path / "model_final.pth", "alice/trained", push, run)
    loads_whole(config(f"projects/{path}.py"), tmp_path / "hub/alice/trained", state)
