"""timm's real models, as sources and as a second check of what the originals' names mean."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from detrex_hub.architectures import architecture
from detrex_hub.architectures.recognise import recognise
from detrex_hub.conversion import convert
from detrex_hub.specs import TORCH_DTYPES, TensorSpec
from tests.checkpoint_files import save, tensors
from tests.torchvision_operators import declare

MODELS = {
    "swin": {
        "img_size": 64,
        "patch_size": 4,
        "window_size": 2,
        "embed_dim": 8,
        "depths": (2, 2, 2, 2),
        "num_heads": (1, 2, 2, 4),
        "num_classes": 5,
    },
    "convnext": {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32), "num_classes": 5},
    "vit_mae": {
        "img_size": 64,
        "patch_size": 16,
        "embed_dim": 64,
        "depth": 2,
        "num_heads": 1,
        "num_classes": 0,
    },
}


@pytest.fixture(scope="module")
def timm():
    """For each architecture: how timm builds it, and how timm reads the original's files."""
    declare()
    from timm.models import convnext, swin_transformer, vision_transformer

    return {
        "swin": (swin_transformer.SwinTransformer, swin_transformer.checkpoint_filter_fn),
        "convnext": (convnext.ConvNeXt, convnext.checkpoint_filter_fn),
        "vit_mae": (vision_transformer.VisionTransformer, vision_transformer.checkpoint_filter_fn),
    }


def randomised(model):
    """Its state dict, in which all tensors differ."""
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.normal_()
    return model.state_dict()


def specs_of(state):
    return {k: TensorSpec(TORCH_DTYPES[str(t.dtype)[6:]], tuple(t.shape)) for k, t in state.items()}


def converted(path, folder):
    done = convert(path, folder)
    return load_file(done.path), done.conversion


@pytest.mark.parametrize("name", MODELS)
def test_a_real_model_of_timm_is_converted(timm, tmp_path, name):
    torch.manual_seed(0)
    kind, _ = timm[name]
    state = randomised(kind(**MODELS[name]))
    save_file(state, tmp_path / "model.safetensors")
    written, conversion = converted(tmp_path / "model.safetensors", tmp_path / "out")
    assert conversion.architecture.name == name
    assert conversion.layout == ("original" if name == "vit_mae" else "timm")
    made = conversion.architecture
    assert written.keys() | made.set_by_model() == made.target().keys()
    # each tensor is one of timm's, and no tensor is used twice
    taken = [move.pieces[0].key for move in conversion.plan.moves.values()]
    assert len(taken) == len(set(taken)) == len(written)
    assert set(taken) == state.keys() - conversion.plan.dropped.keys()
    for target, move in conversion.plan.moves.items():
        assert torch.equal(written[target], state[move.pieces[0].key])


@pytest.mark.parametrize("name", MODELS)
def test_timm_and_detrex_hub_read_the_originals_file_alike(timm, tmp_path, name):
    kind, read_original = timm[name]
    model = kind(**MODELS[name])
    theirs = specs_of(model.state_dict())
    recognised = recognise(theirs)
    made = architecture(name).read(theirs, recognised.layout, {})
    if name == "swin":
        made = architecture(name).from_hyper_parameters(
            made.hyper_parameters() | {"position_index": True, "pretrain_img_size": 64}
        )
    specs, _ = made.original()
    head = {k: TensorSpec("F32", (5, *s.shape[1:])) for k, s in specs.items() if k[:5] == "head."}
    original = tensors(specs | head)

    filtered = read_original({"model": dict(original)}, model)
    model.load_state_dict(filtered, strict=True)
    save_file({k: t.contiguous() for k, t in filtered.items()}, tmp_path / "theirs.safetensors")

    through_timm, _ = converted(tmp_path / "theirs.safetensors", tmp_path / "theirs")
    straight, conversion = converted(
        save(tmp_path / "ours.pth", original, "model"), tmp_path / "ours"
    )
    assert conversion.layout == "original"
    computed = {key for key in straight if key.endswith("relative_position_index")}
    assert straight.keys() - through_timm.keys() == computed
    assert through_timm.keys() <= straight.keys()
    for key, tensor in through_timm.items():
        assert torch.equal(tensor, straight[key]), key
