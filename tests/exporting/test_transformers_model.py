"""Config fields and key names of folders for transformers, checked without transformers.

The fields were measured with transformers 4.57.1 and 5.24.0, see `foreign_models`.
"""

import pytest

from detrex_hub.architectures import architecture, architectures
from detrex_hub.architectures.foreign_models import for_transformers
from detrex_hub.architectures.recognise import recognise
from detrex_hub.architectures.transformers_layout import LAYOUTS
from detrex_hub.errors import ArchitectureError
from detrex_hub.exporting.folder import processor_of
from detrex_hub.mapping import Computed
from detrex_hub.mapping.operations import Cut
from detrex_hub.specs import TensorSpec
from tests import reference
from tests.architectures.test_variants import facts_of

IMAGENET = {
    "image_format": "RGB",
    "pixel_mean": [123.675, 116.28, 103.53],
    "pixel_std": [58.395, 57.12, 57.375],
}
COMMON = {
    "encoder_layers": 6,
    "decoder_layers": 6,
    "encoder_ffn_dim": 2048,
    "decoder_ffn_dim": 2048,
    "encoder_attention_heads": 8,
    "decoder_attention_heads": 8,
    # true would change the outputs of DETR and Conditional-DETR
    "auxiliary_loss": False,
}
ON_TIMM = {
    "backbone": "resnet50",
    "use_timm_backbone": True,
    "use_pretrained_backbone": False,
    "backbone_config": None,
    "dilation": False,
}
ON_ITS_OWN = {
    "backbone": None,
    "use_timm_backbone": False,
    "use_pretrained_backbone": False,
    "dilation": False,
    "backbone_config": {
        "model_type": "resnet",
        "embedding_size": 64,
        "hidden_sizes": [256, 512, 1024, 2048],
        "depths": [3, 4, 6, 3],
        "layer_type": "bottleneck",
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": False,
        "out_features": ["stage4"],
    },
}
SINE = {"position_embedding_type": "sine", "activation_function": "relu", "d_model": 256}
DETR = {
    **COMMON,
    **SINE,
    "model_type": "detr",
    "architectures": ["DetrForObjectDetection"],
    "num_queries": 100,
}
CONDITIONAL = {
    **COMMON,
    **SINE,
    "model_type": "conditional_detr",
    "architectures": ["ConditionalDetrForObjectDetection"],
    "num_queries": 300,
}
DEFORMABLE = {
    **COMMON,
    **SINE,
    "model_type": "deformable_detr",
    "architectures": ["DeformableDetrForObjectDetection"],
    "num_queries": 300,
    "encoder_ffn_dim": 1024,
    "decoder_ffn_dim": 1024,
    "num_feature_levels": 4,
    "encoder_n_points": 4,
    "decoder_n_points": 4,
    "with_box_refine": False,
    "two_stage": False,
}
DAB = {
    **COMMON,
    # with a hyphen
    "model_type": "dab-detr",
    "architectures": ["DabDetrForObjectDetection"],
    "num_queries": 300,
    "hidden_size": 256,
    "activation_function": "prelu",
    "num_patterns": 0,
    "temperature_height": 20,
    "temperature_width": 20,
}
DC5 = {"dilation": True}
FIELDS = {
    ("detr_r50", "transformers"): {**DETR, **ON_TIMM},
    ("detr_r50", "transformers_no_timm"): {**DETR, **ON_ITS_OWN},
    ("detr_r50_dc5", "transformers"): {**DETR, **ON_TIMM, **DC5},
    ("detr_r101", "transformers"): {**DETR, **ON_TIMM, "backbone": "resnet101"},
    ("conditional_detr_r50", "transformers"): {**CONDITIONAL, **ON_TIMM},
    ("conditional_detr_r50_dc5", "transformers"): {**CONDITIONAL, **ON_TIMM, **DC5},
    ("deformable_detr_r50", "transformers"): {**DEFORMABLE, **ON_TIMM},
    ("deformable_detr_r50", "transformers_no_timm"): {
        **DEFORMABLE,
        **ON_ITS_OWN,
        "backbone_config": {
            **ON_ITS_OWN["backbone_config"],
            "out_features": ["stage2", "stage3", "stage4"],
        },
    },
    ("deformable_detr_r50_single_scale", "transformers"): {
        **DEFORMABLE,
        **ON_TIMM,
        "num_feature_levels": 1,
    },
    ("deformable_detr_r50_refine", "transformers"): {
        **DEFORMABLE,
        **ON_TIMM,
        "with_box_refine": True,
    },
    ("deformable_detr_r50_two_stage", "transformers"): {
        **DEFORMABLE,
        **ON_TIMM,
        "with_box_refine": True,
        "two_stage": True,
        "two_stage_num_proposals": 300,
    },
    ("dab_detr_r50", "transformers"): {**DAB, **ON_TIMM},
    ("dab_detr_r50_dc5", "transformers"): {
        **DAB,
        **ON_TIMM,
        **DC5,
        "temperature_height": 10,
        "temperature_width": 10,
    },
    ("dab_detr_r50_3pat", "transformers"): {**DAB, **ON_TIMM, "num_patterns": 3},
    ("dn_detr_r50", "transformers"): {**DAB, **ON_TIMM, "num_patterns": 1},
}


