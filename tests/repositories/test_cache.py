"""A cached file that a commit pins is used without the network and its client."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from detrex_hub.repositories import fetch, hub_cache, push

FETCH = """
import sys
from detrex_hub.repositories import fetch
print(fetch(sys.argv[1], ["config.json", "model.safetensors"]).files["model.safetensors"])
heavy = {"torch", "httpx2", "huggingface_hub.file_download", "huggingface_hub.hf_api"}
sys.exit(f"imported {heavy & sys.modules.keys()}" if heavy & sys.modules.keys() else 0)
"""


def fetch_elsewhere(repo: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", FETCH, repo],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def pushed(hub, login, folder):
    login("alice")
    commit = push(folder, "alice/r18").commit
    fetch("alice/r18", ["config.json", "model.safetensors"])
    hub.log.clear()
    return commit


@pytest.mark.parametrize("offline", ["0", "1"])
def test_a_commit_needs_neither_network_nor_client(hub, pushed, folder, offline):
    done = fetch_elsewhere(f"alice/r18@{pushed}", HF_HUB_OFFLINE=offline)
    assert (done.returncode, done.stderr) == (0, "")
    assert Path(done.stdout.strip()).read_bytes() == (folder / "model.safetensors").read_bytes()
    assert hub.seen() == []


def test_an_offline_branch_keeps_its_last_commit(hub, pushed):
    done = fetch_elsewhere("alice/r18", HF_HUB_OFFLINE="1")
    assert (done.returncode, done.stderr) == (0, "")
    assert pushed in done.stdout


def test_a_branch_is_looked_up_where_there_is_a_network(hub, pushed):
    fetch("alice/r18", ["config.json"])
    assert hub.seen("HEAD")


def test_a_cached_file_that_changed_on_disk_is_compared_again(hub, pushed):
    path = fetch(f"alice/r18@{pushed}", ["model.safetensors"]).files["model.safetensors"]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    again = fetch(f"alice/r18@{pushed}", ["model.safetensors"]).files["model.safetensors"]
    assert again.read_bytes() == whole


def test_a_planted_link_is_removed_and_its_target_stays(hub, pushed, folder, tmp_path):
    path = fetch(f"alice/r18@{pushed}", ["model.safetensors"]).files["model.safetensors"]
    precious = tmp_path / "precious"
    precious.write_text("numbers")
    path.unlink()
    path.symlink_to(precious)
    again = fetch(f"alice/r18@{pushed}", ["model.safetensors"]).files["model.safetensors"]
    assert again.read_bytes() == (folder / "model.safetensors").read_bytes()
    assert precious.read_text() == "numbers"


def test_a_mark_that_another_user_could_have_left_does_not_count(hub, pushed, folder):
    path = fetch(f"alice/r18@{pushed}", ["model.safetensors"]).files["model.safetensors"]
    path.write_bytes(b"planted")
    mark = hub_cache.Mark(path)
    mark.leave()
    mark._mark.chmod(0o666)
    again = fetch(f"alice/r18@{pushed}", ["model.safetensors"]).files["model.safetensors"]
    assert again.read_bytes() == (folder / "model.safetensors").read_bytes()


def test_a_link_in_a_marks_place_is_not_followed(hub, pushed, tmp_path):
    path = fetch(f"alice/r18@{pushed}", ["model.safetensors"]).files["model.safetensors"]
    (tmp_path / "precious").write_text("numbers")
    mark = hub_cache.Mark(path)
    mark._mark.unlink()
    mark._mark.symlink_to(tmp_path / "precious")
    mark.leave()
    assert mark.is_there()
    assert (tmp_path / "precious").read_text() == "numbers"
