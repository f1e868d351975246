"""A materialised file is written once, and served only to those whose weights it holds, as they
were written."""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
import torch
from msgspec import structs

from detrex_hub import from_hub, loading, materialising, messages
from detrex_hub.conversion import convert
from detrex_hub.errors import DetrexHubError
from detrex_hub.records import RepositoryConfig
from tests import reference
from tests.checkpoint_files import save, tensors
from tests.test_seals import flip, give_away

VARIANT = reference.load("resnet18")


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    root = tmp_path_factory.mktemp("converted")
    return convert(save(root / "r18.pth", tensors(VARIANT.source)), root / "r18").folder


@pytest.fixture
def folder(converted, tmp_path, hub):
    return Path(shutil.copytree(converted, tmp_path / "r18"))


@pytest.fixture
def written(monkeypatch):
    """The paths of all files that are written from now on."""
    found, real = [], materialising._write

    def noted(source, path, *rest):
        found.append(path)
        return real(source, path, *rest)

    monkeypatch.setattr(materialising, "_write", noted)
    return found


def read(path):
    return torch.load(path, weights_only=True)


# the same file again


def test_the_second_load_writes_nothing(folder, written):
    path = from_hub(folder)
    assert from_hub(folder) == path
    assert loading.load(folder, check=True).path == path
    assert len(written) == 1


def test_several_threads_write_the_file_once(folder, written):
    with ThreadPoolExecutor(8) as threads:
        paths = set(threads.map(lambda _: from_hub(folder), range(8)))
    assert len(paths) == 1
    assert len(written) == 1


@pytest.mark.parametrize(
    "error", [NotImplementedError("no flock"), OSError(errno.ENOLCK, "no locks")], ids=repr
)
def test_without_locks_each_process_writes_and_all_read_the_same(folder, monkeypatch, error):
    def no_locks(*_, **__):
        raise error

    monkeypatch.setattr(materialising.FileLock, "acquire", no_locks)
    with ThreadPoolExecutor(4) as threads:
        (path,) = set(threads.map(lambda _: from_hub(folder), range(4)))
    assert read(path)["model"].keys() == VARIANT.moves.keys()
    left = {one.name for one in Path(path).parent.iterdir()}
    assert left == {Path(path).name, f"{Path(path).name}.seal"}
    assert from_hub(folder) == path


# no file for another purpose


def test_each_prefix_has_its_own_file(folder):
    found = {prefix: read(from_hub(folder, prefix=prefix)) for prefix in ("", "backbone.", "net.")}
    for prefix, content in found.items():
        assert content["model"].keys() == {prefix + key for key in VARIANT.moves}
        assert content["matching_heuristics"] is (prefix == "")


@pytest.mark.parametrize(
    ("field", "value", "read_as"),
    [
        ("author", "detectron2", "__author__"),
        ("matching_heuristics", False, "matching_heuristics"),
    ],
)
def test_each_description_has_its_own_file(folder, field, value, read_as):
    before = read(from_hub(folder))
    config = json.loads((folder / "config.json").read_text())
    assert config["checkpoint"][field] == before[read_as] != value
    config["checkpoint"][field] = value
    (folder / "config.json").write_text(json.dumps(config))
    assert read(from_hub(folder))[read_as] == value


def other(value):
    """A value of the same type that is not the same."""
    match value:
        case None:
            return "other"
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return f"{value} other"
        case tuple() | list():
            return (*value, "other")
        case Mapping():
            return {**value, "another": "other"}
    raise AssertionError(value)


def variants(record):
    """`(path, record)` for each field of a record and of those in it, with that field changed."""
    plain = dataclasses.is_dataclass(record)
    replace = dataclasses.replace if plain else structs.replace
    for field in dataclasses.fields(record) if plain else structs.fields(record):
        value = getattr(record, field.name)
        inner = dataclasses.is_dataclass(value) or isinstance(value, msgspec.Struct)
        for path, changed in variants(value) if inner else [("", other(value))]:
            yield f"{field.name}.{path}".rstrip("."), replace(record, **{field.name: changed})


def test_each_field_of_a_description_is_part_of_the_key(converted):
    described = RepositoryConfig.load(converted / "config.json")
    keys = {path: materialising.cache_key(one, "") for path, one in variants(described)}
    assert {"architecture", "checkpoint.author", "checkpoint.matching_heuristics"} <= keys.keys()
    assert len({*keys.values(), materialising.cache_key(described, "")}) == len(keys) + 1


def test_the_prefix_is_part_of_the_key(converted):
    described = RepositoryConfig.load(converted / "config.json")
    prefixes = ("", "backbone.", "backbone", "net.")
    assert len({materialising.cache_key(described, prefix) for prefix in prefixes}) == 4


