"""``hf://`` works through the real iopath, as detectron2 uses it."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
import torch
from iopath.common.file_io import g_pathmgr
from omegaconf import OmegaConf

from detrex_hub import apply_overrides, cache_contents, from_hub, loading
from detrex_hub.detectron2 import pin, register
from detrex_hub.errors import HubError, UsageError
from detrex_hub.repositories import push
from tests.checkpoint_files import save, tensors
from tests.configs.test_settings import lazy_config
from tests.test_loading import VARIANT, convert


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    root = tmp_path_factory.mktemp("converted")
    return convert(save(root / "r18.pth", tensors(VARIANT.source)), root / "r18").folder


@pytest.fixture
def commit(converted, login):
    login("alice")
    return push(converted, "alice/r18", license="bsd-3-clause").commit


def test_a_path_resolves_to_the_file_of_from_hub(commit):
    local = g_pathmgr.get_local_path(f"hf://alice/r18@{commit}")
    assert local == from_hub("alice/r18")
    assert local.endswith(".pth")
    assert torch.load(local, weights_only=True)["matching_heuristics"] is True
    with g_pathmgr.open("hf://alice/r18", "rb") as file:
        assert file.read(2) == b"PK"


def test_exists_distinguishes_existing_and_missing_paths(commit):
    assert g_pathmgr.exists("hf://alice/r18")
    assert g_pathmgr.isfile("hf://alice/r18")
    assert not g_pathmgr.isdir("hf://alice/r18")
    assert not g_pathmgr.exists("hf://alice/r19")
    with pytest.raises(HubError, match="alice/r19"):
        g_pathmgr.get_local_path("hf://alice/r19")


def test_the_path_handler_writes_nothing(commit):
    with pytest.raises(UsageError, match="only be read"):
        g_pathmgr.open("hf://alice/r18", "wb")


def test_registering_twice_changes_nothing(commit):
    register()
    assert g_pathmgr.exists("hf://alice/r18")


def test_a_path_is_resolved_when_it_is_read_and_not_before(hub):
    with hub.quiet():
        cfg = OmegaConf.create({"train": {"init_checkpoint": "hf://alice/r18"}})
        assert OmegaConf.create(OmegaConf.to_yaml(cfg)) == cfg


def test_a_pinned_path_keeps_its_meaning_when_the_branch_moves(commit, converted, tmp_path):
    pinned = pin("hf://alice/r18")
    assert pinned == f"hf://alice/r18@{commit}"
    assert pin("hf://alice/r18@main") == pinned
    state = {key: tensor + 1 for key, tensor in tensors(VARIANT.source).items()}
    other = convert(save(tmp_path / "other.pth", state), tmp_path / "r18").folder
    assert push(other, "alice/r18", license="bsd-3-clause").commit != commit
    assert g_pathmgr.get_local_path(pinned) != g_pathmgr.get_local_path("hf://alice/r18")
    assert g_pathmgr.get_local_path(pinned) == from_hub(f"alice/r18@{commit}")


def test_a_pinned_path_is_returned_without_a_request(commit, hub):
    with hub.quiet():
        assert pin(f"hf://alice/r18@{commit}") == f"hf://alice/r18@{commit}"


def test_an_unpinned_path_logs_its_commit(commit, caplog):
    with caplog.at_level(logging.INFO, logger="detrex_hub"):
        g_pathmgr.get_local_path("hf://alice/r18")
        assert f"hf://alice/r18@{commit}" in caplog.text
        caplog.clear()
        g_pathmgr.get_local_path(f"hf://alice/r18@{commit}")
        assert "; write that" not in caplog.text


def test_a_path_warns_of_needed_settings_until_they_are_set(commit, caplog, monkeypatch):
    monkeypatch.setattr(loading, "_configured", set())
    g_pathmgr.get_local_path("hf://alice/r18")
    (warning,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    text = warning.getMessage()
    assert text.startswith("hf://alice/r18 sets nothing on the config")
    assert "model.backbone.stages.depth = 18" in text
    assert "apply_overrides(cfg, 'alice/r18')" in text
    assert "from_hub('alice/r18', model=model" in text
    needed, assumed = text.split(
        "These values are assumed for its weights, because no file shows them: "
    )
    assert "model.pixel_std" not in needed
    assert "model.pixel_std = [58.395, 57.12, 57.375]" in assumed
    assert "\n" not in text
    apply_overrides(lazy_config(), "alice/r18")
    caplog.clear()
    g_pathmgr.get_local_path("hf://alice/r18")
    assert all(one.levelno < logging.WARNING for one in caplog.records)


def test_an_unpublished_name_has_nothing_to_pin_and_is_not_converted(hub):
    with pytest.raises(HubError, match="does not exist"):
        pin("hf://detrex/r101_v2")
    assert cache_contents.contents() == []


def test_a_folder_has_nothing_to_pin(converted, tmp_path, monkeypatch):
    push(converted, to=tmp_path / "hub")
    monkeypatch.setenv("DETREX_HUB_ROOT", str(tmp_path / "hub"))
    assert g_pathmgr.get_local_path("hf://detrex/r18").endswith(".pth")
    with pytest.raises(UsageError, match="no commits"):
        pin("hf://detrex/r18")
    with pytest.raises(UsageError, match="does not begin"):
        pin("detrex/r18")


def test_overrides_accept_an_hf_path(commit):
    cfg = lazy_config()
    apply_overrides(cfg, f"hf://alice/r18@{commit}")
    assert cfg.model.backbone.stages.depth == 18


def test_the_handler_is_registered_with_an_installed_detectron2(tmp_path):
    package = tmp_path / "detectron2" / "utils"
    package.mkdir(parents=True)
    (tmp_path / "detectron2" / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "file_io.py").write_text(
        "from iopath.common.file_io import PathManager as M\nPathManager = M()\n"
    )
    script = (
        "import detrex_hub.detectron2\n"
        "from detectron2.utils.file_io import PathManager\n"
        "print(PathManager._PathManager__get_path_handler('hf://a/b').__class__.__name__\n"
        "  if hasattr(PathManager, '_PathManager__get_path_handler')\n"
        "  else [*PathManager._path_handlers])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() in ("HubHandler", "['hf://']")
