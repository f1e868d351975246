"""A shell completes names of the catalogue, and repositories on this machine."""

import os
import subprocess
import sys

import pytest

from detrex_hub.repositories import nearby, push

OURS = '{"library_name": "detrex"}'
BASH = {"_DETREX_HUB_COMPLETE": "complete_bash"}


@pytest.fixture
def there(hub, login, folder, tmp_path, monkeypatch):
    """Two repositories in the cache, one of another owner, and one in a folder."""
    from huggingface_hub import constants

    login("alice")
    push(folder, "alice/cached")
    from detrex_hub.loading import overrides

    overrides("alice/cached")
    push(folder, "bob/in_folder", to=tmp_path / "hub")
    monkeypatch.setenv("DETREX_HUB_ROOT", str(tmp_path / "hub"))
    snapshot = tmp_path / "hf-home" / "hub" / "models--someone--else" / "snapshots" / ("0" * 40)
    assert snapshot.is_relative_to(constants.HF_HUB_CACHE)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")


def test_repositories_of_the_cache_and_the_folder_are_known(there, hub):
    with hub.quiet():
        assert nearby.repository_ids() == ["alice/cached", "bob/in_folder"]


def test_an_empty_cache_is_not_an_error(hub, monkeypatch, tmp_path):
    monkeypatch.setenv("DETREX_HUB_ROOT", str(tmp_path / "none"))
    assert nearby.repository_ids() == []


def test_names_that_are_not_repository_ids_are_left_out(hub, monkeypatch, tmp_path):
    for name in ("bob/two words", "bob/.hidden"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text(OURS)
    monkeypatch.setenv("DETREX_HUB_ROOT", str(tmp_path))
    assert nearby.repository_ids() == []


def test_a_shell_completes_repositories(tmp_path):
    folder = tmp_path / "hub" / "bob" / "my_detr"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(OURS)

    def complete(line):
        env = {
            **os.environ,
            **BASH,
            "HF_HOME": str(tmp_path / "home"),
            "DETREX_HUB_ROOT": str(tmp_path / "hub"),
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
        }
        call = [sys.executable, "-c", "from detrex_hub.cli import main; main()"]
        done = subprocess.run(call, env=env, capture_output=True, text=True, check=False)
        return done.stdout.split()

    assert complete("detrex-hub load bo") == ["bob/my_detr"]
    assert complete("detrex-hub export bob/") == ["bob/my_detr"]
