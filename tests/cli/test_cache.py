"""The contents of the caches are listed and removed."""

import os
import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from detrex_hub import from_hub
from detrex_hub.conversion import convert
from detrex_hub.locking import FileLock
from detrex_hub.materialising import roots
from detrex_hub.repositories import converted, hub_cache, push
from tests import tiny
from tests.hub_server import Mirror


@pytest.fixture
def mirror(hub, tmp_path, monkeypatch):
    """The original of an entry that is not published."""
    content = tiny.original(tmp_path / "tiny.pth").read_bytes()
    with Mirror() as mirror:
        path = tiny.catalogue(tmp_path / "mine.toml", mirror.add("tiny.pth", content), content)
        monkeypatch.setenv("DETREX_HUB_CATALOGUE", str(path))
        yield mirror


@pytest.fixture
def used(mirror, login, tmp_path, monkeypatch):
    """A cache after some use: a conversion with its original, and a repository of alice's."""
    monkeypatch.setenv("DETREX_HUB_KEEP_ORIGINALS", "1")
    from_hub(tiny.NAME)
    login("alice")
    state = convert(tiny.NAME, tmp_path / "other", synthetic=True).folder
    commit = push(state, "alice/other", allow_synthetic=True).commit
    from_hub("alice/other")
    return commit


def assets():
    return Path(constants.HF_ASSETS_CACHE) / "detrex-hub"


def kinds(cli):
    return {(one["name"], one["kind"]) for one in cli("cache", "--json").document}


def test_an_empty_cache_is_listed(cli):
    assert cli("cache", "--json").document == []


def test_everything_is_listed_with_origin_kind_size_and_use(cli, used):
    listed = {(one["name"], one["kind"]): one for one in cli("cache", "--json").document}
    assert listed.keys() == {
        (tiny.NAME, "weights"),
        (tiny.NAME, ".pth"),
        (tiny.NAME, "original"),
        ("alice/other", "weights"),
        ("alice/other", ".pth"),
    }
    assert listed[tiny.NAME, "weights"]["origin"] == "converted here"
    assert listed[tiny.NAME, ".pth"]["origin"] == "converted here"
    assert listed["alice/other", "weights"]["origin"] == used
    assert listed["alice/other", ".pth"]["origin"] == used
    assert all(one["size"] > 100_000 for one in listed.values())
    assert all(one["last_use"].startswith("20") for one in listed.values())
    assert "weights" in cli("cache").out


@pytest.mark.parametrize("name", [tiny.NAME, f"detrex/{tiny.NAME}"])
def test_a_name_is_removed_in_all_its_kinds(cli, used, name):
    assert cli("cache", "rm", name).code == 0
    assert {name for name, _ in kinds(cli)} == {"alice/other"}
    assert not [*converted.root().rglob("*.safetensors")]


def test_a_repository_is_removed(cli, used):
    done = cli("cache", "rm", "alice/other", "--json")
    assert {(one["kind"], one["removed"]) for one in done.document} == {
        ("weights", True),
        (".pth", True),
    }
    assert {name for name, _ in kinds(cli)} == {tiny.NAME}
    assert not hub_cache.repository("alice/other").exists()


def test_everything_is_removed(cli, used):
    assert cli("cache", "rm", "--all").code == 0
    assert cli("cache", "--json").document == []
    assert from_hub(tiny.NAME)


def test_a_name_that_is_not_there_is_refused(cli, used):
    done = cli("cache", "rm", "r101_v2")
    assert done.code == 2
    assert tiny.NAME in done.err
    assert cli("cache", "rm").code == 2
    assert cli("cache", "prune", "r101_v2").code == 2


def test_originals_of_a_named_catalogue_have_its_names(cli, used, monkeypatch):
    entries = os.environ["DETREX_HUB_CATALOGUE"]
    monkeypatch.delenv("DETREX_HUB_CATALOGUE")
    assert ("tiny.pth", "original") in kinds(cli)
    named = cli("cache", "--catalogue", entries, "--json").document
    assert (tiny.NAME, "original") in {(one["name"], one["kind"]) for one in named}
    # one name stands for the original too
    assert cli("cache", "rm", tiny.NAME, "--catalogue", entries).code == 0
    assert {name for name, _ in kinds(cli)} == {"alice/other"}


def test_unfinished_downloads_are_pruned(cli, used):
    (source,) = (assets() / "sources").iterdir()
    parts = [source / "tiny.pth.part", source / "tiny.pth.part.json"]
    blob = hub_cache.repository("alice/other") / "blobs" / f"{'0' * 64}.incomplete"
    partial = converted.root() / "0123" / ".tiny.partial-abc" / "tiny"
    for path in (*parts, blob, partial):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    before = kinds(cli)
    assert cli("cache", "prune").code == 0
    assert kinds(cli) == {one for one in before if one[1] != "unfinished"}
    assert not any(path.exists() for path in (*parts, blob, partial))
    assert (source / "seen.json").exists()


def test_weights_unused_for_long_are_pruned(cli, used):
    old = time.time() - 10 * 86400
    (weights,) = converted.root().rglob("*.safetensors")
    os.utime(weights, (old, old))
    cli("cache", "prune", "--older-than", "9")
    # its .pth is in use
    assert (tiny.NAME, "weights") in kinds(cli)
    (loaded,) = next(roots()).rglob(f"{tiny.NAME}.pth")
    os.utime(loaded, (old, old))
    cli("cache", "prune", "--older-than", "11")
    assert (tiny.NAME, "weights") in kinds(cli)
    cli("cache", "prune", "--older-than", "9")
    assert kinds(cli).isdisjoint({(tiny.NAME, "weights"), (tiny.NAME, ".pth")})
    assert ("alice/other", ".pth") in kinds(cli)


def test_weights_in_use_by_another_process_are_kept(cli, used):
    locks = [
        *converted.root().glob("*/.lock"),
        *(path / ".lock" for path in next(roots()).iterdir()),
        *(assets() / "sources").glob("*/lock"),
        *(Path(constants.HF_HUB_CACHE) / ".locks").rglob("*.lock"),
    ]
    held = [FileLock(path) for path in locks]
    for lock in held:
        lock.acquire()
    before = kinds(cli)
    done = cli("cache", "rm", "--all", "--json")
    assert not [one for one in done.document if one["removed"]]
    assert kinds(cli) == before
    for lock in held:
        lock.release()
