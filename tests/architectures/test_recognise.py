"""A state dict of an unknown or another architecture is refused, and the refusal says what
helps."""

import pytest
from msgspec.structs import replace

from detrex_hub.architectures import architecture
from detrex_hub.architectures.recognise import recognise
from detrex_hub.errors import ArchitectureError
from tests import reference


def test_the_refusal_of_a_wrong_architecture_names_the_right_one():
    specs = reference.load("dab_detr_r50").source
    with pytest.raises(ArchitectureError) as caught:
        recognise(specs, name="my.pth", among=[architecture("detr")])
    assert str(caught.value).startswith(
        "my.pth does not match the layout original of detr: "
        "it lacks transformer.decoder.layers.{i}.multihead_attn"
    )
    assert caught.value.hint == "Try: --arch dab_detr --layout original"
    with pytest.raises(
        ArchitectureError, match=r"my\.pth does not match the layout original of detr"
    ) as caught:
        recognise({"a.b": specs["input_proj.bias"]}, name="my.pth", among=[architecture("detr")])
    assert caught.value.hint is None


def test_a_dilation_that_torchvision_cannot_build_is_refused_with_an_alternative():
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


PAIRS = {
    # plain architecture: its look-alike, the key of the queries, the released number of queries
    "conditional_detr": ("group_detr", "query_embed.weight", 300),
    "deformable_detr": ("h_deformable_detr", "query_embedding.weight", 300),
    "dab_detr": ("sqr_detr", "anchor_box_embed.weight", 300),
    "dino": ("align_detr", "transformer.tgt_embed.weight", 900),
}
VARIANTS = {
    "conditional_detr": "conditional_detr_r50",
    "deformable_detr": "deformable_detr_r50",
    "dab_detr": "dab_detr_r50",
    "dino": "dino_r50_4scale",
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_look_alike_is_not_mistaken_for_the_plain_architecture(name):
    other, key, released = PAIRS[name]
    specs = dict(reference.load(VARIANTS[name]).target)
    assert specs[key].shape[0] == released
    assert recognise(specs).architecture is architecture(name)
    specs[key] = replace(specs[key], shape=(11 * released, *specs[key].shape[1:]))
    with pytest.raises(ArchitectureError) as caught:
        recognise(specs, name="my.pth")
    assert f"{11 * released}" in str(caught.value)
    assert f"--arch {name} or --arch {other}" in caught.value.hint
    # the user has chosen
    found = recognise(specs, among=[architecture(name)])
    assert found.layout == "detrex"


def test_the_original_of_h_deformable_detr_in_one_stage_looks_like_deformable_detr():
    specs = dict(reference.load("deformable_detr_r50").source)
    key = "query_embed.weight"
    specs[key] = replace(specs[key], shape=(1800, *specs[key].shape[1:]))
    with pytest.raises(ArchitectureError, match="1800") as caught:
        recognise(specs)
    assert "--arch deformable_detr or --arch h_deformable_detr" in caught.value.hint


def test_only_the_class_distinguishes_models_of_one_released_size():
    for name, other in (("dab_detr", "sqr_detr"), ("dino", "align_detr")):
        specs = reference.load(VARIANTS[name]).target
        found = recognise(specs)
        assert (found.architecture.name, found.may_be) == (name, (other,))
        (note,) = found.notes()
        assert f"--arch {other}" in note
        # an original layout belongs to one architecture, and a user who has chosen is not asked
        assert recognise(reference.load(VARIANTS[name]).source).notes() == ()
        for chosen in (name, other):
            named = recognise(specs, among=[architecture(chosen)])
            assert (named.architecture.name, named.notes()) == (chosen, ())


def test_models_with_distinct_query_counts_are_not_called_ambiguous():
    for name in ("conditional_detr", "deformable_detr"):
        assert recognise(reference.load(VARIANTS[name]).target).notes() == ()
