"""Original and converted weights give the same outputs, and wrong conversions give others."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import save_file

from detrex_hub import catalogue, numerics
from detrex_hub.architectures import architecture, convnext
from detrex_hub.architectures.coco import CATEGORIES
from detrex_hub.architectures.heads import HeadLists
from detrex_hub.architectures.resnet import ResNet
from detrex_hub.architectures.torchvision_resnet import TorchvisionResNet
from detrex_hub.catalogue.models import model_of
from detrex_hub.conversion import convert, prepare
from detrex_hub.errors import UsageError, VerificationError
from detrex_hub.loading import load_state_dict, tensors_of
from detrex_hub.mapping import Drop, Rename
from detrex_hub.numerics import detr as detr_numerics
from detrex_hub.numerics.common_rows import common_rows
from detrex_hub.originals.conversion_options import ConversionOptions
from detrex_hub.verification import verify
from tests import reference, tiny, torchvision_operators
from tests.numerics import backbones, conditional_detr, dab_detr, deformable_detr, detr
from tests.numerics.originals import Original

torchvision_operators.declare()
# for small models several threads are slower than one
torch.set_num_threads(1)


def merged(name):
    files = (
        backbones,
        conditional_detr,
        dab_detr,
        deformable_detr,
        detr,
    )
    return {key: value for file in files for key, value in getattr(file, name, {}).items()}


MODELS = merged("MODELS")
VARIANTS = merged("VARIANTS")
# options of conversions for facts that keys do not show
OPTIONS = merged("OPTIONS")


class Made(NamedTuple):
    """A file of a real model, its converted folder, the keys of two tensors of one shape in it, and
    the options of the conversion."""

    path: Path
    folder: Path
    swapped: tuple[str, str]
    options: dict[str, Any]


def randomised(model):
    """Random tensors such that every tensor changes the outputs, and all outputs depend on the
    image."""
    dice = torch.Generator().manual_seed(1)

    def tensor(key, shape):
        if key.endswith(("running_var", "weight")) and len(shape) == 1:
            return torch.rand(shape, generator=dice) + 0.5
        found = torch.randn(shape, generator=dice)
        # the outputs of the layers before neither grow nor vanish
        return found * (2 / math.prod(shape[1:])) ** 0.5 if len(shape) > 1 else found * 0.1

    return {
        key: tensor(key, value.shape)
        for key, value in model.state_dict().items()
        if value.is_floating_point()
    }


def make(name, place, model, *swapped):
    """Make a model with random tensors, and convert it."""
    options = OPTIONS.get(name, {})
    state = randomised(model)
    model.load_state_dict(state, strict=False)
    if hasattr(model, "save_pretrained"):
        model.save_pretrained(place)
        path = place / "model.safetensors"
    else:
        path = place / "original.safetensors"
        save_file(state, path)
    return Made(path, convert(path, place / "converted", **options).folder, swapped, options)


@pytest.fixture(scope="module", params=MODELS)
def made(request, tmp_path_factory):
    model, *swapped = MODELS[request.param]
    return make(request.param, tmp_path_factory.mktemp(request.param), model(), *swapped)


def differences(made, converted, settings=MappingProxyType({})):
    with prepare(made.path, ConversionOptions(**made.options)) as planned:
        lazy = {**planned.overrides.lazy, **settings}
        original = tensors_of(planned.checkpoint, {})
        return numerics.compare(planned.architecture, planned.layout, lazy, original, converted)


def test_the_converted_weights_compute_what_the_original_does(made):
    found = differences(made, load_state_dict(made.folder))
    assert len(found) >= 4
    assert all(one.is_rounding for one in found), found
    assert all(one.largest > 1e-3 for one in found)


@pytest.mark.parametrize("name", VARIANTS)
def test_converted_variants_compute_what_the_original_does(name, tmp_path):
    made = make(name, tmp_path, VARIANTS[name]())
    found = differences(made, load_state_dict(made.folder))
    assert all(one.is_rounding for one in found), found


def test_a_swap_of_two_tensors_of_one_shape_shows(made):
    one, other = made.swapped
    state = load_state_dict(made.folder)
    state[one], state[other] = state[other], state[one]
    found = differences(made, state)
    assert not all(each.is_rounding for each in found)
    # outputs before these tensors are still equal
    assert found[0].is_rounding


def test_verify_prints_the_comparison(made, capfd):
    found = verify(made.folder, source=str(made.path), with_numerics=True)
    assert found.checks[-1].name == "numerics"
    assert found.checks[-1].detail.startswith("max |Δ| in float64")
    with pytest.raises(UsageError, match="--numerics needs the original"):
        verify(made.folder, with_numerics=True)


def test_a_wrong_mapper_passes_all_but_the_numerics(tmp_path, monkeypatch):
    """Keys, shapes and bytes agree, because the same mapper made both."""
    at, names = "stages.{i}.{j}", ("dwconv", "pwconv2")
    wrong = [
        rule
        for rule in convnext.RULES["original"]
        if rule.source not in {f"{at}.{n}.*" for n in names}
    ]
    for one, other in (names, names[::-1]):
        wrong.append(Rename(f"{at}.{one}.weight", f"{at}.{one}.weight"))
        wrong.append(Rename(f"{at}.{one}.bias", f"{at}.{other}.bias"))
    monkeypatch.setitem(convnext.RULES, "original", tuple(wrong))
    path = tiny.original(tmp_path / "tiny.pth")
    folder = convert(path, tmp_path / "converted").folder
    assert verify(folder, source=str(path)).repeated
    with pytest.raises(VerificationError, match="does not compute what the original does"):
        verify(folder, source=str(path), with_numerics=True)


def test_a_config_value_that_is_wrong_shows():
    import timm

    state = randomised(timm.create_model("resnet50", num_classes=0))
    made = ResNet(depth=50)
    specs, _ = made.original()
    plan = made.plan({key: specs[key] for key in state}, "torchvision")
    converted = {key: state[move.pieces[0].key] for key, move in plan.moves.items()}
    right = made.overrides(made.preprocessing({})).lazy
    assert right["model.backbone.stages.stride_in_1x1"] is False
    wrong = right | {"model.backbone.stages.stride_in_1x1": True}
    found = numerics.compare(made, "torchvision", wrong, state, converted)
    assert [one.is_rounding for one in found] == [True, True, False, False, False]


@pytest.mark.parametrize(
    ("made", "setting", "wrong"),
    [
        ("focalnet_huge", "backbone.use_postln", False),
        ("focalnet_huge", "backbone.normalize_modulator", False),
        ("focalnet_huge", "backbone.use_conv_embed", False),
        ("vit_mae", "backbone.net.num_heads", 2),
        ("eva02", "backbone.net.num_heads", 4),
        ("detr_original", "position_embedding.temperature", 20),
        ("detr_original", "transformer.encoder.num_heads", 4),
        ("conditional_detr_original", "transformer.decoder.num_heads", 4),
    ],
    indirect=["made"],
)
def test_a_config_value_that_no_weight_shows_is_used(made, setting, wrong):
    found = differences(made, load_state_dict(made.folder), {f"model.{setting}": wrong})
    assert not found[-1].is_rounding


def test_a_dilated_stage_is_compared():
    import timm

    state = randomised(timm.create_model("resnet50", num_classes=0))
    converted = {f"body.{key}": value for key, value in state.items()}
    made = TorchvisionResNet(depth=50, dilation=True)
    right = made.overrides(made.preprocessing({})).lazy
    found = numerics.compare(made, "torchvision", right, state, converted)
    assert all(one.is_rounding for one in found), found
    wrong = right | {"model.backbone.dilation": False}
    found = numerics.compare(made, "torchvision", wrong, state, converted)
    assert [one.is_rounding for one in found] == [True, True, True, True, False]


def test_proposals_ranked_by_another_class_show(tmp_path, monkeypatch):
    """The first row of the encoder's class head ranks them. It is not a class of COCO."""
    monkeypatch.setattr(HeadLists, "_ranks", lambda heads, head: False)
    made = make("deformable_detr_two_stage", tmp_path, deformable_detr.original_in_two_stages())
    found = differences(made, load_state_dict(made.folder))
    assert [one.name for one in found if one.is_rounding] == ["encoder"]


