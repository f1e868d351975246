"""Plain ViTs below a feature pyramid: in DINO, and in the detectors of EVA's authors."""

import pytest
from omegaconf import OmegaConf

from detrex_hub.architectures import architecture
from detrex_hub.architectures.base import IMAGENET_RGB
from detrex_hub.architectures.recognise import recognise
from detrex_hub.configs import placing
from detrex_hub.errors import ArchitectureError, ConfigError
from detrex_hub.specs import TensorSpec
from tests import reference
from tests.architectures.backbones import SMALL

KIND = architecture("feature_pyramid")
DETECTORS = ("eva01_o365_1280", "eva02_L_m38m_to_o365")
NET = "model.backbone.net"


def dino(name):
    """A detrex model, read from its own state dict. Other tests compare it with the real model."""
    model = reference.detrex_models()[name]
    specs = architecture("dino").from_hyper_parameters(model["hyper_parameters"]).target()
    assert recognise(specs).architecture.name == "dino"
    return architecture("dino").read(specs, "detrex", {}), specs


def lazy_of(made):
    return made.overrides(made.preprocessing({})).lazy


@pytest.mark.parametrize("name", DETECTORS)
def test_the_backbone_of_a_detector_comes_out_as_measured(name):
    variant = reference.load(name)
    found = recognise(variant.source)
    assert (found.architecture.name, found.layout) == ("feature_pyramid", "detector")
    made = KIND.read(variant.source, "detector", {})
    plan = made.plan(variant.source, "detector")
    moves = {
        f"backbone.{target}": [piece.key for piece in move.pieces]
        for target, move in plan.moves.items()
    }
    assert moves == {key: [part.key for part in parts] for key, parts in variant.moves.items()}
    assert sorted(plan.dropped) == sorted(variant.dropped)
    assert {f"backbone.{key}": spec for key, spec in made.target().items()} == variant.target
    assert {f"backbone.{key}" for key in made.set_by_model()} == set(
        variant.target_keys_without_source
    )
    stated = variant.about["config"]["constructor"]
    lazy = {
        **made.net.arguments(),
        **{k.removeprefix(f"{NET}."): v for k, v in lazy_of(made).items()},
    }
    for argument in stated.keys() & lazy.keys():
        assert lazy[argument] == stated[argument], argument


def test_the_heads_of_the_original_detector_are_dropped_with_their_reason():
    variant = reference.load(DETECTORS[0])
    heads = ("roi_heads.box_head.0.fc1.weight", "proposal_generator.rpn_head.conv.weight")
    specs = {**variant.source, **dict.fromkeys(heads, TensorSpec("F32", (4, 4)))}
    plan = KIND.read(specs, "detector", {}).plan(specs, "detector")
    assert set(heads) <= plan.dropped.keys()
    assert "stride 4" in plan.dropped["backbone.simfp_2.0.weight"]


def test_rotary_positions_of_another_model_are_never_moved():
    # they belong to the image and window sizes that the file was trained with
    variant = reference.load("eva02_L_m38m_to_o365")
    plan = KIND.read(variant.source, "detector", {}).plan(variant.source, "detector")
    assert not [key for key in plan.moves if "rope" in key]
    assert "computes for its own image" in plan.dropped["backbone.net.rope_glb.freqs_cos"]


def test_every_tensor_of_a_detrex_dino_is_kept():
    for name in ("dino_vitdet_base", "dino_eva_01", "dino_eva_02_b_6attn_win32_1536"):
        made, specs = dino(name)
        assert made.plan(specs, "detrex").specs == specs
        assert not made.set_by_model()


