from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load_file

from detrex_hub.architectures.base import IMAGENET_RGB
from detrex_hub.architectures.recognise import recognise
from detrex_hub.architectures.resnet import ResNet
from detrex_hub.conversion import convert, prepare
from detrex_hub.errors import ArchitectureError, MappingError, UsageError
from detrex_hub.identify import identify
from detrex_hub.mapping import Computed
from detrex_hub.mapping.operations import Filled, Subtract
from detrex_hub.specs import TensorSpec
from tests import reference
from tests.architectures.backbones import State, comes_out_as_measured, read, reads_back
from tests.checkpoint_files import tensors

R50 = ResNet(depth=50)
X101 = ResNet(depth=101, num_groups=32, width_per_group=8)
WIDE = ResNet(depth=50, width_per_group=128)
BGR_MEAN = [103.53, 116.28, 123.675]

VARIANTS = [
    ("c2_msra_r50_d2", "caffe2", ResNet(depth=50, conv1_bias="drop")),
    ("c2_msra_r50_d1", "caffe2_affine", ResNet(depth=50, conv1_bias="drop")),
    (
        "c2_fair_x101_32x8d_riv",
        "caffe2_riv",
        ResNet(depth=101, num_groups=32, width_per_group=8, conv1_bias="drop"),
    ),
    ("hf_resnet50", "transformers", R50),
    ("resnext101_32x8d", "torchvision", X101),
    ("wide_resnet50_2", "torchvision", WIDE),
]


def images(name: str, **facts: Any) -> dict[str, Any]:
    """The image and stride settings that the weights of a variant need in a config."""
    source = reference.load(name).source
    made, layout = read(source, facts)
    settled = ResNet.settle(source, layout, facts)
    return made.preprocessing(settled.values) | {"assumed": settled.assumed}


@pytest.mark.parametrize(("name", "layout", "expected"), VARIANTS)
def test_comes_out_as_measured(name: str, layout: str, expected: ResNet) -> None:
    made, found, _ = comes_out_as_measured(name)
    assert (made, found) == (expected, layout)
    assert ResNet.from_hyper_parameters(made.hyper_parameters()) == made


@pytest.mark.parametrize(("name", "layout", "expected"), VARIANTS)
def test_stride_and_image_settings_match_the_measured_ones(
    name: str, layout: str, expected: ResNet
) -> None:
    # a wrong stride changes outputs by 0.04 to 0.30 from res3 on, wrong images by up to 98 %, and
    # no shape shows it
    stated = reference.load(name).about["config"]
    found = images(name)
    assert found["stride_in_1x1"] == stated["constructor"]["stride_in_1x1"]
    assert found["image_format"] == stated["input_format"] == ("BGR" if "c2" in name else "RGB")
    if "c2" in name:
        assert found["pixel_mean"] == stated["pixel_mean_bgr"]
        assert found["pixel_std"] == stated["pixel_std_bgr"]
    told = {"stride_in_1x1", "image_format", "pixel_std"}
    # Caffe2's names show them
    assert told.intersection(found["assumed"]) == (set() if "c2" in name else told)


@pytest.mark.parametrize("made", [R50, X101, WIDE, ResNet(depth=152, width_per_group=128)])
def test_reads_back(made: ResNet) -> None:
    reads_back(made)


# -- Caffe2 ---------------------------------------------------------------------------------------


def test_affine_files_get_statistics_that_make_a_frozen_norm_scale_only() -> None:
    # detectron2's loader uses variance 1 although the norm adds 1e-5: an error of up to 1.9e-4
    made, _, plan = comes_out_as_measured("c2_msra_r50_d1")
    values = {
        key.rpartition(".")[2]: piece.operation.value
        for key, move in plan.computed.items()
        for piece in move.pieces
        if isinstance(piece.operation, Filled)
    }
    assert values == {"running_mean": 0.0, "running_var": 1.0 - 1e-5}
    with pytest.raises(MappingError, match="by constant"):
        made.plan_export(plan.specs, "caffe2_affine")


def test_extra_blobs_of_a_caffe2_file_are_dropped() -> None:
    source = dict(reference.load("c2_msra_r50_d2").source)
    source["conv1_w_momentum"] = source["conv1_w"]
    source["res2_0_branch2a_bn_gamma_momentum"] = TensorSpec("F32", (64,))
    made, layout = read(source)
    dropped = made.plan(source, layout).dropped
    assert "momentum" in dropped["conv1_w_momentum"]
    assert "loader also drops" in dropped["conv1_b"]


