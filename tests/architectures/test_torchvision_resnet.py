from __future__ import annotations

import pytest

from detrex_hub.architectures.base import IMAGENET_RGB
from detrex_hub.architectures.recognise import recognise
from detrex_hub.architectures.resnet import ResNet
from detrex_hub.architectures.torchvision_resnet import TorchvisionResNet
from detrex_hub.errors import ArchitectureError
from detrex_hub.specs import TensorSpec
from tests import reference

R50 = TorchvisionResNet(depth=50)
FC = {"fc.weight": TensorSpec("F32", (1000, 2048)), "fc.bias": TensorSpec("F32", (1000,))}


def original():
    return {**reference.load("resnet50").source, **FC}


def test_its_key_names_match_those_inside_detectors() -> None:
    detector = reference.load("anchor_detr_r50").target
    expected = {
        key.removeprefix("backbone."): spec
        for key, spec in detector.items()
        if key.startswith("backbone.")
    }
    plan = R50.plan(original(), "torchvision")
    assert plan.specs == R50.target() == expected
    assert all(target == f"body.{move.pieces[0].key}" for target, move in plan.moves.items())
    assert {"fc.weight", "fc.bias", "bn1.num_batches_tracked"} <= plan.dropped.keys()
    assert not R50.set_by_model()


def test_detectron2s_resnet_is_the_default() -> None:
    assert recognise(original()).architecture is ResNet
    named = recognise(original(), among=[TorchvisionResNet])
    assert (named.architecture, named.layout) == (TorchvisionResNet, "torchvision")
    assert TorchvisionResNet.read(original(), "torchvision", {}) == R50


def test_detrex_files_are_read_again_and_go_back() -> None:
    recognised = recognise(R50.target())
    assert (recognised.architecture, recognised.layout) == (TorchvisionResNet, "detrex")
    assert TorchvisionResNet.read(R50.target(), "detrex", {}) == R50
    counted = {**R50.target(), "body.layer3.5.bn2.num_batches_tracked": TensorSpec("I64", ())}
    assert R50.plan(counted, "detrex").specs == R50.target()
    back = R50.plan_export(R50.target(), "torchvision").specs
    assert back == {k: s for k, s in original().items() if k in back}
    assert len(back) == len(R50.target())


def test_the_config_decides_the_dilation_by_default() -> None:
    lazy = R50.overrides(IMAGENET_RGB).lazy
    assert lazy["model.backbone.name"] == "resnet50"
    assert "model.backbone.dilation" not in lazy
    told = TorchvisionResNet.read(original(), "torchvision", {"dilation": True})
    assert told.overrides(IMAGENET_RGB).lazy["model.backbone.dilation"] is True
    with pytest.raises(ArchitectureError, match="cannot dilate a ResNet-18"):
        TorchvisionResNet(depth=18, dilation=True)


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_every_depth_reads_back(depth: int) -> None:
    made = TorchvisionResNet(depth=depth)
    specs, _ = made.original()
    assert TorchvisionResNet.read(specs, "torchvision", {}) == made
    assert made.plan(specs, "torchvision").specs == made.target()
