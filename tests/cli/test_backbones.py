"""Backbones on the command line: each measured one is planned exactly, and small ones of each
family are converted to the last byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from detrex_hub.architectures import architecture
from detrex_hub.records import RepositoryConfig
from tests import reference
from tests.architectures.backbones import SMALL
from tests.checkpoint_files import save, tensors

FAMILIES = {
    "swin_": "swin",
    "convnext_": "convnext",
    "focalnet_": "focalnet",
    "internimage_": "internimage",
    "mae_": "vit_mae",
    "vit_": "vit_mae",
    "eva02_": "eva02",
}
# only backbones, without tensors that are computed on request
VARIANTS = [
    name
    for name in reference.names(*FAMILIES)
    if "_to_window" not in name and name != "eva02_L_m38m_to_o365"
]
# backbones that keep their originals' names
ALONE = [name for name in SMALL if name not in ("feature_pyramid", "eva01")]

CONTAINERS = {"eva02": "module"}


def made(name):
    return architecture(name).from_hyper_parameters(SMALL[name])


def hollow(path, specs):
    """A sparse safetensors file with these keys and shapes."""
    header, end = {}, 0
    for key, spec in specs.items():
        header[key] = {"dtype": spec.dtype, "shape": spec.shape}
        header[key]["data_offsets"] = [end, end + spec.nbytes]
        end += spec.nbytes
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return path


@pytest.mark.parametrize("name", VARIANTS)
def test_every_measured_file_is_recognised_and_planned_exactly(cli, tmp_path, name):
    variant = reference.load(name)
    path = hollow(tmp_path / f"{name}.safetensors", variant.source)
    planned = cli("convert", path, "--dry-run", "--json")
    assert planned.code == 0, planned.err
    family = next(found for prefix, found in FAMILIES.items() if name.startswith(prefix))
    assert planned.document["architecture"] == family
    assert planned.document["layout"] == ("timm" if name.endswith("tiny_timm") else "original")
    expected = {target: [part.key for part in parts] for target, parts in variant.moves.items()}
    assert planned.document["plan"]["moves"] == expected
    assert planned.document["plan"]["dropped"].keys() == set(variant.dropped)


@pytest.mark.parametrize("name", ALONE)
def test_small_backbones_of_each_family_are_converted_to_the_last_byte(cli, tmp_path, name):
    model = made(name)
    specs, _ = model.original()
    state = tensors(specs)
    path = save(tmp_path / "original.pth", state, CONTAINERS.get(name, "model"))
    done = cli("convert", path, "-o", "out", "--json")
    assert done.code == 0, done.err
    assert (done.document["architecture"], done.document["layout"]) == (name, "original")
    written = load_file("out/model.safetensors")
    plan = model.plan(specs, "original")
    assert written.keys() == plan.moves.keys()
    for target, move in plan.moves.items():
        (piece,) = move.pieces
        assert piece.key == target, "originals' names are detrex's"
        assert torch.equal(written[target], state[target])
    config = RepositoryConfig.load(Path("out/config.json"))
    assert set(config.checkpoint.set_by_model) == model.set_by_model()
    assert written.keys() | model.set_by_model() == model.target().keys()
    initialised = Path("out/README.md").read_text().partition("### Initialised by the model")[2]
    assert bool(initialised) == bool(model.set_by_model())
    assert cli("verify", "out", "-q").code == 0


@pytest.mark.parametrize("name", ["swin", "convnext"])
def test_a_file_in_timms_names_converts_to_the_same_bytes(cli, tmp_path, name):
    model = made(name)
    specs, _ = model.original()
    state = tensors(specs)
    if name == "swin":
        state = {k: v for k, v in state.items() if "_index" not in k and "attn_mask" not in k}
        head = {"head.fc.weight": state.pop("head.weight"), "head.fc.bias": state.pop("head.bias")}
    else:
        head = {"head.norm.weight": state.pop("norm.weight")}
        head["head.norm.bias"] = state.pop("norm.bias")
    plan = model.plan(specs, "original")
    back = (
        model.plan_export({key: spec for key, spec in plan.specs.items() if key in state}, "timm")
        if name == "convnext"
        else None
    )
    theirs = head | (
        {k: state[m.pieces[0].key] for k, m in back.moves.items()}
        if back is not None
        else {_timm_swin(k): v for k, v in state.items()}
    )
    save_file({k: v.contiguous() for k, v in theirs.items()}, tmp_path / "model.safetensors")
    assert cli("convert", tmp_path / "model.safetensors", "-o", "theirs").code == 0
    assert cli("convert", save(tmp_path / "o.pth", tensors(specs), "model"), "-o", "ours").code == 0
    ours, theirs = (load_file(f"{one}/model.safetensors") for one in ("ours", "theirs"))
    assert ours.keys() - theirs.keys() == {k for k in ours if k.endswith("position_index")}
    assert all(torch.equal(ours[key], tensor) for key, tensor in theirs.items())


def _timm_swin(key):
    if ".downsample." not in key:
        return key
    _, stage, rest = key.split(".", 2)
    return f"layers.{int(stage) + 1}.{rest}"


ENTRY = """
[weights.tiny]
architecture = "convnext"
layout = "original"
title = "Tiny"
url = "https://example.org/tiny.pth"
{license}
hyper_parameters = {{ depths = [1, 1, 1, 1], dims = [2, 4, 6, 8] }}
"""


def test_a_push_reports_a_non_commercial_licence(cli, tmp_path):
    catalogue = tmp_path / "my.toml"
    catalogue.write_text(ENTRY.format(license='license = "cc-by-nc-4.0"'))
    arguments = ["tiny", "--synthetic", "--catalogue", catalogue]
    assert cli("convert", *arguments).code == 0
    assert "Not for commercial use" in Path("tiny/README.md").read_text()
    told = "detrex/tiny is not for commercial use: its licence is cc-by-nc-4.0"
    assert told in cli("push", "tiny", "--to", "hub").err
    assert told in cli("convert-and-push", *arguments, "--to", "hub").err
    document = cli("push", "tiny", "--to", "hub", "--json").document
    assert (document["license"], document["non_commercial"]) == ("cc-by-nc-4.0", True)

    catalogue.write_text(ENTRY.format(license='license = "mit"'))
    assert "commercial" not in cli("convert-and-push", *arguments, "--to", "other").err


def test_an_unknown_licence_must_be_stated(cli, login, tmp_path):
    login("alice")
    catalogue = tmp_path / "my.toml"
    catalogue.write_text(ENTRY.format(license=""))
    arguments = ["tiny", "--synthetic", "--catalogue", catalogue, "--allow-synthetic"]
    refused = cli("convert-and-push", *arguments)
    assert refused.code == 1
    assert "no licence is stated for the weights" in refused.err
    assert "--license" in refused.err
    assert cli("convert-and-push", *arguments, "--license", "mit").code == 0