@pytest.mark.parametrize("name", ["c2_msra_r50_d2", "c2_fair_x101_32x8d_riv"])
def test_the_bias_of_the_first_convolution_is_dropped_or_folded(name: str) -> None:
    # dropping random values changes the features by 1e-3 to 4e-3
    source = dict(reference.load(name).source) | {"conv1_b": TensorSpec("F32", (64,))}
    found = identify(source, recognise(source))
    assert found.assumed["conv1_bias"] == "drop"
    without = {key: spec for key, spec in source.items() if key != "conv1_b"}
    assert "conv1_bias" not in identify(without, recognise(without)).assumed

    folded = identify(source, recognise(source), given={"conv1_bias": "fold"})
    assert not folded.plan.dropped.keys() & {"conv1_b"}
    (piece,) = folded.plan.computed["stem.conv1.norm.running_mean"].pieces
    assert isinstance(piece, Computed)
    assert piece.operation == Subtract()
    assert piece.of[1] == "conv1_b"


def test_folding_a_bias_needs_a_running_mean() -> None:
    affine = dict(reference.load("c2_msra_r50_d1").source)
    for source in (affine, {k: v for k, v in affine.items() if k != "conv1_b"}):
        with pytest.raises(UsageError, match="cannot be folded"):
            identify(source, recognise(source), given={"conv1_bias": "fold"})


def test_a_folded_bias_keeps_the_output_of_the_first_convolution(tmp_path: Path) -> None:
    state = {key: t.numpy() for key, t in tensors(reference.load("c2_msra_r50_d2").source).items()}
    done = convert(
        write_pickle(tmp_path / "R-50.pkl", state),
        tmp_path / "out",
        facts={"conv1_bias": "fold"},
    )
    written = load_file(done.path)["stem.conv1.norm.running_mean"].numpy()
    assert (written == state["res_conv1_bn_running_mean"] - state["conv1_b"]).all()


def write_pickle(path: Path, contents: Any) -> Path:
    path.write_bytes(pickle.dumps(contents, protocol=2))
    return path


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_caffe2_pickle_is_converted_with_and_without_its_wrapper(
    wrapped: bool, tmp_path: Path
) -> None:
    variant = reference.load("c2_msra_r50_d1")
    state = {key: tensor.numpy() for key, tensor in tensors(variant.source).items()}
    contents = {"blobs": state, "cfg": "MODEL: {}"} if wrapped else state
    done = convert(write_pickle(tmp_path / "R-50.pkl", contents), tmp_path / "out")
    written = load_file(done.path)
    assert done.conversion.layout == "caffe2_affine"
    for target in ("stem.conv1", "res2.0.shortcut", "res5.2.conv3"):
        assert not written[f"{target}.norm.running_mean"].any()
        assert torch.equal(
            written[f"{target}.norm.running_var"],
            torch.full_like(written[f"{target}.norm.running_mean"], 1.0 - 1e-5),
        )
    scale = torch.from_numpy(state["res4_5_branch2b_bn_s"])
    assert torch.equal(written["res4.5.conv2.norm.weight"], scale)
    described = done.documents["README.md"]
    assert "were computed" in described
    assert "constant" in described


@pytest.mark.parametrize(
    ("name", "std", "in_1x1"),
    [
        ("c2_msra_r50_d2", [1.0, 1.0, 1.0], True),
        ("c2_fair_x101_32x8d_riv", [57.375, 57.12, 58.395], False),
    ],
)
def test_a_converted_caffe2_file_sets_the_image_settings_of_a_config(
    name: str, std: list[float], in_1x1: bool, tmp_path: Path
) -> None:
    state = {key: tensor.numpy() for key, tensor in tensors(reference.load(name).source).items()}
    with prepare(write_pickle(tmp_path / "R.pkl", state)) as planned:
        lazy = planned.overrides.lazy
    assert lazy["dataloader.train.mapper.img_format"] == "BGR"
    assert lazy["model.pixel_mean"] == BGR_MEAN
    assert lazy["model.pixel_std"] == std
    strides = {value for path, value in lazy.items() if path.endswith("stride_in_1x1")}
    assert strides == {in_1x1}


def test_the_first_convolution_absorbs_the_image_format_on_request() -> None:
    asked = {"absorb_preprocessing": True}
    for name, factors in (
        ("c2_msra_r50_d2", (58.395, 57.12, 57.375)),
        ("c2_fair_x101_32x8d_riv", (1.0, 1.0, 1.0)),
    ):
        variant = reference.load(name)
        made, layout = read(variant.source, asked)
        piece = variant.about["proof"]["absorbed_preprocessing"]["piece"]
        (move,) = made.plan(variant.source, layout).computed.values()
        operation = move.pieces[0].operation
        assert list(operation.index) == piece["args"]["index"]
        assert operation.factors == pytest.approx(factors)
        assert operation.factors == pytest.approx(piece["args"]["factor"])
        found = images(name, **asked)
        assert {key: found[key] for key in IMAGENET_RGB} == IMAGENET_RGB
        with pytest.raises(MappingError, match="by scale_in_channels"):
            made.plan_export(made.plan(variant.source, layout).specs, layout)
    # RGB images do not need it, and with another mean zero padding would be wrong
    for name, facts in (
        ("hf_resnet50", {}),
        ("c2_msra_r50_d2", {"pixel_mean": [0.0, 0.0, 0.0]}),
    ):
        with pytest.raises(UsageError, match="with ImageNet's mean"):
            read(reference.load(name).source, asked | facts)