@pytest.mark.parametrize(
    "name, original, points",
    [
        ("deformable_detr", deformable_detr.original, "transformer.reference_points.bias"),
        (
            "conditional_detr",
            conditional_detr.original,
            "transformer.decoder.ref_point_head.layers.1.bias",
        ),
    ],
)
def test_boxes_at_the_border_are_those_of_the_original(name, original, points, tmp_path):
    """detrex limits the inverse sigmoid more than the original, which weights cannot change."""
    made = make(name, tmp_path, original())
    with prepare(made.path) as planned:
        states = tensors_of(planned.checkpoint, {}), load_state_dict(made.folder)
        for state in states:
            state[points] -= 9
        lazy = planned.overrides.lazy
        found = numerics.compare(planned.architecture, planned.layout, lazy, *states)
    assert all(one.is_rounding for one in found), found


@pytest.mark.parametrize(
    "otherwise, why",
    [
        ({"embed_dim": 256, "num_queries": 2500}, "with 4 feature maps and 2500 proposals"),
        ({"embed_dim": 128}, "in two stages with a width of 128"),
    ],
)
def test_two_stage_models_that_cannot_run_are_refused(otherwise, why):
    two_stage = {"with_box_refine": True, "as_two_stage": True}
    values = {**deformable_detr.HYPER_PARAMETERS, **two_stage, **otherwise}
    made = architecture("deformable_detr").from_hyper_parameters(values)
    with pytest.raises(UsageError, match=why):
        numerics.check_runnable(made, "original")


