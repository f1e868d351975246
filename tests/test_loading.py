"""Weights are loaded from a folder or the Hub into a config, as in a training script."""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from detrex_hub import apply_overrides, from_hub, load_state_dict, overrides
from detrex_hub.architectures.base import IMAGENET_RGB
from detrex_hub.conversion import convert
from detrex_hub.errors import ConfigError, DetrexHubError, HubError, VerificationError
from detrex_hub.repositories import push
from tests import reference
from tests.checkpoint_files import save, tensors
from tests.configs.test_settings import lazy_config

VARIANT = reference.load("resnet18")


@pytest.fixture(scope="module")
def state():
    return tensors(VARIANT.source)


@pytest.fixture(scope="module")
def converted(state, tmp_path_factory):
    root = tmp_path_factory.mktemp("converted")
    return convert(save(root / "r18.pth", state), root / "r18", facts=IMAGENET_RGB).folder


@pytest.fixture
def folder(converted, tmp_path):
    return Path(shutil.copytree(converted, tmp_path / "r18"))


@pytest.fixture(autouse=True)
def own_cache(hub):
    return hub


def read(path):
    assert type(path) is str
    return torch.load(path, weights_only=True)


def test_from_hub_returns_a_pth_for_the_stock_checkpointer(folder, state):
    found = read(from_hub(folder))
    assert found["__author__"] == "torchvision"
    assert found["matching_heuristics"] is True
    assert found["model"].keys() == VARIANT.moves.keys()
    for target, (part,) in VARIANT.moves.items():
        assert torch.equal(found["model"][target], state[part.key])


def test_the_config_gets_the_right_values(folder):
    cfg = lazy_config()
    path = from_hub(str(folder), model=cfg.model, dataloader=cfg.dataloader)
    assert cfg.model.backbone.stages.depth == 18
    assert cfg.dataloader.train.mapper.img_format == "RGB"
    cfg.train = {"init_checkpoint": path}
    assert OmegaConf.create(OmegaConf.to_yaml(cfg)) == cfg


def test_a_config_keeps_its_values_if_the_weights_values_are_assumed(state, tmp_path, caplog):
    folder = convert(save(tmp_path / "mine.pth", state), tmp_path / "mine").folder
    cfg = lazy_config()
    with caplog.at_level(logging.WARNING, logger="detrex_hub"):
        from_hub(folder, model=cfg.model, dataloader=cfg.dataloader)
    assert cfg.model.backbone.stages.depth == 18
    assert list(cfg.model.pixel_std) == [1.0, 1.0, 1.0]
    assert cfg.dataloader.train.mapper.img_format == "BGR"
    assert "model.pixel_std stays [1.0, 1.0, 1.0]" in caplog.text


def test_a_config_that_cannot_take_the_weights_is_refused_unchanged(folder):
    cfg = lazy_config({"_target_": "detectron2.modeling.backbone.swin.SwinTransformer"})
    before = OmegaConf.to_yaml(cfg)
    with pytest.raises(ConfigError, match="SwinTransformer"):
        from_hub(folder, model=cfg.model)
    assert OmegaConf.to_yaml(cfg) == before


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda path, cfg: from_hub(path, model=cfg), "model is a whole config"),
        (
            lambda path, cfg: from_hub(path, model=cfg.model, dataloader=cfg),
            "dataloader is a whole config.*dataloader=cfg.dataloader",
        ),
        (
            lambda path, cfg: from_hub(path, model=OmegaConf.to_container(cfg.model)),
            "model is dict, no node of a LazyConfig",
        ),
        (
            lambda path, cfg: from_hub(path, model=cfg.model.backbone),
            "model is the backbone itself.*model=cfg.model",
        ),
        (lambda path, cfg: apply_overrides(cfg.model, path), "the config has no model"),
    ],
)
def test_another_node_than_the_named_one_is_refused(folder, use, message):
    cfg = lazy_config()
    before = OmegaConf.to_yaml(cfg)
    with pytest.raises(ConfigError, match=message):
        use(folder, cfg)
    assert OmegaConf.to_yaml(cfg) == before


