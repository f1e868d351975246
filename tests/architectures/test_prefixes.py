"""Weights are found below a prefix of a state dict, and ambiguous places are refused."""

from pathlib import Path

import pytest

from detrex_hub.architectures import architecture
from detrex_hub.architectures.prefixes import find
from detrex_hub.architectures.recognise import UnrecognisedError
from detrex_hub.conversion import convert, prepare
from detrex_hub.errors import ArchitectureError, MappingError, UsageError
from detrex_hub.identify import identify, recognised
from detrex_hub.inspection import inspect
from detrex_hub.mapping import ConversionPlan
from detrex_hub.originals.conversion_options import ConversionOptions
from detrex_hub.records import load_json
from detrex_hub.verification import verify
from tests import reference
from tests.checkpoint_files import save
from tests.reference import foreign_detectors
from tests.situations._models import backbone, below, detector, layers

R50 = reference.load("resnet18").source
DETR = reference.load("detr_r50").source
OTHER = next(iter(DETR.values()))


def put_below(prefix, specs):
    return {prefix + key: spec for key, spec in specs.items()}


@pytest.mark.parametrize("prefix", ["model.", "net.", "backbone.bottom_up.", "a.b.c.d."])
def test_any_common_prefix_is_found(prefix):
    found = find(put_below(prefix, DETR) | {"loss.weight": OTHER})
    assert (found.architecture.name, found.layout) == ("detr", "original")
    assert (found.prefix, found.outside) == (prefix, 1)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("module.backbone.", "backbone."),
        ("module._orig_mod.backbone", "backbone."),
        ("backbone.", "backbone."),
    ],
)
def test_a_prefix_may_be_given_with_the_names_of_wrappers(given, taken):
    # messages show keys without wrappers, but the file has them
    assert find(put_below("backbone.", R50), prefix=given).prefix == taken
    assert find(R50, prefix="module.").prefix == ""


@pytest.mark.parametrize(
    ("specs", "right"), [(R50, "''"), (put_below("model.", R50), "model.")], ids=["none", "model"]
)
def test_the_refusal_of_a_wrong_prefix_names_the_right_one(specs, right):
    with pytest.raises(UsageError) as refused:
        find(specs, prefix="nope.")
    assert refused.value.choices == (f"--prefix {right}",)


def test_a_complete_state_dict_has_no_prefix():
    assert find(DETR).prefix == ""
    # its backbone is a part of it, also in a detector below a prefix
    assert find(put_below("model.", DETR)).prefix == "model."


def test_the_backbone_in_an_unknown_detector_is_found():
    foreign = {key.replace("transformer.", "mixer."): spec for key, spec in DETR.items()}
    found = find(foreign)
    assert (found.architecture.name, found.layout) == ("resnet", "torchvision")
    assert found.prefix == "backbone.0.body."
    assert found.outside == sum(not key.startswith("backbone.") for key in DETR)


def test_a_backbone_that_is_not_recognised_alone_is_not_recognised_in_a_detector():
    # a ResNet does not have this stem of a ResNet-D
    foreign = {
        key.replace("backbone.0.body.conv1.", "backbone.0.body.conv1.0."): spec
        for key, spec in DETR.items()
        if key.startswith("backbone.")
    }
    with pytest.raises(UnrecognisedError, match=r"below the prefix 'backbone.0.body.'.* lacks"):
        find(foreign | {"head.weight": OTHER}, name="my.pth")


def test_two_models_of_one_kind_are_refused_and_each_can_be_chosen():
    both = put_below("encoder_q.", R50) | put_below("encoder_k.", R50)
    with pytest.raises(ArchitectureError, match="several sets of weights") as caught:
        find(both)
    assert caught.value.choices == ("--prefix encoder_q.", "--prefix encoder_k.")
    for prefix in ("encoder_q.", "encoder_k."):
        assert find(both, prefix=prefix).prefix == prefix
    # even a larger one is refused, because size does not show which one is meant
    with pytest.raises(ArchitectureError, match="several sets of weights"):
        find(both | {"encoder_k.queue": OTHER})


