"""Architectures declare facts with kinds and defaults, and the config paths that they set."""

import pytest

from detrex_hub import kinds
from detrex_hub.architectures import architecture, architectures
from detrex_hub.architectures.base import IMAGENET_RGB, compatible
from detrex_hub.architectures.declared import Fact, Settled, settle, understood
from detrex_hub.architectures.resnet import ResNet
from detrex_hub.errors import ArchitectureError, UsageError
from detrex_hub.specs import TensorSpec
from tests import reference

FACTS = {
    "size": Fact(kinds.SIZE, "a size", default=3, assumed=True),
    "twice": Fact(kinds.SIZE, "its double", default=lambda _, __, facts: 2 * facts["size"]),
    "shown": Fact(
        kinds.SIZE, "in some shapes", default=7, assumed=True, shown=lambda specs, _: specs.get("n")
    ),
    "left": Fact(kinds.FLAG, "left to the config"),
}


def settled(specs=None, **given):
    return settle(FACTS, specs or {}, "original", given)


def test_an_unstated_fact_takes_its_default_and_is_called_assumed():
    assert settled() == Settled({"size": 3, "twice": 6, "shown": 7}, ("size", "shown"))


def test_a_stated_fact_is_not_assumed():
    assert settled(size=5, shown=8) == Settled({"size": 5, "twice": 10, "shown": 8})


def test_a_fact_that_shapes_show_is_not_assumed_and_cannot_be_contradicted():
    assert settled({"n": 4}) == Settled({"size": 3, "twice": 6, "shown": 4}, ("size",))
    with pytest.raises(UsageError, match=r"shown was given as 5, but the shapes show 4"):
        settled({"n": 4}, shown=5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"size": 0}, r"size should be an integer from 1 to 65536, not '0'.*--fact size=1"),
        ({"size": "big"}, "size should be an integer"),
        ({"left": "maybe"}, "left should be true or false, not 'maybe'"),
        ({"colour": "red"}, r"it does not take colour.*It takes left, shown, size, twice"),
    ],
)
def test_an_unknown_fact_or_a_value_of_another_kind_is_refused(given, said):
    with pytest.raises(UsageError, match=said):
        understood(FACTS, given, where="it")


def test_texts_are_read_and_tuples_become_lists():
    image = architecture("resnet").facts_of({}, "torchvision", {})
    said = {"pixel_std": "1,1,1", "pixel_mean": (1, 2, 3), "keep_classifier": "true"}
    assert understood(image, said, where="resnet") == {
        "pixel_std": [1, 1, 1],
        "pixel_mean": [1, 2, 3],
        "keep_classifier": True,
    }


def test_the_default_mean_and_std_follow_the_order_of_the_channels():
    made = architecture("resnet").from_hyper_parameters({"depth": 50})
    rgb, bgr = made.preprocessing({}), made.preprocessing({"image_format": "BGR"})
    assert {name: rgb[name] for name in IMAGENET_RGB} == IMAGENET_RGB
    for name in ("pixel_mean", "pixel_std"):
        assert bgr[name] == IMAGENET_RGB[name][::-1]
    given = made.preprocessing({"image_format": "BGR", "pixel_mean": [1, 2, 3]})
    assert given["pixel_mean"] == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "assumed"),
    [
        ("resnet50", {"stride_in_1x1"}),
        ("resnet18", set()),
        ("swin_tiny_patch4_window7_224", set()),
        ("mae_pretrain_vit_base", {"num_heads"}),
        ("detr_r50", {"dilation", "num_heads", "position_temperature", "position_offset"}),
        ("anchor_detr_r50", {"dilation", "num_heads"}),
    ],
)
def test_facts_that_are_not_given_are_assumed(name, assumed):
    specs, kind, layout = look_at(name)
    images = {"image_format", "pixel_mean", "pixel_std"}
    body = {"backbone_stride_in_1x1"} if name == "detr_r50" else set()
    assert set(kind.settle(specs, layout, {}).assumed) == images | assumed | body


def look_at(name):
    from detrex_hub.architectures.recognise import recognise

    specs = reference.load(name).source
    found = recognise(specs)
    return specs, found.architecture, found.layout


def test_a_detector_accepts_the_facts_of_its_backbone():
    specs, kind, layout = look_at("detr_r50")
    known = kind.known_facts(specs, layout, given={"backbone_stride_in_1x1": "true"})
    made = kind.read(specs, layout, known)
    lazy = made.overrides(made.preprocessing(known)).lazy
    assert lazy["model.backbone.stages.stride_in_1x1"] is True
    with pytest.raises(UsageError, match="detr does not take backbone_num_heads"):
        kind.known_facts(specs, layout, given={"backbone_num_heads": 12})


@pytest.mark.parametrize(
    ("user", "arguments", "catalogue", "known"),
    [
        (False, True, True, False),
        (True, False, False, True),
        ("true", False, None, True),
        (None, True, False, True),
        (None, None, True, True),
    ],
)
def test_the_users_facts_override_the_checkpoints_and_those_the_catalogues(
    user, arguments, catalogue, known
):
    variant = reference.load("conditional_detr_r50")
    facts = architecture("conditional_detr").known_facts(
        variant.source,
        "original",
        given={} if user is None else {"dilation": user},
        metadata={"args": {} if arguments is None else {"dilation": arguments}},
        catalogue={} if catalogue is None else {"dilation": catalogue},
    )
    assert facts["dilation"] is known


@pytest.mark.parametrize(
    ("dtype", "fits"),
    [("F32", True), ("F16", True), ("BF16", True), ("F64", True), ("I64", False), ("BOOL", False)],
)
def test_a_parameter_takes_only_floating_point_numbers(dtype, fits):
    made = ResNet(depth=18)
    specs = dict(made.target())
    key = "stem.conv1.weight"
    specs[key] = TensorSpec(dtype, specs[key].shape)
    assert compatible(specs[key], made.target()[key]) is fits
    if fits:
        made.prove(specs)
    else:
        with pytest.raises(ArchitectureError, match=rf"stem\.conv1\.weight is {dtype}"):
            made.prove(specs)


def test_a_fact_of_the_detector_does_not_reach_its_backbone():
    specs, kind, layout = look_at("dino_swin_tiny_224_4scale")
    made = kind.read(specs, layout, {"num_heads": 8})
    assert (made.num_heads, made.body.num_heads) == (8, (3, 6, 12, 24))


@pytest.mark.parametrize("name", reference.names())
def test_the_paths_of_assumed_facts_are_among_the_overrides(name):
    specs, kind, layout = look_at(name)
    facts = kind.settle(specs, layout, {})
    made = kind.infer(specs, layout, facts.values)
    wanted = made.overrides(made.preprocessing(facts.values))
    assumed = made.assuming(wanted, facts.assumed).assumed
    assert ("model.pixel_mean" in assumed) == ("pixel_mean" in facts.assumed)
    assert not set(assumed) - {*wanted.lazy, *wanted.lazy_if_present, *wanted.yacs}
    # values that shapes show are not assumed
    assert not [path for path in assumed if path.endswith((".depth", ".depths", ".num_classes"))]
    assert made.assuming(wanted, ()).assumed == ()


def test_every_default_of_a_fact_is_of_its_kind():
    for kind in architectures().values():
        for name, fact in kind.facts.items():
            assert fact.default is None or callable(fact.default) or fact.kind.accepts(fact.default)
            assert fact.meaning, name
