"""Any legal combination of hyper-parameters, not only the released ones."""

import hashlib

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from detrex_hub.architectures import architectures
from detrex_hub.architectures.recognise import recognise
from detrex_hub.mapping import plan, source_specs
from tests import reference
from tests.architectures.test_variants import DETECTORS

SIDES = st.integers(1, 3)


def one_of(*values):
    return st.sampled_from(values)


@st.composite
def backbones(draw, only=None):
    """A ResNet as detectron2 or as torchvision names it, or a Swin."""
    kind = only or draw(one_of("resnet", "resnet", "torchvision_resnet", "swin"))
    if kind == "swin":
        return {
            "backbone": "swin",
            "backbone_embed_dim": 32,
            "backbone_depths": [1, 1, draw(SIDES), 1],
            "backbone_num_heads": [1, 2, 4, 8],
            "backbone_window_size": (window := draw(one_of(7, 12))),
            "backbone_pretrain_img_size": 32 * window,
        }
    depth = draw(one_of(18, 34, 50, 101, 152))
    found = {"backbone": kind, "backbone_depth": depth}
    if kind == "torchvision_resnet":
        # detrex builds undilated ones on it only in Anchor DETR
        depth = found["backbone_depth"] = draw(one_of(50, 101)) if only is None else depth
        found["backbone_dilation"] = only is None or (depth >= 50 and draw(st.booleans()))
    return found


MULTI_LEVEL = {"neck_inputs": st.integers(1, 4), "more_levels": st.integers(0, 2)}
FLAG = st.booleans()
# hyper-parameters that only some architectures have
OWN = {
    "detr": {"position_grid": st.none() | st.lists(st.integers(1, 60), min_size=2, max_size=2)},
    "conditional_detr": {},
    "group_detr": {"group_nums": one_of(1, 3)},
    "pnp_detr": {
        "score_pred_net": one_of("2layer-fc-256", "2layer-fc-16", "1layer-fc"),
        "kproj_net": one_of("1layer-fc", "2layer-fc"),
        "unsample_abstract_number": st.integers(1, 40),
        "test_time_sample_ratio": one_of(0.333, 0.5),
        "pos_embed_kproj": FLAG,
    },
    "dab_detr": {"num_patterns": one_of(0, 1, 3), "modulate_hw_attn": FLAG},
    "sqr_detr": {"num_patterns": one_of(0, 1, 3), "modulate_hw_attn": FLAG},
    "dn_detr": {"with_indicator": FLAG, "modulate_hw_attn": FLAG},
    "deformable_detr": {**MULTI_LEVEL, "with_box_refine": FLAG, "as_two_stage": FLAG},
    "dab_deformable_detr": {**MULTI_LEVEL, "as_two_stage": FLAG},
    "dn_deformable_detr": {**MULTI_LEVEL, "with_indicator": FLAG},
    "h_deformable_detr": {
        **MULTI_LEVEL,
        "with_box_refine": FLAG,
        "as_two_stage": FLAG,
        "mixed_selection": FLAG,
        "num_queries_one2one": st.integers(1, 20),
    },
    "dino": {**MULTI_LEVEL, "more_labels": one_of(0, 1, 5)},
    "align_detr": MULTI_LEVEL,
    "focus_detr": MULTI_LEVEL,
    "co_mot": {
        **MULTI_LEVEL,
        "g_size": SIDES,
        "track_dim": one_of(16, 64),
        "update_query_pos": FLAG,
    },
    "maskdino": {
        **MULTI_LEVEL,
        "feature_order": one_of("low2high", "high2low"),
        "mask_levels": st.integers(0, 2),
        "decoder_feedforward_dim": one_of(16, 64),
        "two_stage": FLAG,
        "learn_tgt": FLAG,
        "learned_boxes": FLAG,
        "semantic_ce_loss": FLAG,
        "initialize_box_type": one_of("no", "bitmask", "mask2box"),
    },
    "deta": {**MULTI_LEVEL, "assign_first_stage": FLAG, "assign_second_stage": FLAG},
    "anchor_detr": {
        "num_patterns": SIDES,
        "attention_type": one_of("RCDA", "nn.MultiheadAttention"),
        "spatial_prior": one_of("learned", "grid"),
    },
}
IN_NO_SHAPE = (
    "num_heads",
    "position_temperature",
    "position_offset",
    "num_queries_one2one",
    "group_nums",
    "test_time_sample_ratio",
    "pos_embed_kproj",
    "assign_first_stage",
    "assign_second_stage",
    "initialize_box_type",
    "seed",
)


