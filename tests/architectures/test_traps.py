"""One test for each mistake in published converters and configs.

In most of these cases names and shapes are right, and only the outputs show the mistake.
"""

import argparse

import pytest
import torch
from safetensors.torch import load_file

from detrex_hub.architectures import architecture, architectures
from detrex_hub.architectures.recognise import recognise
from detrex_hub.conversion import convert
from detrex_hub.errors import UsageError
from detrex_hub.identify import identify, recognised
from detrex_hub.records import RepositoryConfig
from detrex_hub.specs import TensorSpec
from tests import reference
from tests.architectures.test_variants import TRANSFORMERS, all_moves, facts_of
from tests.checkpoint_files import save, tensors

COCO80 = [row for row in range(1, 91) if row not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
DECODER = "transformer.decoder.layers.5"
ENCODER = "transformer.encoder.layers.5"


def planned(name, **facts):
    variant = reference.load(name)
    found = recognise(variant.source)
    made = found.architecture.read(variant.source, found.layout, {**facts_of(name), **facts})
    return made, made.plan(variant.source, found.layout)


def lazy_of(name):
    made, _ = planned(name)
    return made.overrides(made.preprocessing({})).lazy


def origin(name, target):
    """The source keys of a target key, each with its rows if rows were chosen."""
    _, plan = planned(name)
    return [
        part.key if part.rows is None else (part.key, list(part.rows))
        for part in all_moves(plan)[target]
    ]


# -- backbones ------------------------------------------------------------------------------------


def test_an_imagenet_classifier_leaves_no_unused_keys():
    variant = reference.load("resnet50")
    specs = {
        **variant.source,
        "fc.weight": TensorSpec("F32", (1000, 2048)),
        "fc.bias": TensorSpec("F32", (1000,)),
    }
    plan = architectures()["resnet"].read(specs, "torchvision", {}).plan(specs, "torchvision")
    assert not [key for key in plan.moves if "fc" in key or "num_batches_tracked" in key]
    assert {"fc.weight", "fc.bias", "bn1.num_batches_tracked"} <= plan.dropped.keys()


@pytest.mark.parametrize(("depth", "told"), [(18, False), (34, False), (50, True), (101, True)])
def test_the_stride_is_in_the_3x3_convolution(depth, told):
    # in the 1x1 convolution, res3 to res5 differ by 0.28, 0.39 and 0.61; BasicBlock has no such
    # argument
    made = architectures()["resnet"].from_hyper_parameters({"depth": depth})
    overrides = made.overrides(made.preprocessing({}))
    name = "model.backbone.stages.stride_in_1x1"
    assert overrides.lazy.get(name) is (False if told else None)
    assert (name in overrides.lazy_remove) is not told


@pytest.mark.parametrize("depth", [50, 101])
@pytest.mark.parametrize("name", ["detr", "conditional_detr", "dab_detr", "dn_detr"])
def test_a_dilated_backbone_keeps_torchvisions_names_below_body(name, depth):
    # detectron2's names would silently miss 265 (R50) or 520 (R101) keys of detrex's DC5 models
    usual = reference.load(f"{name}_r50" if name != "dab_detr" else "dab_detr_r50")
    made = recognise(usual.source).architecture.read(usual.source, "original", {"dilation": True})
    if depth == 101:
        values = made.hyper_parameters() | {"backbone_depth": 101}
        made = type(made).from_hyper_parameters(values)
    below = [key for key in made.target() if key.startswith("backbone.")]
    assert len(below) == {50: 265, 101: 520}[depth]
    assert all(key.startswith("backbone.body.") for key in below)
    assert "backbone.body.layer4.2.conv3.weight" in below
    assert made.overrides(made.preprocessing({})).lazy["model.backbone.dilation"] is True


def test_anchor_detr_keeps_torchvisions_names_with_and_without_dilation():
    target = "backbone.body.layer4.2.conv3.weight"
    for name in ("anchor_detr_r50", "anchor_detr_r50_dc5"):
        assert origin(name, target) == [target]
    assert planned("anchor_detr_r50")[0].overrides({**IMAGES}).lazy["model.backbone.dilation"] is (
        False
    )


IMAGES = {"image_format": "RGB", "pixel_mean": [0, 0, 0], "pixel_std": [1, 1, 1]}


def test_swins_output_norms_come_from_the_backbone():
    assert origin("dino_swin_tiny_224_4scale", "backbone.norm3.weight") == [
        "backbone.0.norm3.weight"
    ]
    _, plan = planned("swin_tiny_patch4_window7_224")
    assert "norm.weight" in plan.dropped
    assert not [key for key in plan.moves if key.startswith("norm")]


# -- layers ---------------------------------------------------------------------------------------


def test_norms_of_deformable_decoders_are_renumbered():
    # the norms have the same shape, and a swap changes outputs by 0.27
    for name in ("deformable_detr_r50", "dab_deformable_detr_r50", "dino_r50_4scale"):
        assert origin(name, f"{DECODER}.norms.0.weight") == [f"{DECODER}.norm2.weight"]
        assert origin(name, f"{DECODER}.norms.1.weight") == [f"{DECODER}.norm1.weight"]
        assert origin(name, f"{DECODER}.norms.2.weight") == [f"{DECODER}.norm3.weight"]


def test_norms_of_other_decoders_and_of_encoders_keep_their_numbers():
    for name in ("detr_r50", "conditional_detr_r50", "dab_detr_r50"):
        for i in range(3):
            assert origin(name, f"{DECODER}.norms.{i}.bias") == [f"{DECODER}.norm{i + 1}.bias"]
    for name in ("detr_r50", "deformable_detr_r50", "dino_r50_4scale"):
        for i in range(2):
            assert origin(name, f"{ENCODER}.norms.{i}.bias") == [f"{ENCODER}.norm{i + 1}.bias"]


@pytest.mark.parametrize(
    "name", [name for name in TRANSFORMERS if name.startswith("hf_deformable")]
)
def test_norms_of_transformers_are_numbered_by_use(name):
    layer = "model.decoder.layers.5"
    assert [origin(name, f"{DECODER}.norms.{i}.weight")[0] for i in range(3)] == [
        f"{layer}.self_attn_layer_norm.weight",
        f"{layer}.encoder_attn_layer_norm.weight",
        f"{layer}.final_layer_norm.weight",
    ]


@pytest.mark.parametrize("name", ["hf_detr_r50", "hf_deformable_detr_r50"])
def test_queries_keys_and_values_are_concatenated_in_that_order(name):
    for parameter in ("weight", "bias"):
        assert origin(name, f"{DECODER}.attentions.0.attn.in_proj_{parameter}") == [
            f"model.decoder.layers.5.self_attn.{one}_proj.{parameter}" for one in "qkv"
        ]


def test_the_last_norm_of_decoders_is_renamed_except_in_dino():
    assert origin("detr_r50", "transformer.decoder.post_norm_layer.weight") == [
        "transformer.decoder.norm.weight"
    ]
    name = "transformer.decoder.norm.weight"
    assert origin("dino_r50_4scale", name) == [name]


@pytest.mark.parametrize("side", [ENCODER, DECODER])
@pytest.mark.parametrize("name", ["dab_detr_r50", "dn_detr_r50"])
def test_a_prelu_has_two_names_in_detrex(name, side):
    # dropping one changes outputs by 0.15
    made, plan = planned(name)
    first, second = f"{side}.ffns.0.layers.0.1.weight", f"{side}.ffns.0.activation.weight"
    assert origin(name, first) == origin(name, second) == [f"{side}.activation.weight"]
    assert plan.ties[second] == first
    assert {first, second} <= made.target().keys()


def test_the_neck_is_split_where_the_backbones_levels_end():
    _, plan = planned("deformable_detr_r50")
    assert origin("deformable_detr_r50", "neck.convs.2.conv.weight") == ["input_proj.2.0.weight"]
    assert origin("deformable_detr_r50", "neck.extra_convs.0.conv.weight") == [
        "input_proj.3.0.weight"
    ]
    assert origin("deformable_detr_r50_single_scale", "neck.convs.0.norm.bias") == [
        "input_proj.0.1.bias"
    ]
    assert not [key for key in plan.moves if key.startswith("neck.convs.3")]
    _, one = planned("deformable_detr_r50_single_scale")
    assert not [key for key in one.moves if "extra_convs" in key]

    # a model with five scales reads four feature maps of the backbone
    four, _ = planned("dino_r50_4scale")
    five = type(four).from_hyper_parameters(
        four.hyper_parameters() | {"neck_inputs": 4, "feature_levels": 5}
    )
    specs, _ = five.original()
    moves = all_moves(type(four).read(specs, "original", {}).plan(specs, "original"))
    assert moves["neck.convs.3.conv.weight"][0].key == "input_proj.3.0.weight"
    assert moves["neck.extra_convs.0.conv.weight"][0].key == "input_proj.4.0.weight"


@pytest.mark.parametrize(
    ("name", "path", "stages"),
    [
        ("deformable_detr_r50", "out_features", ["res3", "res4", "res5"]),
        ("deformable_detr_r50_single_scale", "out_features", ["res5"]),
        ("dino_swin_tiny_224_4scale", "out_indices", [1, 2, 3]),
    ],
)
def test_the_backbone_returns_no_more_than_the_neck_reads(name, path, stages):
    # detrex's neck checks the number of its inputs and raises an AssertionError
    made, _ = planned(name)
    lazy = made.overrides(made.preprocessing({})).lazy
    assert lazy[f"model.backbone.{path}"] == stages
    assert len(lazy["model.neck.in_features"]) == len(stages)


# -- classes --------------------------------------------------------------------------------------


def test_detr_keeps_the_row_for_no_object():
    assert origin("detr_r50", "class_embed.weight") == [("class_embed.weight", [*COCO80, 91])]


@pytest.mark.parametrize("name", ["conditional_detr_r50", "dab_detr_r50", "dn_detr_r50"])
def test_heads_with_focal_loss_have_no_row_for_no_object(name):
    assert origin(name, "class_embed.weight") == [("class_embed.weight", COCO80)]


@pytest.mark.parametrize(
    "name", ["deformable_detr_r50_two_stage", "h_deformable_detr_r50_two_stage"]
)
def test_the_first_row_ranks_proposals(name):
    # a plain converter takes the rows of classes, which changes boxes by 0.95
    made, _ = planned(name)
    assert made.as_two_stage
    for prefix in ("", "transformer.decoder."):
        for parameter in ("weight", "bias"):
            head = f"{prefix}class_embed.6.{parameter}"
            assert origin(name, head) == [(head, list(range(80)))]
            other = f"{prefix}class_embed.5.{parameter}"
            assert origin(name, other) == [(other, COCO80)]


def test_the_best_class_ranks_dinos_proposals():
    head = "transformer.enc_out_class_embed.weight"
    assert origin("dino_r50_4scale", "class_embed.6.weight") == [(head, COCO80)]
    assert origin("dino_r50_4scale", "transformer.decoder.class_embed.6.weight") == [(head, COCO80)]
    assert origin("dino_r50_4scale", "bbox_embed.6.layers.0.weight") == [
        "transformer.enc_out_bbox_embed.layers.0.weight"
    ]


@pytest.mark.parametrize("name", ["dn_detr_r50", "dn_deformable_detr_r50"])
def test_the_label_embedding_keeps_its_row_for_unknown(name):
    assert origin(name, "denoising_generator.label_encoder.weight") == [
        ("label_enc.weight", [*COCO80, 91])
    ]


def test_dinos_label_embedding_has_no_row_for_unknown():
    assert origin("dino_r50_4scale", "label_enc.weight") == [("label_enc.weight", COCO80)]


@pytest.mark.parametrize(("name", "rows"), [("detr_r50", 92), ("conditional_detr_r50", 91)])
def test_a_cut_of_classes_is_reported_and_can_be_declined(name, rows):
    # a head with the same number of rows may have custom classes
    made, _ = planned(name)
    assert made.notes() == (
        f"class heads cut {rows} -> {80 + rows - 91} rows: the 80 COCO "
        f"classes{' and no object' if rows == 92 else ''} (to keep all rows of your own classes: "
        "--classes keep)",
    )
    kept, plan = planned(name, classes="keep")
    assert kept.notes() == ()
    assert plan.moves["class_embed.weight"].spec.shape[0] == rows
    assert kept.overrides(kept.preprocessing({})).lazy["model.num_classes"] == 91


@pytest.mark.parametrize(("name", "rows"), [("detr_r50", 91), ("conditional_detr_r50", 92)])
def test_rows_of_another_loss_count_as_custom_classes(name, rows):
    specs = dict(reference.load(name).source)
    specs["class_embed.weight"] = TensorSpec("F32", (rows, 256))
    specs["class_embed.bias"] = TensorSpec("F32", (rows,))
    made = recognise(specs).architecture.read(specs, "original", {})
    assert made.plan(specs, "original").moves["class_embed.weight"].spec.shape[0] == rows


# -- variants that were missed --------------------------------------------------------------------


def test_learned_position_embeddings_are_moved():
    made, _ = planned("detr_r50_learned_pos")
    for side in ("row", "col"):
        key = f"position_embedding.{side}_embed.weight"
        assert origin("detr_r50_learned_pos", key) == [f"backbone.1.{side}_embed.weight"]
    assert made.position_grid == (50, 50)
    assert "model.position_embedding.temperature" not in made.overrides(made.preprocessing({})).lazy


@pytest.mark.parametrize("prefix", ["", "detr."])
def test_learned_position_embeddings_have_no_temperature(prefix):
    source = reference.load("detr_r50_learned_pos").source
    specs = {prefix + key: spec for key, spec in source.items()}
    if prefix:
        specs["mask_head.lay1.weight"] = TensorSpec("F32", (264, 264, 3, 3))
    found = identify(specs, recognised(specs, name="detr.pth"))
    assert not [name for name in found.assumed if name.startswith("position")]
    assert found.architecture.notes() == found.architecture.notes_on("original")
    assert "position_temperature" not in found.architecture.declared_facts()
    with pytest.raises(UsageError, match="detr does not take position_temperature"):
        identify(specs, recognised(specs, name="x"), given={"position_temperature": 20})


def test_a_temperature_in_the_arguments_is_ignored_for_learned_positions():
    source = reference.load("detr_r50_learned_pos").source
    said = {"args": {"pe_temperatureH": 20, "pe_temperatureW": 20}}
    known = architecture("dab_detr").known_facts(source, "original", given={}, metadata=said)
    assert "position_temperature" not in known


def test_panoptic_checkpoints_lose_their_prefix_and_keep_all_classes():
    made, plan = planned("detr_r50_panoptic")
    assert origin("detr_r50_panoptic", "class_embed.weight") == ["detr.class_embed.weight"]
    assert origin("detr_r50_panoptic", "backbone.stem.conv1.weight") == [
        "detr.backbone.0.body.conv1.weight"
    ]
    assert made.num_classes == 250
    masks = [key for key in plan.dropped if not key.startswith("detr.")]
    assert masks
    assert all(key.startswith(("mask_head.", "bbox_attention.")) for key in masks)


def test_no_checkpoint_needs_the_constants_of_the_loss():
    made, plan = planned("detr_r50")
    assert made.set_by_model() == {"criterion.empty_weight"}
    assert "criterion.empty_weight" not in plan.specs


# -- configs --------------------------------------------------------------------------------------


def test_dinos_config_gets_the_originals_position_embedding():
    # detrex's 12-epoch configs have 10000 and -0.5, which changes logits by 1.4 and boxes by 0.94
    found = lazy_of("dino_r50_4scale")
    assert found["model.position_embedding.temperature"] == 20
    assert found["model.position_embedding.offset"] == 0


def test_deformable_position_embeddings_have_an_offset_of_half_a_pixel():
    offsets = {
        name: lazy_of(name)["model.position_embedding.offset"]
        for name in ("detr_r50", "deformable_detr_r50", "h_deformable_detr_r50_two_stage")
    }
    assert [*offsets.values()] == [0, -0.5, -0.5]


def trained(tmp_path, name, **arguments):
    """A checkpoint as the originals' training scripts write it."""
    variant = reference.load(name)
    path = tmp_path / "checkpoint.pth"
    whole = {
        "model": tensors(variant.source, variant.tied_sources),
        "args": argparse.Namespace(**arguments),
        "epoch": 49,
    }
    torch.save(whole, path)
    return path


@pytest.mark.parametrize("temperature", [10, 20])
def test_the_temperature_is_read_from_the_arguments_beside_the_weights(tmp_path, temperature):
    # 20, but 10 in the released DAB-DETR-DC5 R50: a wrong value changes outputs by 0.04
    path = trained(
        tmp_path, "dab_detr_r50", pe_temperatureH=temperature, pe_temperatureW=temperature
    )
    done = convert(path, tmp_path / "out")
    config = RepositoryConfig.load(done.folder / "config.json")
    assert config.overrides.lazy["model.position_embedding.temperature"] == temperature


@pytest.mark.parametrize(
    ("name", "read"),
    [
        *dict.fromkeys(("dab_detr", "dn_detr", "dino"), 20).items(),
        *dict.fromkeys(("dab_deformable_detr", "dn_deformable_detr", "detr")).items(),
    ],
)
def test_deformable_models_ignore_the_temperature_in_the_arguments(name, read):
    # their scripts say 20 and their models have 10000: 20 changes DN-Deformable-DETR by 0.26
    arguments = {"pe_temperatureH": 20, "pe_temperatureW": 20}
    facts = architectures()[name].facts_in({"args": arguments})
    assert facts.get("position_temperature") == read


TWO_STAGE = {"two_stage": True}
BRANCHES = {"num_queries_one2one": 300, "num_queries_one2many": 1500}


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("deformable_detr", {**TWO_STAGE, "num_queries": 900}, {"num_queries": 900}),
        ("deformable_detr", {**TWO_STAGE, **BRANCHES}, {"num_queries": 1800}),
        (
            "deformable_detr",
            {**TWO_STAGE, **BRANCHES, "num_queries_one2many": 0},
            {"num_queries": 300},
        ),
        # the shapes show it
        ("deformable_detr", {"two_stage": False, "num_queries": 900}, {}),
        ("h_deformable_detr", {**TWO_STAGE, **BRANCHES, "mixed_selection": True}, {}),
        ("h_deformable_detr", {**TWO_STAGE, **BRANCHES}, {"num_queries": 1800}),
        ("anchor_detr", {"spatial_prior": "grid", "num_query_position": 49}, {"num_queries": 49}),
        ("anchor_detr", {"spatial_prior": "learned", "num_query_position": 49}, {}),
        # text from a stranger
        ("deformable_detr", {**TWO_STAGE, "num_queries": "900"}, {}),
        ("deformable_detr", {**TWO_STAGE, "num_queries": True}, {}),
        ("deformable_detr", {**TWO_STAGE, "num_queries": -5}, {}),
        ("deformable_detr", {"nheads": 0}, {}),
        ("anchor_detr", {"spatial_prior": "grid", "num_query_position": None}, {}),
    ],
)
def test_arguments_state_the_queries_that_shapes_do_not_show(name, arguments, told):
    facts = architectures()[name].facts_in({"args": arguments})
    one2one = facts.pop("num_queries_one2one", None)
    assert facts == told
    assert one2one == (300 if name == "h_deformable_detr" else None)