def test_an_absorbing_convolution_computes_the_same(tmp_path: Path) -> None:
    variant = reference.load("c2_msra_r50_d1")
    state = {key: tensor.numpy() for key, tensor in tensors(variant.source).items()}
    path = write_pickle(tmp_path / "R-50.pkl", state)
    done = convert(path, tmp_path / "out", facts={"absorb_preprocessing": True})
    weight = load_file(done.path)["stem.conv1.weight"].double()
    image = torch.rand(3, 7, 7, dtype=torch.float64) * 255
    mean, std = (torch.tensor(IMAGENET_RGB[f"pixel_{name}"]).double() for name in ("mean", "std"))
    rgb = (image - mean[:, None, None]) / std[:, None, None]
    bgr = image.flip(0) - torch.tensor(BGR_MEAN).double()[:, None, None]
    original = (torch.from_numpy(state["conv1_w"]).double() * bgr).sum((1, 2, 3))
    assert torch.allclose((weight * rgb).sum((1, 2, 3)), original, rtol=1e-6)


# -- ResNeXts and wide ResNets --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnext101_32x8d", "wide_resnet50_2"])
def test_stages_are_built_one_by_one_if_make_default_stages_cannot(name: str) -> None:
    made, _ = read(reference.load(name).source)
    stages = made.build({"stride_in_1x1": False}).kwargs["stages"]
    stated = reference.load(name).about["config"]["stages_as_lazy_calls"]
    for stage, wanted in zip(stages, stated, strict=True):
        assert stage.target == wanted.pop("_target_")
        block = wanted.pop("block_class")
        assert stage.kwargs["block_class"].kwargs == {"name": block}
        assert {key: value for key, value in stage.kwargs.items() if key != "block_class"} == wanted


def test_classic_configs_get_groups_and_width() -> None:
    yacs = X101.overrides(IMAGENET_RGB).yacs
    assert yacs["MODEL.RESNETS.NUM_GROUPS"] == 32
    assert yacs["MODEL.RESNETS.WIDTH_PER_GROUP"] == 8
    assert "MODEL.RESNETS.NUM_GROUPS" not in R50.overrides(IMAGENET_RGB).yacs


# -- other libraries ------------------------------------------------------------------------------


def below(prefix: str, specs: State, *others: str) -> State:
    return {prefix + key: spec for key, spec in specs.items()} | {
        key: TensorSpec("F32", (8, 8)) for key in others
    }


@pytest.mark.parametrize(
    ("name", "prefix", "others", "layout"),
    [
        ("hf_resnet50", "resnet.", ("classifier.1.weight",), "transformers_classifier"),
        ("resnet50", "backbone.", ("neck.x.weight", "bbox_head.y.bias"), "mmdet_detector"),
        ("resnet50", "backbone.", ("head.fc.weight",), "mmpretrain_classifier"),
    ],
)
def test_the_backbone_of_a_whole_model_is_converted(
    name: str, prefix: str, others: tuple[str, ...], layout: str
) -> None:
    source = {k: s for k, s in reference.load(name).source.items() if not k.startswith("fc.")}
    specs = below(prefix, source, *others)
    made, found = read(specs)
    assert (made, found) == (R50, layout)
    plan = made.plan(specs, layout)
    assert plan.specs == R50.target()
    assert plan.dropped.keys() >= set(others)


def test_image_facts_of_other_libraries_are_noted_and_can_be_set() -> None:
    made, layout = read(reference.load("hf_resnet50").source)
    assert any("downsample_in_bottleneck" in note for note in made.notes_on(layout))
    found = images("hf_resnet50", stride_in_1x1=True)
    assert found["stride_in_1x1"] is True
    assert "stride_in_1x1" not in found["assumed"]
    assert "style 'caffe'" in ResNet.layouts["mmdet_detector"].note


def test_a_classifier_of_transformers_is_kept_on_request() -> None:
    source = below("resnet.", dict(reference.load("hf_resnet50").source))
    source["classifier.1.weight"] = TensorSpec("F32", (1000, 2048))
    source["classifier.1.bias"] = TensorSpec("F32", (1000,))
    made, layout = read(source, {"keep_classifier": True})
    assert made == replace(R50, num_classes=1000)
    assert made.plan(source, layout).moves["linear.bias"].sources == ("classifier.1.bias",)
    with pytest.raises(ArchitectureError, match="no key"):
        read(reference.load("hf_resnet50").source, {"keep_classifier": True})