@st.composite
def detectors(draw, name):
    """Hyper-parameters of an architecture, and the facts that its shapes do not show."""
    kind = architectures()[name]
    only = {"anchor_detr": "torchvision_resnet", "maskdino": draw(one_of("resnet", "swin"))}
    values = draw(backbones(only.get(name)))
    values |= {
        "num_queries": draw(st.integers(20, 1000)),
        "num_classes": draw(st.integers(1, 400)),
        "encoder_layers": draw(SIDES),
        "decoder_layers": draw(SIDES),
        "embed_dim": draw(one_of(32, 128, 256)),
        "feedforward_dim": draw(one_of(33, 512)),
        "num_heads": draw(one_of(4, 8)),
    }
    values |= {field: draw(strategy) for field, strategy in OWN[name].items()}
    facts = {"classes": "keep"}
    # Mask DINO's classes have no gaps to cut, and detrex's own heads are never cut
    if name != "maskdino" and "original" in kind.layouts and draw(st.booleans()):
        facts = {}
        values |= {"num_classes": 80, "classes_cut_from": kind.original_rows}
    if "position_offset" in kind.facts:
        sine = values.get("position_grid") is None
        values["position_temperature"] = draw(one_of(10, 20, 10000)) if sine else None
        values["position_offset"] = draw(one_of(0.0, -0.5)) if sine else None
    if "more_levels" in values:
        if values["backbone"] == "torchvision_resnet":
            values["neck_inputs"] = 1
        values["feature_levels"] = values["neck_inputs"] + values.pop("more_levels")
    if values["backbone"] == "swin":
        # detectron2 has a norm for each returned stage, whether the neck reads it or not
        read = 0 if name == "maskdino" else 4 - values.get("neck_inputs", 1)
        values["backbone_output_norms"] = list(range(draw(st.integers(0, read)), 4))
    if "more_labels" in values:
        # an original has at least as many labels as rows in its heads
        rows = values.get("classes_cut_from", values["num_classes"]) + values.pop("more_labels")
        values["label_rows"] = rows if rows > values["num_classes"] else None
    if not values.get("with_box_refine", True):
        values["as_two_stage"] = False
    if name == "maskdino":
        values["learn_tgt"] &= values["two_stage"]
        values["learned_boxes"] = not values["two_stage"] and values["initialize_box_type"] == "no"
        if values["neck_inputs"] == 1:
            values["feature_order"] = "low2high"
    if name == "focus_detr":
        values["encoder_layers"] = min(values["encoder_layers"], values["decoder_layers"])
    if "group_nums" in values:
        values["num_queries"] *= values["group_nums"]
    if "mixed_selection" in values:
        values["mixed_selection"] &= values["as_two_stage"]
    made = kind.from_hyper_parameters(values)
    facts |= {key: value for key in IN_NO_SHAPE if (value := values.get(key)) is not None}
    proposed = name == "deta" or values.get("as_two_stage")
    proposed = proposed or (values.get("two_stage") and not values["learn_tgt"])
    if proposed or values.get("spatial_prior") == "grid":
        facts["num_queries"] = values["num_queries"]
    if "backbone_dilation" in values:
        facts["dilation"] = values["backbone_dilation"]
    return made, facts


def same(made, specs, layout, facts):
    """Whether a state dict is recognised as the model it was made from, and converts to it."""
    # at an unreleased size no key distinguishes look-alikes
    named = type(made).layouts[layout].look_alikes is not None
    named |= made.name in ("group_detr", "align_detr", "sqr_detr")
    named |= made.name == "h_deformable_detr" and not made.mixed_selection
    recognised = recognise(specs, among=[type(made)] if named else ())
    assert (recognised.architecture, recognised.layout) == (type(made), layout)
    found = type(made).read(specs, layout, facts)
    assert found.target() == made.target()
    expected = made.hyper_parameters()
    if layout == "detrex":
        # nothing is cut from a detrex file
        expected |= {"classes_cut_from": None}
        if "label_rows" in expected:
            expected["label_rows"] = None
    assert found.hyper_parameters() == expected
    found.plan(specs, layout)
    return found


