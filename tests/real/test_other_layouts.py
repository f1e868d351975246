"""Weights of other libraries' layouts, and computed ones, load into detrex's real configs."""

from __future__ import annotations

import pickle

import pytest
import torch

from detrex_hub import from_hub, load_state_dict
from detrex_hub.conversion import convert
from tests import reference
from tests.checkpoint_files import save, tensors
from tests.real.checkpointers import built, load

DINO = "projects/dino/configs/"
CASES = {
    # the real names of Caffe2, the stride in the 1x1 convolution, BGR images
    "c2_msra_r50_d1": (f"{DINO}dino-resnet/dino_r50_4scale_12ep.py", {}),
    "c2_msra_r50_d2": (
        f"{DINO}dino-resnet/dino_r50_4scale_12ep.py",
        {"absorb_preprocessing": True},
    ),
    "hf_resnet50": (f"{DINO}dino-resnet/dino_r50_4scale_12ep.py", {}),
    # stages that make_default_stages cannot build
    "wide_resnet50_2": (f"{DINO}dino-resnet/dino_r50_4scale_12ep.py", {}),
    "resnext101_32x8d": (f"{DINO}dino-resnet/dino_r101_4scale_12ep.py", {}),
    "mmdet_swin_tiny": (f"{DINO}dino-swin/dino_swin_tiny_224_4scale_12ep.py", {}),
    "hf_swin_backbone_tiny": (f"{DINO}dino-swin/dino_swin_tiny_224_4scale_12ep.py", {}),
    "swin_base_patch4_window7_224_22k_to_window12": (
        f"{DINO}dino-swin/dino_swin_base_384_4scale_12ep.py",
        {"window_size": 12},
    ),
    "hf_convnext_tiny": (f"{DINO}dino-convnext/dino_convnext_tiny_384_4scale_12ep.py", {}),
    "hf_vit_mae_base": (f"{DINO}dino-vitdet/dino_vitdet_base_4scale_12ep.py", {}),
    # positions of 37 x 37, which the stock size of the pretraining leaves random
    "dinov2_vits14_p16": (
        f"{DINO}dino-vitdet/dino_vitdet_base_4scale_12ep.py",
        {"patch_size": 16},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_weights_load_whole(name, config, tmp_path):
    path, facts = CASES[name]
    state = tensors(reference.load(name).source)
    if name.startswith("c2_"):
        source = tmp_path / f"{name}.pkl"
        arrays = {key: tensor.numpy() for key, tensor in state.items()}
        source.write_bytes(pickle.dumps(arrays, protocol=2))
    else:
        source = save(tmp_path / f"{name}.pth", state)
    done = convert(source, tmp_path / name, facts=facts)
    made = done.conversion.architecture
    cfg = config(path)
    weights = from_hub(
        done.folder, model=cfg.model, dataloader=cfg.dataloader, build=True, prefix="auto"
    )
    model = built(cfg)
    loaded = load(model, weights)
    prefix = f"{made.node.removeprefix('model.')}."
    assert not loaded.unexpected
    assert not loaded.wrong_shape
    assert {key for key in loaded.missing if key.startswith(prefix)} <= {
        prefix + key for key in made.set_by_model()
    }
    held, ours = model.state_dict(), load_state_dict(done.folder)
    assert loaded.given == {prefix + key for key in ours}
    assert [k for k, tensor in ours.items() if not torch.equal(held[prefix + k], tensor)] == []