def read(name):
    """A model of a measured variant, and its state dict in detrex."""
    variant = reference.load(name)
    found = recognise(variant.source)
    facts = facts_of(name)
    if name == "dab_detr_r50_dc5":
        facts = {**facts, "position_temperature": 10}
    made = found.architecture.read(variant.source, found.layout, facts)
    return made.as_stored(), variant.target


@pytest.mark.parametrize(("name", "layout"), FIELDS)
def test_config_fields_match_the_measured_ones(name, layout):
    made, _ = read(name)
    assert dict(made.in_transformers(layout, IMAGENET).config) == FIELDS[name, layout]


def read_by_transformers(specs):
    """The tensors of a file that transformers' model reads. DAB-DETR's box head has two names
    there, of which one counts."""
    return {
        key.replace("model.decoder.bbox_embed.layers", "bbox_predictor.layers"): spec
        for key, spec in specs.items()
        if not key.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("detr_r50", "hf_detr_r50"),
        ("conditional_detr_r50", "hf_conditional_detr_r50"),
        ("deformable_detr_r50", "hf_deformable_detr_r50"),
        ("deformable_detr_r50_refine", "hf_deformable_detr_r50_refine"),
        ("deformable_detr_r50_two_stage", "hf_deformable_detr_r50_two_stage"),
        ("dab_detr_r50", "hf_dab_detr_r50"),
        ("dn_detr_r50", "hf_dab_detr_r50"),
    ],
)
def test_keys_and_shapes_match_transformers(name, theirs):
    made, target = read(name)
    planned = made.plan_export(target, "transformers").specs
    expected = read_by_transformers(reference.load(theirs).source)
    for key, spec in expected.items():
        if "class_labels_classifier" in key or "class_embed" in key:
            # cut to COCO's classes, "no object" last in DETR
            rows = 81 if theirs == "hf_detr_r50" else 80
            expected[key] = TensorSpec(spec.dtype, (rows, *spec.shape[1:]))
    if name == "dn_detr_r50":
        expected["model.patterns.weight"] = TensorSpec("F32", (1, 256))
    assert read_by_transformers(planned) == expected


def test_the_pattern_of_dn_detr_is_the_embedding_for_unknown():
    made, target = read("dn_detr_r50")
    (piece,) = made.plan_export(target, "transformers").moves["model.patterns.weight"].pieces
    assert isinstance(piece, Computed)
    assert piece.of == ("denoising_generator.label_encoder.weight",)
    # the row after those of the 80 classes, and the indicator
    assert piece.operation == Cut((80, 0), (1, 256), (81, 255))


EXPORTED = {
    *("detr", "conditional_detr", "deformable_detr", "dab_detr", "dn_detr", "sqr_detr"),
}


def test_every_detector_is_exported_or_says_why_not():
    detectors = {name for name, kind in architectures().items() if not kind.backbone}
    assert {n for n in detectors if architecture(n).not_in_transformers is None} == EXPORTED