@pytest.mark.parametrize(
    "name", [name for name in OWN if "original" in architectures()[name].layouts]
)
def test_hyper_parameters_are_read_back_from_the_originals_shapes(name):
    @settings(
        max_examples=8, deadline=None, database=None, derandomize=True, phases=[Phase.generate]
    )
    @given(detectors(name).filter(lambda drawn: original_has(drawn[0])))
    def check(drawn):
        made, facts = drawn
        specs, _ = made.original()
        found = same(made, specs, next(iter(made.layouts)), facts)
        if made.classes_cut_from is None and getattr(made, "label_rows", None) is None:
            there = found.plan(specs, "original").specs
            back = found.plan_export(there, "original").specs
            assert back == {key: spec for key, spec in specs.items() if key not in made.dropped()}

    check()


def original_has(made):
    """The two stages of the original DAB-Deformable-DETR differ from detrex's."""
    return not (made.name == "dab_deformable_detr" and made.as_two_stage)


@pytest.mark.parametrize(
    ("name", "prefix"), [("dino", "backbone.0."), ("h_deformable_detr", "backbone.0.body.")]
)
def test_a_swin_has_the_prefix_of_the_originals_authors(name, prefix):
    model = next(
        one["hyper_parameters"]
        for one in reference.detrex_models().values()
        if one["architecture"] == name and one["hyper_parameters"]["backbone"] == "swin"
    )
    specs, _ = architectures()[name].from_hyper_parameters(model).original()
    found = {key.partition("layers.")[0] for key in specs if "relative_position" in key}
    assert found == {prefix}


@pytest.mark.parametrize("name", OWN)
def test_hyper_parameters_are_read_back_from_detrexs_shapes(name):
    @settings(
        max_examples=6, deadline=None, database=None, derandomize=True, phases=[Phase.generate]
    )
    @given(detectors(name))
    def check(drawn):
        made, facts = drawn
        facts.pop("classes", None)
        same(made, made.target(), "detrex", facts)

    check()


@pytest.mark.parametrize("layout", ["transformers", "transformers_no_timm"])
@pytest.mark.parametrize(
    "name", [name for name in OWN if "transformers" in architectures()[name].layouts]
)
def test_hyper_parameters_are_read_back_from_transformers_shapes(name, layout):
    @settings(
        max_examples=5, deadline=None, database=None, derandomize=True, phases=[Phase.generate]
    )
    @given(detectors(name).filter(lambda drawn: transformers_has(drawn[0])))
    def check(drawn):
        made, facts = drawn
        rules, constants = made.rules(layout), made.set_by_model()
        held = {key: spec for key, spec in made.target().items() if key not in constants}
        specs = source_specs(rules, held)
        assert plan(rules, specs, mapper="there").specs.keys() <= held.keys()
        same(made, specs, layout, facts)

    check()


def transformers_has(made):
    """transformers has only ResNets here, and no learned position embeddings."""
    resnet = "resnet" in made.body.name
    return resnet and getattr(made, "position_grid", None) is None


def digest(specs):
    lines = [f"{key} {spec.dtype} {list(spec.shape)}\n" for key, spec in sorted(specs.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.parametrize("name", reference.detrex_models())
def test_the_state_dict_equals_the_real_detrex_models(name):
    model = reference.detrex_models()[name]
    kind = architectures()[model["architecture"]]
    # a state dict shows neither the proposals of a two-stage model nor the points of a grid
    made = kind.from_hyper_parameters({"num_queries": None, **model["hyper_parameters"]})
    assert digest(made.target()) == model["state_dict"]
    ties = sorted(sorted(group) for group in made.ties())
    assert hashlib.sha256(repr(ties).encode()).hexdigest() == model["ties"]


def test_every_detector_has_random_sizes_and_a_recorded_model():
    kinds = {name for name, kind in architectures().items() if not kind.backbone}
    assert kinds == OWN.keys()
    assert {one["architecture"] for one in reference.detrex_models().values()} == kinds
    assert all(any(name.startswith(kind) for kind in kinds) for name in DETECTORS)