def test_a_prefix_is_put_before_keys_and_turns_heuristics_off(folder):
    found = read(from_hub(folder, prefix="backbone."))
    assert found["model"].keys() == {f"backbone.{key}" for key in VARIANT.moves}
    assert found["matching_heuristics"] is False


# in a tensor, in the header, and in its length
@pytest.mark.parametrize("at", [-1, 8, 5])
@pytest.mark.parametrize("load", [from_hub, load_state_dict])
def test_weights_that_config_json_does_not_describe_are_refused(folder, own_cache, load, at):
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[at] ^= 1
    weights.write_bytes(data)
    with pytest.raises(VerificationError, match=r"is not the file that config\.json describes"):
        load(folder)
    from huggingface_hub import constants

    assert not [*Path(constants.HF_ASSETS_CACHE).rglob("*.pth")], "unchecked bytes were published"


@pytest.mark.parametrize("format", ["pth", "pkl"])
def test_a_pickle_in_a_repository_is_read_without_running_it(format, state, tmp_path, folder):
    made = convert(save(tmp_path / "r18.pth", state), tmp_path / "other", format=format)
    assert made.path.name == f"model.{format}"
    one, two = read(from_hub(made.folder))["model"], read(from_hub(folder))["model"]
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_hostile_pickle_in_a_repository_runs_nothing(state, tmp_path):
    made = convert(save(tmp_path / "r18.pth", state), tmp_path / "evil", format="pkl")
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {canary}",)

    made.path.write_bytes(pickle.dumps({"model": Evil()}))
    config = json.loads((made.folder / "config.json").read_text())
    import hashlib

    config["checkpoint"]["sha256"] = hashlib.sha256(made.path.read_bytes()).hexdigest()
    (made.folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(DetrexHubError):
        from_hub(made.folder)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["overrides"]["lazy"].update({"model._target_": "os.system"}), "_target_"),
        (lambda c: c["overrides"]["lazy"].update({"train.output_dir": "/"}), "train.output_dir"),
        (lambda c: c["overrides"]["lazy"].update({"model.pixel_mean": "x"}), "three numbers"),
        (lambda c: c["overrides"].update(lazy=[]), "lazy should be an object"),
        (lambda c: c.update(format_version=99), "pip install -U"),
        (lambda c: c["checkpoint"].update(file="../../etc/passwd"), "file cannot be"),
        (lambda c: c["checkpoint"].update(sha256="0"), "64 hexadecimal"),
        (lambda c: c.pop("architecture"), "architecture is missing"),
        (lambda c: c["hyper_parameters"].update(depth={"_target_": "os.system"}), "an object"),
    ],
)
def test_a_hostile_config_is_refused_in_one_line(folder, change, message):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    cfg = lazy_config()
    with pytest.raises(ConfigError, match=message) as caught:
        from_hub(folder, model=cfg.model)
    assert "\n" not in str(caught.value)


def test_another_process_loads_from_the_hub_with_an_empty_cache(
    folder, state, hub, login, tmp_path
):
    login("alice")
    push(folder, "alice/r18", license="bsd-3-clause")
    script = (
        "from detrex_hub import from_hub; import detrex_hub, sys;"
        "print(from_hub('alice/r18'), 'torch' in sys.modules)"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path / "elsewhere")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    path, torch_was_imported = done.stdout.split()
    assert torch_was_imported == "False"
    assert path.startswith(str(tmp_path / "elsewhere"))
    found = read(path)["model"]
    for target, (part,) in VARIANT.moves.items():
        assert torch.equal(found[target], state[part.key])


def test_a_load_requests_config_json_once(folder, hub, login):
    login("alice")
    push(folder, "alice/r18", license="bsd-3-clause")
    before = len(hub.log)
    from_hub("alice/r18")
    asked = [one for one in hub.log[before:] if one.method == "GET" and "config.json" in one.path]
    assert len(asked) == 1


