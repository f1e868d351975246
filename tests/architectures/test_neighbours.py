"""Detectors that differ from another only in training, in a few tensors, or in the config."""

import pytest

from detrex_hub.architectures import architecture
from detrex_hub.architectures.recognise import recognise
from detrex_hub.errors import ArchitectureError, UsageError
from detrex_hub.specs import TensorSpec
from tests import reference

PNP = reference.load("pnp_detr_r50")


def real(name):
    """State dict and hyper-parameters of a detrex model. Other tests compare it with the real
    one."""
    model = reference.detrex_models()[name]
    made = architecture(model["architecture"]).from_hyper_parameters(model["hyper_parameters"])
    return made, made.target()


def lazy_of(made):
    return made.overrides(made.preprocessing({})).lazy


def test_the_groups_of_group_detr_are_read_from_the_usual_number_of_queries():
    _, specs = real("group_detr_r50")
    kind = architecture("group_detr")
    settled = kind.settle(specs, "detrex", {})
    assert (settled.values["group_nums"], "group_nums" in settled.assumed) == (11, True)
    lazy = lazy_of(kind.read(specs, "detrex", {}))
    assert (lazy["model.num_queries"], lazy["model.group_nums"]) == (300, 11)
    # no shape shows the two factors
    lazy = lazy_of(kind.read(specs, "detrex", {"group_nums": 10}))
    assert (lazy["model.num_queries"], lazy["model.group_nums"]) == (330, 10)
    with pytest.raises(ArchitectureError, match="3300 queries are not 7 groups"):
        kind.read(specs, "detrex", {"group_nums": 7})


def test_the_config_decides_groups_of_another_size():
    _, specs = real("group_detr_r50")
    specs["query_embed.weight"] = TensorSpec("F32", (100, 256))
    made = architecture("group_detr").read(specs, "detrex", {})
    assert not lazy_of(made).keys() & {"model.num_queries", "model.group_nums"}
    assert "group_nums" in made.notes()[0]


def test_one_stage_h_deformable_detr_turns_look_forward_twice_off():
    # detrex's own config turns it on, and its decoder raises an UnboundLocalError
    path = "model.transformer.decoder.look_forward_twice"
    made, specs = real("h_deformable_detr_r50_one_stage")
    found = architecture("h_deformable_detr").read(specs, "detrex", {})
    lazy = lazy_of(found)
    assert lazy[path] is False
    assert "model.mixed_selection" not in lazy
    assert (lazy["model.num_queries_one2one"], lazy["model.num_queries_one2many"]) == (300, 1500)
    assert not made.ranks_proposals
    two_stage, _ = real("h_deformable_detr_r50_two_stage")
    assert path not in lazy_of(two_stage)


def test_pnp_detr_and_detr_are_never_confused():
    for specs in (PNP.source, PNP.target):
        assert recognise(specs).architecture.name == "pnp_detr"
        rest = {key: spec for key, spec in specs.items() if ".sampler." not in key}
        assert recognise(rest).architecture.name == "detr"


def test_the_sampler_of_pnp_detr_is_read_from_its_shapes():
    lazy = lazy_of(architecture("pnp_detr").read(PNP.source, "original", {}))
    assert lazy["model.transformer.score_pred_net"] == "2layer-fc-256"
    assert lazy["model.transformer.kproj_net"] == "1layer-fc"
    assert lazy["model.transformer.unsample_abstract_number"] == 30


def test_the_sample_ratio_of_pnp_detr_is_unknown():
    # 0.333 instead of 0.5 changes logits by 0.2 to 0.35
    kind, path = architecture("pnp_detr"), "model.test_time_sample_ratio"
    settled = kind.settle(PNP.source, "original", {})
    assert "test_time_sample_ratio" in settled.assumed
    assert lazy_of(kind.read(PNP.source, "original", {}))[path] == 0.5
    ours = kind.read(PNP.target, "detrex", {})
    assert path not in lazy_of(ours)
    assert "test_time_sample_ratio" in ours.notes()[0]
    with pytest.raises(UsageError, match="test_time_sample_ratio"):
        kind.read(PNP.source, "original", {"test_time_sample_ratio": 1.5})


def test_the_position_setting_of_pnp_detrs_sampler_is_read_from_arguments():
    kind, path = architecture("pnp_detr"), "model.transformer.pos_embed_kproj"
    told = kind.facts_in({"args": {"pos_embed_kproj": True, "nheads": 8}})
    assert lazy_of(kind.read(PNP.source, "original", told))[path] is True
    # detrex's config omits it, which means false
    assert path not in lazy_of(kind.read(PNP.source, "original", {}))


def test_co_mot_keeps_its_inner_names():
    # it numbers norms like the original Deformable-DETR, whose converter would swap them
    made, specs = real("co_mot_r50")
    found = recognise(specs)
    assert (found.architecture.name, found.layout) == ("co_mot", "detrex")
    plan = made.plan(specs, "detrex")
    assert {key: move.pieces[0].key for key, move in plan.moves.items()} == {
        key: key for key in plan.moves
    }
    assert plan.specs == specs
    rest = {key: spec for key, spec in specs.items() if not key.startswith("track_embed.")}
    with pytest.raises(ArchitectureError, match=r"nearest is co_mot.*track_embed"):
        recognise(rest)


def test_the_shadow_queries_of_co_mot_are_read_from_shapes():
    made, specs = real("co_mot_r50")
    lazy = lazy_of(type(made).read(specs, "detrex", {}))
    for path in ("model.g_size", "model.criterion.g_size", "model.post_process.g_size"):
        assert lazy[path] == 3
    assert lazy["model.num_queries"] == 60
    assert "does not normalise images" in made.notes()[-1]
    specs["position_offset.weight"] = TensorSpec("F32", (181, 4))
    with pytest.raises(ArchitectureError, match="181 shadows"):
        type(made).read(specs, "detrex", {})


def test_position_embeddings_of_models_trained_in_detrex_are_unknown():
    facts = {"position_temperature": 10000, "position_offset": -0.5}
    for name in ("align_detr_r50", "sqr_detr_r50", "group_detr_r50"):
        made, specs = real(name)
        path = "model.position_embedding.temperature"
        assert lazy_of(type(made).read(specs, "detrex", facts))[path] == 10000
        unknown = type(made).read(specs, "detrex", {})
        assert "position_temperature" in unknown.notes()[0]
        assert path not in lazy_of(unknown)


def test_sqr_notes_that_detrex_has_no_class_for_it():
    made, _ = real("sqr_detr_r50")
    assert "DABDETR" in made.notes()[-1]
