"""Exported backbones in transformers and timm give the same outputs as detrex's modules."""

from __future__ import annotations

import importlib
import importlib.util
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from detrex_hub.architectures import architecture, architectures
from detrex_hub.comparison import diff
from detrex_hub.conversion import convert
from detrex_hub.errors import ArchitectureError
from detrex_hub.exporting import export
from detrex_hub.loading import load_state_dict
from detrex_hub.records import RepositoryConfig
from tests import torchvision_operators
from tests.numerics.originals import Original
from tests.numerics.test_numerics import randomised

torchvision_operators.declare()
torch.set_num_threads(1)

SMALL = {
    "resnet": {"depth": 18},
    "swin": {
        "embed_dim": 8,
        "depths": [2, 2, 2, 2],
        "num_heads": [1, 2, 2, 4],
        "window_size": 2,
        "pretrain_img_size": 64,
    },
    "convnext": {"depths": [1, 1, 2, 1], "dims": [8, 16, 24, 32]},
    "vit_mae": {
        "embed_dim": 64,
        "depth": 4,
        "num_heads": 1,
        "patch_size": 8,
        "mlp_ratio": 4.0,
        "pretrain_img_size": 32,
        "img_size": 32,
        "window_size": 4,
        "window_block_indexes": [],
    },
}
NORMED = {"output_norms": [1, 2, 3]}


def needs(*names):
    lacking = [name for name in names if importlib.util.find_spec(name) is None]
    if lacking:
        pytest.skip(f"needs {', '.join(lacking)}")


def original(name, place, **others):
    """A file of the original with random tensors, and its converted folder."""
    place.mkdir(parents=True, exist_ok=True)
    model = Original(name, **{**SMALL[name], **others})
    model.load_state_dict(randomised(model), strict=False)
    model.save_pretrained(place)
    return convert(place / "model.safetensors", place / "converted").folder


@pytest.fixture(params=SMALL)
def folder(request, tmp_path):
    return original(request.param, tmp_path / request.param)


def stages_of(folder, image):
    """The outputs of each stage of detrex's modules for an image."""
    config = RepositoryConfig.load(folder / "config.json")
    made = architecture(config.architecture).from_hyper_parameters(config.hyper_parameters)
    module = importlib.import_module(f"detrex_hub.numerics.{made.name}")
    weights = {key: value.double() for key, value in load_state_dict(folder).items()}
    with torch.inference_mode():
        found = module.converted(made, config.overrides.lazy, weights, image)
    kept = "block" if made.name == "vit_mae" else ("stage", "res")
    stages = [value for key, value in found.items() if key.startswith(kept)]
    if made.name == "vit_mae":
        return [one.T.unflatten(1, (4, 4))[None] for one in stages]
    return [one.permute(0, 3, 1, 2) if made.name == "swin" else one for one in stages]


def picture(name):
    """An image of the pretraining's size, for which all windows are complete."""
    size = 32 if name == "vit_mae" else 64
    dice = torch.Generator().manual_seed(3)
    return torch.randn(1, 3, size, size, generator=dice, dtype=torch.float64)


CLASSES = {
    "resnet": "ResNetBackbone",
    "swin": "SwinBackbone",
    "convnext": "ConvNextBackbone",
    "vit_mae": "VitDetBackbone",
}


def same(found, wanted):
    assert found.shape == wanted.shape
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-5 * wanted.abs().max())


def lacking(told, *initialised):
    """Missing keys, except those that a model initialises correctly. transformers 4.57 computes the
    index of Swin's windows, and reports it as missing."""
    known = ("relative_position_index", *initialised)
    return [
        key
        for key in told["missing_keys"]
        if not key.rsplit(".", 1)[-1].startswith(known) and not key.startswith(known)
    ]


def opened_by_transformers(folder, out):
    needs("transformers")
    import transformers

    done = export(folder, out, layout="transformers")
    (name,) = json.loads((done.path / "config.json").read_text())["architectures"]
    model, told = getattr(transformers, name).from_pretrained(
        done.path, output_loading_info=True, dtype=torch.float64
    )
    return name, model.eval(), told


