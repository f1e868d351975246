"""Backbones that are built into detrex's configs load whole, and the detector runs."""

from __future__ import annotations

import pytest
import torch

from detrex_hub import catalogue, from_hub, load_state_dict
from detrex_hub.architectures import architecture
from detrex_hub.catalogue.models import model_of
from detrex_hub.conversion import convert
from detrex_hub.errors import ConfigError
from tests.real.checkpointers import built, load

CASES = {
    "projects/detr/configs/detr_r50_300ep.py": "swin_tiny_patch4_window7_224",
    "projects/detr/configs/detr_r50_dc5_300ep.py": "focalnet_tiny_lrf",
    "projects/conditional_detr/configs/conditional_detr_r50_50ep.py": "convnext_tiny_22k_1k_384",
    "projects/anchor_detr/configs/anchor_detr_r50_50ep.py": "convnext_tiny_22k_1k_384",
    "projects/dab_detr/configs/dab_detr_r50_50ep.py": "swin_tiny_patch4_window7_224",
    "projects/dn_detr/configs/dn_detr_r50_50ep.py": "swin_tiny_patch4_window7_224",
    "projects/deformable_detr/configs/deformable_detr_r50_50ep.py": "internimage_t_1k_224",
    "projects/dino/configs/dino-resnet/dino_r50_4scale_12ep.py": "mae_pretrain_vit_base",
    "projects/dino/configs/dino-resnet/dino_r50_5scale_12ep.py": "focalnet_tiny_lrf",
    "projects/h_deformable_detr/configs/h_deformable_detr_r50_two_stage_12ep.py": (
        "swin_tiny_patch4_window7_224"
    ),
}


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folders = {}

    def _converted(name):
        if name not in folders:
            root = tmp_path_factory.mktemp(name)
            folders[name] = convert(name, root / name, synthetic=True).folder
        return folders[name]

    return _converted


@pytest.mark.parametrize("path", CASES)
def test_a_built_backbone_loads_whole_and_the_detector_runs(path, config, converted):
    entry = catalogue.load_entries()[CASES[path]]
    folder = converted(entry.name)
    cfg = config(path)
    weights = from_hub(folder, model=cfg.model, dataloader=cfg.dataloader, build=True)
    if entry.architecture == "internimage":
        # its other operator is compiled
        cfg.model.backbone.core_op = "DCNv3_pytorch"
    model = built(cfg)
    loaded = load(model, weights)
    kind = architecture(entry.architecture)
    made = model_of(entry)
    prefix = f"{kind.node.removeprefix('model.')}."
    assert not loaded.unexpected
    assert not loaded.wrong_shape
    assert {key for key in loaded.missing if key.startswith(prefix)} <= {
        prefix + key for key in made.set_by_model()
    }
    state = model.state_dict()
    ours = load_state_dict(folder)
    assert loaded.given == {prefix + key for key in ours}
    assert [
        key for key, tensor in ours.items() if not torch.equal(state[prefix + key], tensor)
    ] == []
    model.eval()
    image = torch.arange(3 * 320 * 384).reshape(3, 320, 384).remainder(256).float()
    with torch.no_grad():
        (found,) = model([{"image": image, "height": 320, "width": 384}])
    assert len(found["instances"]) > 0
    assert torch.isfinite(found["instances"].scores).all()


def test_eva02_is_built_only_where_images_are_padded_to_squares(config, converted):
    folder = converted("eva02_B_pt_in21k_p14to16")
    cfg = config("projects/dino/configs/dino-resnet/dino_r50_4scale_12ep.py")
    with pytest.raises(ConfigError, match=r"only square images of 1024 pixels"):
        from_hub(folder, model=cfg.model, build=True)
