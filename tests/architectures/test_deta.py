"""DETA is distinguished from its baseline, which has the same tensors, and from Deformable-DETR."""

import argparse

import pytest
import torch

from detrex_hub.architectures import architecture
from detrex_hub.architectures.recognise import recognise
from detrex_hub.conversion import convert
from detrex_hub.records import RepositoryConfig
from detrex_hub.specs import TensorSpec
from tests import reference
from tests.checkpoint_files import tensors

KIND = architecture("deta")
FIRST = "model.transformer.assign_first_stage"
STAGES = (FIRST, "model.criterion.assign_first_stage", "model.criterion.assign_second_stage")
DETA = reference.load("deta_r50_5scale")
BASELINE = reference.load("deta_improved_deformable_baseline_r50_5scale")


def converted(tmp_path, state, **beside):
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": state, **beside}, path)
    return RepositoryConfig.load(convert(path, tmp_path / "out").folder / "config.json")


@pytest.mark.parametrize("assigned", [True, False])
def test_the_arguments_in_the_file_distinguish_deta_from_its_baseline(tmp_path, assigned):
    # a wrong choice of proposals costs 1.35 in logits and 0.94 in boxes
    assert DETA.source == BASELINE.source
    arguments = argparse.Namespace(
        assign_first_stage=assigned, assign_second_stage=assigned, num_queries=300
    )
    state = tensors(DETA.source, DETA.tied_sources)
    config = converted(tmp_path, state, args=arguments)
    assert [config.overrides.lazy[path] for path in STAGES] == [assigned] * 3
    assert config.overrides.lazy["model.num_queries"] == 300
    settled = KIND.settle(DETA.source, "original", KIND.facts_in({"args": vars(arguments)}))
    assert not {"assign_first_stage", "assign_second_stage", "num_queries"} & set(settled.assumed)


def test_without_arguments_the_weights_are_assumed_to_be_deta():
    settled = KIND.settle(DETA.source, "original", KIND.facts_in({"args": {}}))
    assert {"assign_first_stage", "assign_second_stage", "num_queries"} <= set(settled.assumed)
    assert settled.values["num_queries"] == 900
    assert settled.values["assign_first_stage"] is True


def test_a_detrex_file_leaves_the_choice_to_its_config():
    made = KIND.read(DETA.target, "detrex", {})
    lazy = made.overrides(made.preprocessing({})).lazy
    assert not lazy.keys() & {*STAGES, "model.num_queries"}
    assert "assign_first_stage" in made.notes()[0]
    said = KIND.read(DETA.target, "detrex", {"assign_first_stage": False})
    assert said.overrides(said.preprocessing({})).lazy[FIRST] is False


def test_decoder_norms_are_swapped_and_the_first_row_ranks_proposals():
    # not crossed: 0.52 in logits; the rows of COCO's classes for the proposals: 1.49
    layer = "transformer.decoder.layers.5"
    for variant in (DETA, BASELINE):
        made = recognise(variant.source).architecture.read(variant.source, "original", {})
        plan = made.plan(variant.source, "original")
        crossed = [plan.moves[f"{layer}.norms.{i}.weight"].pieces[0].key for i in range(3)]
        assert crossed == [f"{layer}.norm{i}.weight" for i in (2, 1, 3)]
        head = plan.moves["class_embed.6.weight"].pieces[0]
        assert (head.key, head.rows) == ("class_embed.6.weight", ((0, 80),))


def test_heads_of_objects365_keep_every_row():
    rows = {"weight": (366, 256), "bias": (366,)}
    specs = {
        key: TensorSpec("F32", rows[key.rpartition(".")[2]]) if "class_embed" in key else spec
        for key, spec in DETA.source.items()
    }
    made = KIND.read(specs, "original", {})
    made.plan(specs, "original")
    assert (made.num_classes, made.classes_cut_from) == (366, None)
    lazy = made.overrides(made.preprocessing({})).lazy
    assert lazy["model.num_classes"] == lazy["model.criterion.num_classes"] == 366


def test_profiler_buffers_are_dropped_with_a_reason():
    left = {
        "total_ops": TensorSpec("F64", (1,)),
        "backbone.0.body.conv1.total_params": TensorSpec("F64", (1,)),
        "input_proj.0.0.total_ops": TensorSpec("F64", (1,)),
        "transformer.encoder.layers.0.linear1.total_params": TensorSpec("F64", (1,)),
    }
    specs = {**DETA.source, **left}
    recognised = recognise(specs)
    plan = recognised.architecture.read(specs, recognised.layout, {}).plan(specs, "original")
    assert plan.dropped == dict.fromkeys(left, "counted by a profiler")
    assert plan.specs == DETA.target


def test_deta_is_never_taken_for_deformable_detr():
    for specs in (DETA.source, DETA.target):
        assert recognise(specs).architecture is KIND
        rest = {key: spec for key, spec in specs.items() if "pix_trans" not in key}
        assert recognise(rest).architecture.name == "deformable_detr"