def test_transformers_computes_the_same(folder, tmp_path):
    name, model, told = opened_by_transformers(folder, tmp_path / "out")
    config = RepositoryConfig.load(folder / "config.json")
    assert name == CLASSES[config.architecture]
    assert not told["unexpected_keys"]
    assert not told["mismatched_keys"]
    assert not lacking(told, "num_batches_tracked", "hidden_states_norms")
    image, ours = picture(config.architecture), None
    ours = stages_of(folder, image)
    with torch.inference_mode():
        found = model(image, output_hidden_states=True)
    states = found.feature_maps if name == "VitDetBackbone" else found.hidden_states[1:]
    for one, wanted in zip(states, ours[-len(states) :], strict=True):
        same(one, wanted)


def test_output_norms_are_exported_to_transformers(tmp_path):
    """For a backbone that was trained in a detector."""
    place = tmp_path / "plain"
    for name in ("swin", "convnext"):
        folder = original(name, place / name)
        state = load_file(folder / "model.safetensors")
        made = architecture(name).from_hyper_parameters({**SMALL[name], **NORMED})
        for key, spec in made.target().items():
            if key.startswith("norm"):
                state[key] = torch.rand(spec.shape)
        save_file(state, tmp_path / f"{name}.safetensors")
        out = tmp_path / f"{name}-out"
        _, model, told = opened_by_transformers(tmp_path / f"{name}.safetensors", out)
        assert not lacking(told)
        norms = dict(model.hidden_states_norms.named_parameters())
        assert torch.equal(norms["stage3.weight"].float(), state["norm2.weight"])
        with pytest.raises(ArchitectureError, match="output norms of stages"):
            export(tmp_path / f"{name}.safetensors", tmp_path / "t", layout="timm")


def test_timm_computes_the_same(folder, tmp_path):
    needs("timm")
    import timm

    done = export(folder, tmp_path / "out", layout="timm")
    kind = RepositoryConfig.load(folder / "config.json").architecture
    image = picture(kind)
    ours = stages_of(folder, image)
    if kind == "vit_mae":
        model = timm.create_model(f"local-dir:{done.path}", pretrained=True).double().eval()
        with torch.inference_mode():
            found = [model.forward_features(image).transpose(1, 2).unflatten(-1, (4, 4))]
    else:
        model = timm.create_model(f"local-dir:{done.path}", pretrained=True, features_only=True)
        with torch.inference_mode():
            found = model.double().eval()(image)
        if kind == "swin":
            found = [one.permute(0, 3, 1, 2) for one in found]
    for one, wanted in zip(reversed(found), reversed(ours), strict=False):
        same(one, wanted)
    config = json.loads((done.path / "config.json").read_text())
    assert config["pretrained_cfg"]["mean"] == [0.485, 0.456, 0.406]


@pytest.mark.parametrize("layout", ["transformers", "timm"])
def test_export_and_conversion_give_the_same_bytes(folder, tmp_path, layout):
    done = export(folder, tmp_path / "out", layout=layout)
    config = RepositoryConfig.load(folder / "config.json")
    if (config.architecture, layout) == ("vit_mae", "timm"):
        # the position of the class token was cut
        assert list(done.plan.computed) == ["pos_embed"]
        return
    assert not done.plan.computed
    facts = {"architecture": config.architecture}
    back = convert(done.path / "model.safetensors", tmp_path / "back", **facts).folder
    one, other = (path / "model.safetensors" for path in (folder, back))
    assert diff(one, other).equal


def test_backbones_are_exported_or_say_why_not():
    for name in ("eva01", "eva02", "internimage", "focalnet"):
        assert architecture(name).not_in_transformers
    assert {n for n, kind in architectures().items() if kind.written_as} == {
        "resnet",
        "vit_mae",
        "dinov2",
    }