@pytest.mark.parametrize(
    "name",
    [
        "anchor_detr_r50",
        "dab_deformable_detr_r50",
        "deta_r50_5scale",
        "dino_r50_4scale",
        "dn_deformable_detr_r50",
        "h_deformable_detr_r50_two_stage",
        "maskdino_r50_instance_hid2048",
        "pnp_detr_r50",
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_model_that_transformers_lacks_is_refused_with_the_reason(name, layout):
    made, _ = read(name)
    with pytest.raises(ArchitectureError, match="transformers has no model for") as caught:
        made.in_transformers(layout, IMAGENET)
    assert made.not_in_transformers in caught.value.message
    assert "--to original" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "change", "why", "do"),
    [
        ("detr_r50", {"position_grid": (50, 50)}, "learned position", "--to original"),
        ("detr_r50", {"position_offset": -0.5}, "offset -0.5 instead of 0.0", "--to original"),
        ("detr_r50", {"position_temperature": 20}, "temperature 20 instead of", "--to original"),
        ("deformable_detr_r50", {"position_offset": 0}, "offset 0 instead of -0.5", "original"),
        ("deformable_detr_r50", {"neck_inputs": 2}, "reads 2 stages", "transformers_no_timm"),
        ("deformable_detr_r50", {"neck_inputs": 1}, "4 feature maps of one", "no_timm"),
        (
            "dab_detr_r50",
            {"position_temperature": 20.5},
            "takes only whole numbers",
            "--to original",
        ),
        ("dab_detr_r50", {"modulate_hw_attn": False}, "do not modulate", "--to original"),
        ("detr_r50", {"num_heads": None}, "do not show num_heads", "--fact"),
    ],
)
def test_values_that_transformers_has_no_field_for_are_refused(name, change, why, do):
    made, _ = read(name)
    other = type(made).from_hyper_parameters({**made.hyper_parameters(), **_plain(change)})
    with pytest.raises(ArchitectureError, match=why) as caught:
        other.in_transformers("transformers", IMAGENET)
    assert do in caught.value.hint


def _plain(change):
    return {name: list(v) if isinstance(v, tuple) else v for name, v in change.items()}


def test_backbones_that_transformers_lacks_are_refused():
    made, _ = read("detr_r50")
    with pytest.raises(ArchitectureError, match="stride is in the 1x1") as caught:
        made.in_transformers("transformers", {**IMAGENET, "stride_in_1x1": True})
    assert "transformers_no_timm" in caught.value.hint
    own = made.in_transformers("transformers_no_timm", {**IMAGENET, "stride_in_1x1": True})
    assert own.config["backbone_config"]["downsample_in_bottleneck"] is True
    dilated, _ = read("detr_r50_dc5")
    with pytest.raises(ArchitectureError, match="nor dilation"):
        dilated.in_transformers("transformers_no_timm", IMAGENET)
    unknown = type(dilated).from_hyper_parameters(
        {k: v for k, v in dilated.hyper_parameters().items() if k != "backbone_dilation"}
    )
    with pytest.raises(ArchitectureError, match="do not show dilation"):
        unknown.in_transformers("transformers", IMAGENET)
    swin = {
        "backbone": "swin",
        "backbone_embed_dim": 96,
        "backbone_depths": [2, 2, 6, 2],
        "backbone_num_heads": [3, 6, 12, 24],
        "backbone_window_size": 7,
        "backbone_pretrain_img_size": 224,
    }
    kept = {k: v for k, v in made.hyper_parameters().items() if not k.startswith("backbone")}
    other = type(made).from_hyper_parameters({**kept, **swin})
    with pytest.raises(ArchitectureError, match="the backbone is a swin"):
        other.in_transformers("transformers", IMAGENET)


def test_values_of_the_released_models_are_assumed_by_name():
    made, _ = read("deformable_detr_r50_two_stage")
    unknown = {"num_heads": None, "num_queries": None, "position_offset": None}
    other = type(made).from_hyper_parameters({**made.hyper_parameters(), **unknown})
    whole, assumed = other.as_released()
    assert assumed == {"num_heads": 8, "num_queries": 300, "position_offset": -0.5}
    assert whole == made


def test_the_image_processor_has_detrexs_mean_and_std():
    made, _ = read("detr_r50")
    found = processor_of(made.in_transformers("transformers", IMAGENET), IMAGENET)
    assert found["image_processor_type"] == "DetrImageProcessor"
    assert found["image_mean"] == [0.485, 0.456, 0.406]
    assert found["image_std"] == [0.229, 0.224, 0.225]
    assert found["size"] == {"shortest_edge": 800, "longest_edge": 1333}
    assert found["do_rescale"] is found["do_normalize"] is found["do_resize"] is True
    with pytest.raises(ArchitectureError, match="BGR"):
        for_transformers(made, "transformers", {**IMAGENET, "image_format": "BGR"})


def test_dab_detr_uses_the_image_processor_of_conditional_detr():
    made, _ = read("dab_detr_r50")
    model = made.in_transformers("transformers", IMAGENET)
    assert model.image_processor == "ConditionalDetrImageProcessor"
    assert "1e-5" in model.differences[0]