def test_the_format_version_is_part_of_the_key(converted, monkeypatch):
    described = RepositoryConfig.load(converted / "config.json")
    before = materialising.cache_key(described, "")
    monkeypatch.setattr(materialising, "_VERSION", materialising._VERSION + 1)
    assert materialising.cache_key(described, "") != before


# no file that changed

DAMAGE = {
    "a flipped bit": lambda path: flip(path, path.stat().st_size // 3),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:1000]),
    "emptied": lambda path: path.write_bytes(b""),
    "no seal": lambda path: path.with_name(f"{path.name}.seal").unlink(),
    "others may write": lambda path: path.chmod(0o666),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_written_again_and_logged(folder, damage, caplog):
    caplog.set_level(logging.WARNING, messages.logger.name)
    path = Path(from_hub(folder))
    good = path.read_bytes()
    damage(path)
    assert from_hub(folder) == str(path)
    assert path.read_bytes() == good
    assert f"{path} " in caplog.text
    before = path.stat().st_ino
    assert from_hub(folder) == str(path)
    assert path.stat().st_ino == before


def test_damage_outside_the_sampled_blocks_is_found_by_a_check(folder):
    path = Path(from_hub(folder))
    good, seal = path.read_bytes(), path.with_name(f"{path.name}.seal")
    flip(path, 1_000_001)
    state = path.stat()
    sealed = json.loads(seal.read_text())
    # as when a disk fails: the file system notices nothing
    sealed |= {"modified": state.st_mtime_ns, "changed": state.st_ctime_ns}
    seal.write_text(json.dumps(sealed))
    assert Path(from_hub(folder)).read_bytes() != good
    assert loading.load(folder, check=True).path == str(path)
    assert path.read_bytes() == good


def test_a_file_and_seal_for_another_purpose_are_not_used(folder):
    """A user who may write to the cache can move its folders about."""
    one, two = (Path(from_hub(folder, prefix=prefix)) for prefix in ("", "backbone."))
    shutil.rmtree(one.parent)
    two.parent.rename(one.parent)
    assert read(from_hub(folder))["model"].keys() == VARIANT.moves.keys()


# nothing that another user may have planted


def test_a_file_of_another_user_is_not_returned(folder, tmp_path, monkeypatch):
    path = Path(from_hub(folder))
    path.write_bytes(b"planted")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(materialising.tempfile, "tempdir", str(tmp_path / "tmp"))
    give_away(path, monkeypatch)
    try:
        found = Path(from_hub(folder))
    except DetrexHubError:
        return
    assert found.stat().st_uid == os.geteuid()
    assert read(found)["model"].keys() == VARIANT.moves.keys()


@pytest.mark.parametrize("foreign", ["another user's", "open to others"])
def test_a_folder_that_others_can_write_to_is_skipped(
    folder, tmp_path, monkeypatch, foreign, caplog
):
    path = Path(from_hub(folder))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(materialising.tempfile, "tempdir", str(tmp_path / "tmp"))
    if foreign == "open to others":
        path.parent.chmod(0o777)
    elif os.geteuid() == 0:
        os.chown(path.parent, 4711, -1)
    else:
        pytest.skip("only root can give a folder away")
    found = Path(from_hub(folder))
    assert found.is_relative_to(tmp_path / "tmp")
    assert f"{path.parent} belongs to another user" in caplog.text
    assert from_hub(folder) == str(found)


def test_files_are_usable_under_any_umask(folder, written):
    before = os.umask(0o002)
    try:
        paths = {from_hub(folder) for _ in range(2)}
    finally:
        os.umask(before)
    assert len(paths) == len(written) == 1
    assert not Path(*paths).stat().st_mode & 0o022


def test_a_temporary_folder_of_another_user_is_refused(folder, tmp_path, monkeypatch):
    from huggingface_hub import constants

    (tmp_path / "file").write_text("")
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(materialising.tempfile, "tempdir", str(tmp_path))
    root = materialising._temporary_root()
    root.mkdir()
    root.chmod(0o777)
    with pytest.raises(DetrexHubError, match=f"nor {root} is writable"):
        from_hub(folder)
    root.rmdir()
    aside = tmp_path / "aside"
    aside.mkdir()
    root.symlink_to(aside)
    with pytest.raises(DetrexHubError, match=str(root)):
        from_hub(folder)
    assert not [*aside.iterdir()]


def test_an_unwritable_cache_is_skipped(folder, monkeypatch, tmp_path):
    from huggingface_hub import constants

    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(blocked))
    monkeypatch.setattr(materialising.tempfile, "tempdir", str(tmp_path))
    path = from_hub(folder)
    assert path.startswith(str(tmp_path / "detrex-hub-"))
    assert from_hub(folder) == path