def test_cached_weights_load_offline(folder, hub, login, monkeypatch):
    login("alice")
    commit = push(folder, "alice/r18", license="bsd-3-clause").commit
    path = from_hub("alice/r18")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    before = len(hub.log)
    assert from_hub("alice/r18") == path
    assert from_hub(f"alice/r18@{commit}") == path
    assert from_hub("alice/r18", revision=commit) == path
    assert len(hub.log) == before


def test_uncached_weights_offline_are_refused_in_one_line(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError) as caught:
        from_hub("alice/r18")
    assert "\n" not in str(caught.value)


def test_a_repository_id_is_found_under_the_root(folder, tmp_path, monkeypatch, hub):
    push(folder, to=tmp_path / "hub")
    monkeypatch.setenv("DETREX_HUB_ROOT", str(tmp_path / "hub"))
    before = len(hub.log)
    assert read(from_hub("detrex/r18"))["model"].keys() == VARIANT.moves.keys()
    assert len(hub.log) == before


def test_the_ranks_of_a_run_download_write_and_log_once(folder, hub, login, tmp_path):
    login("alice")
    push(folder, "alice/r18", license="bsd-3-clause")
    before = len(hub.storage.log)
    script = (
        "from omegaconf import OmegaConf; from detrex_hub import from_hub;"
        "model = OmegaConf.create({'_target_': 'x.DETR', 'pixel_std': [1.0, 1.0, 1.0],"
        " 'pixel_mean': [0.0, 0.0, 0.0], 'backbone': {'_target_': 'x.ResNet',"
        " 'stages': {'_target_': 'x.make', 'depth': 50}}});"
        "print(from_hub('alice/r18', model=model), model.backbone.stages.depth)"
    )

    def rank(number, **more):
        environment = {**os.environ, "HF_HOME": str(tmp_path / "shared"), "RANK": str(number)}
        return subprocess.Popen(
            [sys.executable, "-c", script],
            env=environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    ranks = [rank(number) for number in range(3)]
    said = [one.communicate() for one in ranks]
    assert {out for out, _ in said} == {said[0][0]}
    path, depth = said[0][0].split()
    assert depth == "18"
    (written,) = (tmp_path / "shared").rglob("*.pth")
    assert str(written) == path
    asked = [one for one in hub.storage.log[before:] if one.method == "GET"]
    assert len(asked) == 1
    # only the main process logs changes
    assert "depth: 50 -> 18" in said[0][1]
    assert [err for _, err in said[1:]] == ["", ""]
    offline = rank(0, HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:9")
    assert offline.communicate()[0] == said[0][0]


def test_load_state_dict_returns_the_sources_tensors(folder, state):
    found = load_state_dict(folder)
    assert found.keys() == VARIANT.moves.keys()
    for target, (part,) in VARIANT.moves.items():
        assert torch.equal(found[target], state[part.key])


def test_overrides_are_plain_values(folder):
    assert overrides(folder)["model.backbone.stages.depth"] == 18


def test_overrides_are_applied_to_a_whole_config_without_fetching_weights(folder):
    (folder / "model.safetensors").unlink()
    cfg = lazy_config()
    assert apply_overrides(cfg, folder) is cfg
    assert cfg.model.backbone.stages.depth == 18


def test_tied_keys_are_restored(tmp_path):
    variant = reference.load("dab_detr_r50")
    state = tensors(variant.source, variant.tied_sources)
    made = convert(save(tmp_path / "dab.pth", state, "model"), tmp_path / "dab")
    found = read(from_hub(made.folder))
    assert found["matching_heuristics"] is False
    assert found["model"].keys() == variant.target.keys()
    for group in variant.tied_targets:
        assert len({found["model"][key].data_ptr() for key in group}) == 1
    assert load_state_dict(made.folder).keys() == variant.target.keys()
