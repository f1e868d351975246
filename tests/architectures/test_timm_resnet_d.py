from __future__ import annotations

import pytest

from detrex_hub.architectures.base import IMAGENET_RGB
from detrex_hub.architectures.timm_resnet_d import BLOCKS, TimmResNetD
from detrex_hub.errors import ArchitectureError
from tests import reference
from tests.architectures.backbones import comes_out_as_measured, read, reads_back
from tests.torchvision_operators import declare

R50D = TimmResNetD(depth=50)
NAME = "timm_resnet50d_timmbackbone"


def test_comes_out_as_measured() -> None:
    made, layout, _ = comes_out_as_measured(NAME)
    assert (made, layout) == (R50D, "timm")
    assert read(reference.load(NAME).target) == (R50D, "detrex")
    assert R50D.plan(reference.load(NAME).target, "detrex").specs == reference.load(NAME).target


@pytest.mark.parametrize("depth", BLOCKS)
def test_every_depth_matches_timms_model(depth: int) -> None:
    declare()
    timm = pytest.importorskip("timm")
    import torch

    with torch.device("meta"):
        state = timm.create_model(f"resnet{depth}d").state_dict()
    specs = reads_back(TimmResNetD(depth=depth))
    assert {key: tuple(tensor.shape) for key, tensor in state.items()} == {
        key: spec.shape for key, spec in specs.items()
    }


def test_a_config_gets_the_model_by_timms_name() -> None:
    assert R50D.overrides(IMAGENET_RGB).lazy["model.backbone.model_name"] == "resnet50d"
    call = R50D.build(IMAGENET_RGB)
    stated = reference.load(NAME).about["config"]["constructor"]
    assert call.kwargs["norm_layer"].kwargs == {"name": stated["norm_layer"]}
    assert {key: value for key, value in call.kwargs.items() if key != "norm_layer"} == {
        key: value for key, value in stated.items() if key != "norm_layer"
    }
    assert call.channels == {"p2": 512, "p3": 1024, "p4": 2048}


def test_another_number_of_blocks_is_refused() -> None:
    specs = {k: s for k, s in R50D.original()[0].items() if not k.startswith("layer3.5.")}
    with pytest.raises(ArchitectureError, match=r"bottleneck blocks \[3, 4, 5, 3\]"):
        read(specs)