def test_the_larger_of_two_different_models_is_converted():
    convnext = architecture("convnext").from_hyper_parameters(
        {"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]}
    )
    both = put_below("small.", convnext.original()[0]) | put_below("model.", DETR)
    assert find(both).prefix == "model."


def test_a_prefix_needs_no_final_dot_and_must_exist():
    assert find(put_below("model.", DETR), prefix="model").prefix == "model."
    with pytest.raises(UsageError, match=r"begins with 'net\.'") as caught:
        find(put_below("my model.", DETR), name="x.pth", prefix="net")
    assert caught.value.choices == ("--prefix 'my model.'",)
    # an empty prefix means that there is none
    with pytest.raises(UnrecognisedError):
        find(put_below("model.", DETR), prefix="")


def test_many_modules_cost_little_time():
    specs = {f"m{i}.a.b.c.d.e.f.g.conv1.weight": OTHER for i in range(20_000)}
    with pytest.raises(UnrecognisedError, match="matches no known architecture"):
        find(specs)


def test_a_prefix_does_not_change_the_converted_bytes(tmp_path: Path) -> None:
    save(tmp_path / "plain.pth", backbone())
    foreign = below("model.backbone.", backbone()) | layers("model.neck", "loss")
    save(tmp_path / "foreign.pth", foreign)
    plain = convert(tmp_path / "plain.pth", tmp_path / "plain")
    done = convert(tmp_path / "foreign.pth", tmp_path / "foreign")
    assert done.sha256 == plain.sha256
    record = load_json(tmp_path / "foreign" / "conversion.json")
    assert record["source"]["prefix"] == "model.backbone."
    assert record["plan"]["moves"]["stages.0.0.gamma"] == ["model.backbone.stages.0.0.gamma"]
    reason = "outside 'model.backbone.', where the convnext is"
    assert record["plan"]["dropped"]["loss.weight"] == reason
    assert len(record["plan"]["source_tensors"]) == len(foreign)
    card = (tmp_path / "foreign" / "README.md").read_text()
    assert "below `model.backbone.`" in card
    assert "2 other tensors are dropped" in card


def test_verify_repeats_a_conversion_from_its_recorded_prefix(tmp_path: Path) -> None:
    both = below("encoder_q.", backbone())
    both |= {f"encoder_k.{key}": tensor + 1 for key, tensor in backbone().items()}
    original = save(tmp_path / "moco.pth", both, "state_dict")
    convert(original, tmp_path / "moco", prefix="encoder_k.")
    found = verify(tmp_path / "moco", source=str(original))
    assert found.repeated
    record = tmp_path / "moco" / "conversion.json"
    record.write_text(
        record.read_text().replace('"prefix": "encoder_k."', '"prefix": "encoder_q."')
    )
    with pytest.raises(Exception, match="do not match the mapper"):
        verify(tmp_path / "moco", source=str(original))


def test_an_inspection_and_a_plan_show_the_prefix(tmp_path: Path) -> None:
    path = save(tmp_path / "lightning.ckpt", below("model.", detector()) | layers("loss"))
    found = inspect(path)
    assert (found.architecture, found.prefix, found.outside) == ("deformable_detr", "model.", 1)
    assert found.to_json()["prefix"] == "model."
    assert inspect(path, prefix="model.backbone.0.body.").prefix == "model.backbone.0.body."
    with prepare(path, ConversionOptions()) as planned:
        assert planned.to_json()["prefix"] == "model."
        assert isinstance(planned.plan, ConversionPlan)
        assert planned.plan.dropped["loss.weight"].startswith("outside 'model.'")


def test_errors_below_a_prefix_name_the_prefix(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pth", below("model.", backbone() | layers("stages.0.0.extra")))
    with pytest.raises(MappingError, match=r"below 'model.': .*stages\.0\.0\.extra"):
        prepare(path)


def test_an_inner_backbone_without_extra_tensors_is_preferred():
    # torchvision's Faster R-CNN has the backbone and its pyramid in one module
    body = {
        f"backbone.body.{key.removeprefix('backbone.0.body.')}": spec
        for key, spec in DETR.items()
        if key.startswith("backbone.")
    }
    whole = body | {"backbone.fpn.inner_blocks.0.0.weight": OTHER, "rpn.head.weight": OTHER}
    found = find(whole)
    assert (found.architecture.name, found.layout) == ("resnet", "torchvision")
    assert (found.prefix, found.outside) == ("backbone.body.", 2)


def test_a_detector_with_extra_tensors_is_preferred_to_its_backbone():
    whole = put_below("model.", DETR | {"mask_head.weight": OTHER})
    assert find(whole).architecture.name == "detr"


FOREIGN = {
    "torchvision Faster R-CNN": ("resnet", "torchvision", "backbone.body."),
    "torchvision Mask R-CNN v2": ("resnet", "torchvision", "backbone.body."),
    "torchvision DeepLabV3": ("resnet", "torchvision", "backbone."),
    "transformers MaskFormer": (
        "swin",
        "transformers",
        "model.pixel_level_module.encoder.model.",
    ),
    "detectron2 Faster R-CNN": ("resnet", "detrex", "backbone.bottom_up."),
    "detectron2 RetinaNet": ("resnet", "detrex", "backbone.bottom_up."),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_the_backbones_of_real_detectors_are_found(name):
    specs = foreign_detectors.load()[name]
    found = find(specs)
    assert (found.architecture.name, found.layout, found.prefix) == FOREIGN[name]
    known = identify(specs, found)
    moved = {key for move in known.plan.moves.values() for key in move.sources}
    assert moved | known.plan.dropped.keys() == specs.keys()
    assert all(key.startswith(found.prefix) for key in moved)


def test_each_real_detector_has_an_expectation():
    assert FOREIGN.keys() == foreign_detectors.load().keys()


def test_a_given_layout_is_found_below_a_prefix_too():
    specs = put_below("model.", R50) | {"loss.weight": OTHER}
    found = recognised(specs, name="x.pth", architecture="resnet", layout="torchvision")
    assert (found.prefix, found.outside) == ("model.", 1)
    found = recognised(specs, name="x.pth", architecture="resnet", layout="detrex")
    assert found.prefix == ""
