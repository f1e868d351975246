"""What is no known architecture, or another than it was said to be, is refused with the way out."""

import pytest

from detrex_hub.architectures import architecture
from detrex_hub.architectures.recognise import recognise
from detrex_hub.errors import ArchitectureError
from tests import reference


def test_a_wrong_architecture_is_refused_with_the_right_one():
    specs = reference.load("dab_detr_r50").source
    with pytest.raises(ArchitectureError) as caught:
        recognise(specs, name="my.pth", among=[architecture("detr")])
    assert str(caught.value).startswith(
        "my.pth is no detr (original): it lacks transformer.decoder.layers.{i}.multihead_attn"
    )
    assert caught.value.hint.startswith("By its keys it is dab_detr (original)")
    with pytest.raises(ArchitectureError, match=r"my\.pth is no detr") as caught:
        recognise({"a.b": specs["input_proj.bias"]}, name="my.pth", among=[architecture("detr")])
    assert "detrex-hub inspect" in caught.value.hint


def test_what_torchvision_cannot_dilate_is_refused_with_the_way_out():
    specs, _ = (
        architecture("conditional_detr")
        .from_hyper_parameters(
            {
                "backbone": "resnet",
                "backbone_depth": 18,
                "num_queries": 5,
                "num_classes": 3,
                "encoder_layers": 1,
                "decoder_layers": 1,
                "embed_dim": 32,
                "feedforward_dim": 8,
            }
        )
        .original()
    )
    with pytest.raises(ArchitectureError, match="cannot dilate a ResNet-18") as caught:
        architecture("conditional_detr").read(specs, "original", {"dilation": True})
    assert caught.value.hint == "Convert without --dc5"
