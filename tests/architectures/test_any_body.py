"""Any backbone in any detector, also in combinations that no detrex config has."""

import pytest
from msgspec.structs import replace

from detrex_hub.architectures import architecture, architectures
from detrex_hub.architectures.recognise import recognise
from detrex_hub.identify import identify
from tests import reference

DETECTORS = sorted(name for name, kind in architectures().items() if not kind.backbone)


def real(name):
    values = reference.detrex_models()[name]
    kind = architecture(values["architecture"])
    return kind.from_hyper_parameters({"num_queries": None, **values["hyper_parameters"]})


def bodies():
    """The smallest backbone of each kind that detrex builds a detector on, and timm's."""
    found = {"timm_resnet_d": architecture("timm_resnet_d")(depth=18)}
    for name, model in reference.detrex_models().items():
        body, net = (model["hyper_parameters"].get(key) for key in ("backbone", "backbone_net"))
        if body is not None:
            now = real(name).body
            known = found.setdefault(net or body, now)
            found[net or body] = min(known, now, key=lambda one: len(one.target()))
    return found


BODIES = bodies()


def test_the_backbones_cover_every_kind():
    kinds = {name for name, kind in architectures().items() if kind.backbone}
    # a plain ViT becomes the net of a feature pyramid, and DINOv2 becomes a plain ViT
    assert kinds - BODIES.keys() == {"feature_pyramid", "dinov2"}


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_is_recognised_on_any_backbone(name):
    made = next(
        real(one)
        for one, model in reference.detrex_models().items()
        if model["architecture"] == name
    )
    for body in BODIES.values():
        built = replace(made, body=body, encoder_layers=1, decoder_layers=1)
        specs = built.target()
        found = identify(specs, recognise(specs, among=[type(made)]))
        assert type(found.architecture.body) is type(body)
        assert found.architecture.target() == specs
        assert found.plan.specs == specs


def test_a_detector_that_no_config_has_is_recognised_without_its_name():
    body = BODIES["convnext"]
    for name in ("dab_detr_r50", "dino_4scale_r101", "detr_r50"):
        specs = replace(real(name), body=body).target()
        assert recognise(specs).architecture is type(real(name))


def lazy_of(made):
    return made.overrides(made.preprocessing({})).lazy


def test_a_one_level_detector_reads_the_last_map_of_its_backbone():
    made = replace(real("dab_detr_r50"), body=replace(BODIES["convnext"], output_norms=(2, 3)))
    lazy = lazy_of(made)
    assert lazy["model.in_features"] == ["p3"]
    # the weights have a norm for every returned map
    assert lazy["model.backbone.out_indices"] == [2, 3]


def test_shapes_do_not_show_which_map_of_a_pyramid_is_read():
    lazy = lazy_of(replace(real("dab_detr_r50"), body=BODIES["vit_mae"]))
    assert lazy["model.in_channels"] == 256
    assert "model.in_features" not in lazy


def test_a_torchvision_resnet_returns_as_many_maps_as_the_neck_reads():
    made = replace(real("dino_4scale_r101"), body=BODIES["torchvision_resnet"])
    lazy = lazy_of(made)
    assert lazy["model.neck.in_features"] == ["res3", "res4", "res5"]
    layers = {key.rpartition(".")[2]: v for key, v in lazy.items() if ".return_layers." in key}
    assert layers == {"layer2": "res3", "layer3": "res4", "layer4": "res5"}
    built = made.body.build({}).kwargs["return_layers"]
    assert built == layers