def test_the_arguments_set_the_number_of_proposals_in_the_config(tmp_path):
    path = trained(tmp_path, "deformable_detr_r50_two_stage", two_stage=True, num_queries=900)
    done = convert(path, tmp_path / "out")
    config = RepositoryConfig.load(done.folder / "config.json")
    assert config.overrides.lazy["model.num_queries"] == 900


def test_arguments_beside_the_weights_are_read_and_show_the_dilation(tmp_path):
    # torch 2.6 and later refuse to load an argparse.Namespace
    path = trained(tmp_path, "conditional_detr_r50_dc5", dilation=True, nheads=8)
    with pytest.raises(Exception, match="Namespace"):
        torch.load(path, weights_only=True)
    done = convert(path, tmp_path / "out")
    assert done.conversion.checkpoint.placeholders == ("argparse.Namespace",)
    assert "backbone.body.layer4.0.conv1.weight" in load_file(done.path)


def test_whole_models_are_loaded_by_exact_key(tmp_path):
    # suffix heuristics try `norm.weight` for every key with this ending
    detector = reference.load("conditional_detr_r50")
    whole = save(tmp_path / "whole.pth", tensors(detector.source), "model")
    backbone = save(tmp_path / "r18.pth", tensors(reference.load("resnet18").source))
    for path, heuristics in ((whole, False), (backbone, True)):
        folder = convert(path, tmp_path / path.stem).folder
        config = RepositoryConfig.load(folder / "config.json")
        assert config.checkpoint.matching_heuristics is heuristics


@pytest.mark.parametrize("name", reference.transformers_saved())
def test_tied_heads_that_transformers_omits_are_restored(name):
    specs = reference.load_saved(name)
    recognised = recognise(specs)
    made = recognised.architecture.read(specs, recognised.layout, {})
    plan = made.plan(specs, recognised.layout)
    assert plan.specs.keys() | made.set_by_model() == made.target().keys()
