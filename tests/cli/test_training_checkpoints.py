"""Checkpoints of users: with an optimizer, with averaged weights, for other classes."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests import reference
from tests.architectures.test_variants import DETECTORS
from tests.checkpoint_files import save, tensors
from tests.cli.test_commands import one_line

# one of each architecture, by detrex's names
OWN = [
    *reference.names("anchor_detr_r50_dc5", "conditional_detr_r50_dc5", "dab_deformable_detr_r50"),
    *reference.names("dab_detr_r50_3pat", "deformable_detr_r50_two_stage", "detr_r50_learned_pos"),
    *reference.names(
        "deta_r50_5scale",
        "dino_swin_tiny",
        "dn_deformable_detr_r50_12ep",
        "dn_detr_r50",
        "h_deformable",
        "maskdino_r50_semantic",
        "pnp_detr_r50",
    ),
]


@pytest.fixture
def trained(tmp_path):
    """`trained(name)` is a checkpoint as detrex's training writes it, with averaged weights under
    ``ema`` if requested."""

    def _trained(name, ema="ema_state"):
        variant = reference.load(name)
        state = tensors(variant.target, variant.tied_targets)
        tied = {key for _, *others in variant.tied_targets for key in others}
        # named_parameters() returns a shared tensor once
        averaged = {key: value + 1 for key, value in state.items() if ema and key not in tied}
        whole = {
            "model": state,
            "optimizer": {"state": {0: {"exp_avg": torch.ones(5)}}, "param_groups": [{"lr": 0.1}]},
            "scheduler": {"last_epoch": 7},
            "iteration": 89_999,
            **({ema: averaged} if ema else {}),
        }
        path = tmp_path / "model_final.pth"
        torch.save(whole, path)
        return path, state, averaged

    return _trained


def test_every_architecture_is_among_them():
    def kinds(names):
        return {re.split("_r50|_r101|_swin|_improved", name)[0] for name in names}

    assert kinds(OWN) == kinds(DETECTORS)


@pytest.mark.parametrize("name", OWN)
def test_a_checkpoint_in_detrex_names_is_stripped_to_its_weights(cli, trained, name):
    path, state, _ = trained(name, ema=None)
    done = cli("convert", path, "-o", "out", "--json")
    assert done.code == 0, done.err
    assert name.startswith(done.document["architecture"])
    assert done.document["layout"] == "detrex"
    written = load_file("out/model.safetensors")
    stored_once = [set(group) for group in reference.load(name).tied_targets]
    assert all(len(group & written.keys()) == 1 for group in stored_once)
    assert state.keys() - written.keys() <= set().union(*stored_once)
    assert all(torch.equal(value, state[key]) for key, value in written.items())
    assert cli("verify", "out").code == 0


def test_the_averaged_weights_of_a_checkpoint(cli, trained):
    path, _, averaged = trained("deformable_detr_r50_refine")
    text = cli("inspect", path).out
    assert "ema_state: " in text and "--container ema_state" in text
    assert cli("convert", path, "--ema", "-o", "out").code == 0
    written = load_file("out/model.safetensors")
    assert len(written) == len(averaged)
    assert torch.equal(written["class_embed.0.bias"], averaged["class_embed.0.bias"])
    assert sum(value.double().sum() for value in written.values()) == (
        sum(value.double().sum() for value in averaged.values())
    )
    assert cli("verify", "out").code == 0


def test_skipped_averaged_weights_are_named(cli, tmp_path, trained):
    path, state, _ = trained("deformable_detr_r50_refine", ema="ema_model")
    done = cli("convert", path, "-o", "out")
    (line,) = [line for line in done.err.splitlines() if "--ema" in line]
    assert "ema_model" in line
    written = load_file("out/model.safetensors")
    assert torch.equal(written["class_embed.0.bias"], state["class_embed.0.bias"])
    # the record and the card say it too
    assert "--ema" in Path("out/conversion.json").read_text()
    assert "the file also has averaged weights" in Path("out/README.md").read_text()
    assert cli("verify", "out", "--source", path).code == 0
    assert "--ema" in cli("convert", path, "--dry-run").out
    assert "--ema" in cli("inspect", path).out
    pushed = cli("convert-and-push", path, "me/mine", "--to", tmp_path / "hub")
    assert "--ema" in pushed.err
    assert "--ema" not in cli("convert", path, "--ema", "--dry-run").out


def test_averages_of_a_few_numbers_are_not_averaged_weights(cli, tmp_path):
    state = tensors(reference.load("resnet18").source)
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": state, "ema": {"decay": torch.ones(1), "updates": torch.ones(1)}}, path)
    assert "--ema" not in cli("convert", path, "--dry-run").out


def test_a_chosen_top_level_is_verified_again(cli, tmp_path):
    state = tensors(reference.load("resnet18").source)
    path = tmp_path / "checkpoint.pth"
    torch.save({**state, "other": state | {"one.more": torch.ones(3)}}, path)
    assert "--container other" in one_line(cli("convert", path, "-o", "out"))
    assert cli("convert", path, "-o", "out", "--container", "").code == 0
    assert cli("verify", "out", "--source", path).code == 0


def test_the_average_is_found_among_several_dicts_of_unusual_names(cli, tmp_path):
    state = tensors(reference.load("resnet18").source)
    path = tmp_path / "checkpoint.pth"
    torch.save({"teacher": state, "student": state, "student_ema": state}, path)
    assert "--container" in one_line(cli("convert", path))
    assert cli("convert", path, "--ema", "--dry-run").code == 0
    line = one_line(cli("convert", path, "--ema", "--container", "x"), 2)
    assert line.endswith(
        f"cannot be combined. Choose one: detrex-hub convert {path} --ema "
        f"or detrex-hub convert {path} --container x"
    )


@pytest.mark.parametrize("name", ["model_ema", "state_dict_ema", "ema"])
def test_averaged_weights_under_other_names_are_found(cli, tmp_path, name):
    state = tensors(reference.load("resnet18").source)
    path = tmp_path / "checkpoint.pth"
    averaged = {key: value + 1 for key, value in state.items()}
    torch.save({"state_dict": state, name: averaged, "epoch": 3}, path)
    assert cli("convert", path, "--ema", "-o", "out").code == 0
    written = load_file("out/model.safetensors")
    assert torch.equal(written["stem.conv1.weight"], averaged["conv1.weight"])


def test_missing_averaged_weights_are_refused(cli, original):
    line = one_line(cli("convert", original, "--ema"), 2)
    assert "none among its dicts" in line
    assert line.endswith(f"Leave out --ema: detrex-hub convert {original}")


def test_a_custom_head_keeps_its_rows(cli, tmp_path):
    variant = reference.load("detr_r50")
    state = {
        key: value[:4].clone() if "class_embed" in key else value
        for key, value in tensors(variant.source, variant.tied_sources).items()
    }
    path = save(tmp_path / "mine.pth", state, "model")
    assert cli("convert", path, "--num-classes", 3, "-o", "kept").code == 0
    kept = load_file("kept/model.safetensors")
    assert torch.equal(kept["class_embed.weight"], state["class_embed.weight"])
    done = cli("convert", path, "--num-classes", 3, "--new-head", "-o", "new")
    assert "0 keep their rows, 3 get fresh ones (seed 0)" in done.err
    new = load_file("new/model.safetensors")
    assert not torch.equal(new["class_embed.weight"][:3], state["class_embed.weight"][:3])
    assert json.loads(Path("new/conversion.json").read_text())["facts"]["new_head"] is True
    assert "3 get fresh ones" in Path("new/README.md").read_text()
    assert cli("verify", "kept").code == 0
    assert cli("verify", "new").code == 0


def test_a_head_is_prepared_for_other_classes(cli, tmp_path):
    names = tmp_path / "classes.txt"
    names.write_text("bird\nnest\n")
    variant = reference.load("dino_r50_4scale")
    state = tensors(variant.source, variant.tied_sources)
    path = save(tmp_path / "dino.pth", state, "model")
    plan = cli("convert", path, "--classes-from", names, "--dry-run").out
    assert "for 2 classes: 1 keep their rows, 1 get fresh ones (seed 0): nest" in plan
    done = cli("convert", path, "--classes-from", names, "--seed", 5, "-o", "out")
    assert done.code == 0, done.err
    assert "1 get fresh ones (seed 5): nest" in done.err
    written = load_file("out/model.safetensors")
    assert torch.equal(
        written["class_embed.6.weight"][0], state["transformer.enc_out_class_embed.weight"][16]
    )
    assert torch.equal(written["label_enc.weight"][0], state["label_enc.weight"][16])
    assert cli("verify", "out").code == 0
    refused = one_line(cli("export", "out"))
    assert "holds 2 of 91 rows (2 classes)" in refused
    assert "--num-classes" in cli("convert", path, "--num-classes", "0").err


def test_a_cut_head_is_reported(cli, detector):
    assert "class heads cut 91 -> 80 rows: the 80 COCO classes" in cli("convert", detector).err
    kept = cli("convert", detector, "--classes", "keep", "-o", "kept")
    assert kept.code == 0
    assert "cut" not in kept.err
    assert load_file("kept/model.safetensors")["class_embed.weight"].shape == (91, 256)