@pytest.mark.parametrize(
    ("name", "net", "sizes", "attending"),
    [
        ("dino_vitdet_base", "vit_mae", (1024, 14, None), [2, 5, 8, 11]),
        ("dino_eva_01", "eva01", (1280, 16, None), list(range(3, 40, 4))),
        ("dino_eva_02_b_6attn_win32_1536", "eva02", (1536, 32, 1536), [1, 3, 5, 7, 9, 11]),
        ("dino_eva_02_l_8attn_1536", "eva02", (1536, 16, 1536), list(range(2, 24, 3))),
    ],
)
def test_sizes_and_windows_are_read_from_shapes(name, net, sizes, attending):
    made, _ = dino(name)
    assert made.body.net.name == net
    lazy = lazy_of(made)
    # EVA-01 has the same shapes for images of 1280 and of 1536 pixels: no shape shows the padding
    found = [lazy.get(path) for path in (f"{NET}.img_size", f"{NET}.window_size")]
    assert (*found, lazy.get("model.backbone.square_pad")) == sizes
    windowed = lazy[f"{NET}.window_block_indexes"]
    assert [i for i in range(made.body.net.depth) if i not in windowed] == attending
    assert lazy["model.neck.in_features"] == ["p3", "p4", "p5", "p6"]
    assert lazy["model.backbone.scale_factors"] == [2.0, 1.0, 0.5]


@pytest.mark.parametrize("kept", ["blocks.0.attn.rel_pos_h", "rope_glb.freqs_cos"])
def test_a_vit_whose_windows_cannot_be_read_is_refused(kept):
    name = "eva02_L_m38m_to_o365" if "rope" in kept else "eva01_o365_1280"
    specs = reference.load(name).source
    rest = {k: s for k, s in specs.items() if "rope" not in k and "rel_pos" not in k}
    with pytest.raises(ArchitectureError):
        KIND.read(rest, "detector", {})


@pytest.mark.parametrize("stored", [0, 1])
def test_windows_cannot_be_read_from_rotary_positions_stored_once(stored):
    # in a file that stores shared tensors once, under the first or another name
    made, specs = dino("dino_eva_02_b_6attn_win32_1536")
    tied = [group for group in made.ties() if ".rope" in group[0]]
    gone = {key for group in tied for key in group if key != group[stored]}
    rest = {key: spec for key, spec in specs.items() if key not in gone}
    with pytest.raises(ArchitectureError, match="rotary positions are stored once"):
        architecture("dino").read(rest, "detrex", {})


def test_the_maps_of_a_pyramid_have_no_gaps():
    for maps in ([3, 5], [5], [], [4, 5, 6]):
        with pytest.raises(ArchitectureError, match="no maps"):
            KIND.from_hyper_parameters({**SMALL["feature_pyramid"], "maps": maps})


@pytest.mark.parametrize(
    ("net", "fits"),
    [
        ("detectron2.modeling.backbone.vit.ViT", True),
        ("detrex.modeling.backbone.eva.EVAViT", False),
        ("detrex.modeling.backbone.eva_02.EVA02_ViT", False),
        (None, True),
    ],
)
def test_another_vit_with_the_same_settings_is_refused(net, fits):
    made, _ = dino("dino_vitdet_base")
    model = {"_target_": "projects.dino.modeling.dino.DINO", "backbone": {"net": {}}}
    if net:
        model["backbone"]["net"]["_target_"] = net
    model = OmegaConf.create(model)
    if fits:
        placing.check_inside(type(made), made.hyper_parameters(), model, "x/y")
        return
    with pytest.raises(ConfigError, match=r"model\.backbone\.net cannot take") as caught:
        placing.check_inside(type(made), made.hyper_parameters(), model, "x/y")
    assert net in str(caught.value)


def test_the_pyramid_is_built_with_the_maps_that_the_neck_reads():
    made = KIND.from_hyper_parameters(SMALL["feature_pyramid"])
    four, three = (made.build(IMAGENET_RGB, range(4)[-n:]) for n in (4, 3))
    assert list(four.channels) == ["p3", "p4", "p5", "p6"]
    assert "LastLevelMaxPool" in four.kwargs["top_block"].target
    assert list(three.channels) == ["p3", "p4", "p5"]
    assert "top_block" not in three.kwargs
    assert made.build(IMAGENET_RGB, (3,)) is None