def test_an_original_that_is_another_model_is_refused():
    state = backbones.timm_resnet().state_dict()
    del state["bn1.weight"]
    made = ResNet(depth=18)
    with pytest.raises(VerificationError, match=r"missing bn1\.weight"):
        numerics.compare(made, "torchvision", {}, state, {})


def test_counters_of_batch_norm_are_ignored():
    """They are in a detector's file but not in the detector."""
    made = architecture("detr").from_hyper_parameters(detr.HYPER_PARAMETERS)
    model = Original("detr", **detr.HYPER_PARAMETERS)
    state = {key: value.double() for key, value in randomised(model).items()}
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    found = detr_numerics.original(made, "original", state, images)
    norms = [key.removesuffix("running_var") for key in state if key.endswith("running_var")]
    counters = {f"{norm}num_batches_tracked": torch.tensor(1) for norm in norms}
    again = detr_numerics.original(made, "original", state | counters, images)
    assert torch.equal(found["boxes"], again["boxes"])


def test_the_row_for_no_object_is_compared_too():
    made = architecture("detr").from_hyper_parameters(detr.HYPER_PARAMETERS)
    assert common_rows(made) == ([*CATEGORIES, 91], list(range(81)))


def test_nan_is_not_a_rounding_difference():
    assert not numerics.OutputDifference("x", float("nan"), 1.0).is_rounding
    assert numerics.OutputDifference("x", 0.0, 0.0).is_rounding


@pytest.mark.parametrize("lacking", ["timm", "transformers"])
def test_a_missing_library_is_named(lacking, monkeypatch, made):
    monkeypatch.setitem(sys.modules, lacking, None)
    with prepare(made.path, ConversionOptions(**made.options)) as planned:
        try:
            numerics.check_runnable(planned.architecture, planned.layout)
        except UsageError as error:
            assert f"pip install {lacking}" in str(error)
        else:
            assert lacking not in numerics._model(planned.architecture, planned.layout).NEEDS


def test_an_architecture_without_a_forward_pass_is_refused():
    made = architecture("convnext").from_hyper_parameters(tiny.HYPER_PARAMETERS)
    with pytest.raises(UsageError, match=r"no forward pass of convnext \(transformers\)"):
        numerics.check_runnable(made, "transformers")


@pytest.mark.parametrize("name", ["dino", "deta", "maskdino"])
def test_an_original_without_a_reference_library_is_refused(name):
    model = next(one for one in reference.detrex_models().values() if one["architecture"] == name)
    values = {"num_queries": None, **model["hyper_parameters"]}
    made = architecture(name).from_hyper_parameters(values)
    with pytest.raises(UsageError, match="cannot run the original") as caught:
        numerics.check_runnable(made, "original")
    assert "detr" in caught.value.hint


@pytest.mark.parametrize(
    "name, otherwise, why",
    [
        ("detr", {"position_grid": [50, 60]}, "a position embedding of 50 x 60"),
        ("conditional_detr", {"embed_dim": 128}, "a width of 128"),
    ],
)
def test_differences_in_transformers_are_reported(name, otherwise, why):
    hyper_parameters = {**detr.HYPER_PARAMETERS, "classes_cut_from": None, **otherwise}
    made = architecture(name).from_hyper_parameters(hyper_parameters)
    with pytest.raises(UsageError, match=f"no forward pass of a {name} with {why}"):
        numerics.check_runnable(made, "original")


def test_an_original_in_detrexs_names_has_nothing_to_compare(tmp_path):
    first = convert(tiny.original(tmp_path / "tiny.pth"), tmp_path / "first").folder
    path = first / "model.safetensors"
    folder = convert(path, tmp_path / "again").folder
    with pytest.raises(UsageError, match="nothing to compare") as refused:
        verify(folder, source=str(path), with_numerics=True)
    assert "\n" not in str(refused.value)


def test_a_file_with_detrex_names_keeps_them():
    for entry in catalogue.load_entries().values():
        if entry.has_detrex_names:
            made = model_of(entry)
            for rule in made.rules("detrex"):
                assert isinstance(rule, Drop) or rule.source == rule.target


@pytest.mark.parametrize(
    ("lacking", "cause"),
    [({"patch_size": 2}, "of other patches"), ({"patch_norm": False}, "without a norm")],
)
def test_a_focalnet_that_timm_cannot_build_is_refused(lacking, cause):
    stages = {"depths": [1, 1], "focal_levels": [2, 2], "focal_windows": [3, 3]}
    made = architecture("focalnet").from_hyper_parameters({"embed_dim": 8, **stages, **lacking})
    with pytest.raises(UsageError, match=f"timm, which has none {cause}"):
        numerics.check_runnable(made, "original")
