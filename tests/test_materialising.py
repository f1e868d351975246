"""A materialised file is written once, and used only for its own weights and only if unchanged."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
import torch
from huggingface_hub import constants
from msgspec import structs

from detrex_hub import checkpoints, from_hub, loading, materialising, messages
from detrex_hub.errors import CheckpointError, DetrexHubError, UsageError, VerificationError
from detrex_hub.records import RepositoryConfig
from detrex_hub.repositories import Repository, push
from detrex_hub.staging import UnwritableError
from tests.hub_server import converted_folder
from tests.repositories.test_progress import Recorder
from tests.test_seals import flip, give_away

# some bytes lie outside of every block that a seal samples
CONTENT = bytes(range(256)) * 12_000
KEYS = {"weights"}


@pytest.fixture
def folder(tmp_path, hub):
    """A converted folder whose weights are one tensor."""
    return converted_folder(tmp_path / "r18", CONTENT)


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """The description of the weights in a converted folder."""
    folder = converted_folder(tmp_path_factory.mktemp("converted") / "r18")
    return RepositoryConfig.load(folder / "config.json")


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for caches that cannot be written to."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(materialising.tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp" / f"detrex-hub-{os.getuid()}"


@pytest.fixture
def no_cache(tmp_path, monkeypatch):
    """A cache that cannot be written to."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "file"))


@pytest.fixture
def written(monkeypatch):
    """The paths of all files that are written after this point."""
    found, real = [], materialising._write

    def noted(source, path, *rest):
        found.append(path)
        return real(source, path, *rest)

    monkeypatch.setattr(materialising, "_write", noted)
    return found


def describe(folder, **about):
    """Let a folder say something else about its weights."""
    config = json.loads((folder / "config.json").read_text())
    config["checkpoint"].update(about)
    (folder / "config.json").write_text(json.dumps(config))


def read(path):
    return torch.load(path, weights_only=True)


# what is written


def test_a_file_is_named_after_its_weights_in_a_folder_of_its_content(folder, described):
    root = Path(constants.HF_ASSETS_CACHE) / "detrex-hub" / "materialised"
    path = Path(from_hub(folder, prefix="backbone."))
    config = RepositoryConfig.load(folder / "config.json")
    assert path == root / materialising.cache_key(config, "backbone.") / "r18.pth"
    assert re.fullmatch("[0-9a-f]{40}", path.parent.name)
    assert {one.name for one in path.parent.iterdir()} == {".lock", "r18.pth", "r18.pth.seal"}


def test_a_long_name_is_cut(tmp_path, hub):
    folder = converted_folder(tmp_path / ("ab" * 40))
    assert Path(from_hub(folder)).name == f"{'ab' * 32}.pth"


def test_a_file_holds_what_detectron2_and_a_reader_of_the_file_need(folder):
    content = read(from_hub(folder, prefix="backbone."))
    (weights,) = content["model"].values()
    assert bytes(weights.numpy()) == CONTENT
    assert content == {
        "model": {"backbone.weights": weights},
        "__author__": "torchvision",
        "matching_heuristics": False,
        "detrex_hub": (folder / "config.json").read_text(),
    }


def test_tied_keys_share_a_tensor_under_any_prefix(folder):
    describe(folder, ties={"alias": "weights"})
    model = read(from_hub(folder, prefix="net."))["model"]
    assert model.keys() == {"net.alias", "net.weights"}
    assert model["net.alias"].data_ptr() == model["net.weights"].data_ptr()


def test_a_file_whose_seal_cannot_be_written_is_used(folder, written, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(materialising.seals, "seal", full)
    path = from_hub(folder)
    assert read(path)["model"].keys() == KEYS
    assert from_hub(folder) == path
    assert len(written) == 2


def test_downloads_are_reported(folder, login):
    login("alice")
    push(folder, "alice/r18")
    recorder = Recorder()
    materialising.materialise(Repository.open("alice/r18"), "", progress=recorder)
    assert recorder.stages


# one file for equal content


def test_the_second_load_writes_nothing(folder, written):
    path = from_hub(folder)
    assert from_hub(folder) == path
    assert loading.load(folder, check=True).path == path
    assert len(written) == 1


def test_the_weights_are_not_needed_again(folder):
    path = from_hub(folder)
    (folder / "model.safetensors").unlink()
    assert from_hub(folder) == path


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
    assert read(path)["model"].keys() == KEYS
    left = {one.name for one in Path(path).parent.iterdir()}
    assert left == {Path(path).name, f"{Path(path).name}.seal"}
    assert from_hub(folder) == path


# separate files for separate purposes


def test_each_prefix_has_its_own_file(folder):
    found = {prefix: read(from_hub(folder, prefix=prefix)) for prefix in ("", "backbone.", "net.")}
    for prefix, content in found.items():
        assert content["model"].keys() == {prefix + key for key in KEYS}
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
    describe(folder, **{field: value})
    assert read(from_hub(folder))[read_as] == value


def other(value):
    """A different value of the same type."""
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
    for name in record.__struct_fields__:
        value = getattr(record, name)
        inner = isinstance(value, msgspec.Struct)
        for path, changed in variants(value) if inner else [("", other(value))]:
            yield f"{name}.{path}".rstrip("."), structs.replace(record, **{name: changed})


def test_each_field_of_a_description_is_part_of_the_key(described):
    keys = {path: materialising.cache_key(one, "") for path, one in variants(described)}
    assert {"architecture", "checkpoint.author", "checkpoint.matching_heuristics"} <= keys.keys()
    assert len({*keys.values(), materialising.cache_key(described, "")}) == len(keys) + 1


def test_the_prefix_is_part_of_the_key(described):
    prefixes = ("", "backbone.", "backbone", "net.")
    assert len({materialising.cache_key(described, prefix) for prefix in prefixes}) == 4


def test_the_format_version_is_part_of_the_key(described, monkeypatch):
    before = materialising.cache_key(described, "")
    monkeypatch.setattr(materialising, "_VERSION", materialising._VERSION + 1)
    assert materialising.cache_key(described, "") != before


# other weights than those described


@pytest.mark.parametrize("content", [b"", b"no weights at all"])
def test_unreadable_weights_are_first_compared_with_their_digest(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(VerificationError, match="is not the file that") as refused:
        from_hub(folder)
    digest = hashlib.sha256(content).hexdigest()
    assert f"its sha256 is {digest} instead of" in refused.value.message
    describe(folder, sha256=digest)
    with pytest.raises(CheckpointError):
        from_hub(folder)


def test_a_tie_to_no_tensor_is_refused_with_the_name_of_the_weights(folder):
    describe(folder, ties={"alias": "absent"})
    with pytest.raises(CheckpointError) as refused:
        from_hub(folder)
    assert str(refused.value).startswith(f"{folder}: the tied key 'absent' is not in")


# changed files

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
    flip(path, 150_000)
    state = path.stat()
    sealed = json.loads(seal.read_text())
    # as with a failing disk, the file system notices nothing
    sealed |= {"modified": state.st_mtime_ns, "changed": state.st_ctime_ns}
    seal.write_text(json.dumps(sealed))
    for unchecked in (from_hub(folder), materialising.materialise(Repository.open(folder), "")):
        assert Path(unchecked).read_bytes() != good
    assert loading.load(folder, check=True).path == str(path)
    assert path.read_bytes() == good


def test_a_link_in_the_files_place_is_replaced(folder, tmp_path, caplog):
    path = Path(from_hub(folder))
    path.unlink()
    path.symlink_to(tmp_path / "absent")
    assert from_hub(folder) == str(path)
    assert not path.is_symlink()
    assert not (tmp_path / "absent").exists()
    assert f"{path} cannot be read" in caplog.text


def test_a_file_and_seal_for_another_purpose_are_not_used(folder):
    """A user who may write to the cache can exchange its folders."""
    one, two = (Path(from_hub(folder, prefix=prefix)) for prefix in ("", "backbone."))
    shutil.rmtree(one.parent)
    two.parent.rename(one.parent)
    assert read(from_hub(folder))["model"].keys() == KEYS


# planted files


def test_a_folder_that_is_not_there_is_not_private(tmp_path):
    assert materialising._is_private(tmp_path)
    assert not materialising._is_private(tmp_path / "absent")


def test_a_file_of_another_user_is_not_returned(folder, temporary, monkeypatch):
    path = Path(from_hub(folder))
    path.write_bytes(b"planted")
    give_away(path, monkeypatch)
    try:
        found = Path(from_hub(folder))
    except DetrexHubError:
        return
    assert found.stat().st_uid == os.geteuid()
    assert read(found)["model"].keys() == KEYS


@pytest.mark.parametrize("foreign", ["another user's", "open to others"])
def test_a_folder_that_others_can_write_to_is_skipped(folder, temporary, foreign, caplog):
    path = Path(from_hub(folder))
    if foreign == "open to others":
        path.parent.chmod(0o777)
    elif os.geteuid() == 0:
        os.chown(path.parent, 4711, -1)
    else:
        pytest.skip("only root can give a folder away")
    found = Path(from_hub(folder))
    assert found == temporary / path.parent.name / path.name
    assert f"{path.parent} belongs to another user" in caplog.text
    assert from_hub(folder) == str(found)


@pytest.mark.parametrize("umask", [0, 0o002, 0o022, 0o077])
def test_files_are_usable_under_any_umask(folder, written, temporary, umask):
    before = os.umask(umask)
    try:
        paths = {from_hub(folder) for _ in range(2)}
    finally:
        os.umask(before)
    assert len(paths) == len(written) == 1
    path = Path(*paths)
    assert path.is_relative_to(constants.HF_ASSETS_CACHE)
    assert path.stat().st_mode & 0o777 == 0o644 & ~umask
    assert path.parent.stat().st_mode & 0o777 == 0o755 & ~umask


def test_a_temporary_folder_of_another_user_is_refused(folder, tmp_path, no_cache, temporary):
    temporary.mkdir()
    temporary.chmod(0o777)
    with pytest.raises(DetrexHubError, match=f"nor {temporary} is writable"):
        from_hub(folder)
    temporary.rmdir()
    aside = tmp_path / "aside"
    aside.mkdir()
    temporary.symlink_to(aside)
    with pytest.raises(DetrexHubError, match=str(temporary)):
        from_hub(folder)
    assert not [*aside.iterdir()]


def test_a_missing_temporary_folder_is_reported(folder, tmp_path, no_cache, monkeypatch):
    monkeypatch.setattr(materialising.tempfile, "tempdir", str(tmp_path / "absent" / "folder"))
    with pytest.raises(UsageError, match=r"neither .* is writable by this user only"):
        from_hub(folder)
    assert not (tmp_path / "absent").exists()


def test_an_unwritable_cache_is_skipped(folder, no_cache, temporary):
    path = Path(from_hub(folder))
    assert path.is_relative_to(temporary)
    assert temporary.stat().st_mode & 0o777 == 0o700
    assert from_hub(folder) == str(path)


def test_a_cache_that_takes_no_files_is_skipped(folder, temporary, monkeypatch, caplog):
    access = os.access
    cache = Path(constants.HF_ASSETS_CACHE)
    monkeypatch.setattr(
        os, "access", lambda path, mode: not path.is_relative_to(cache) and access(path, mode)
    )
    assert Path(from_hub(folder)).is_relative_to(temporary)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("name", "called"), [({"USERNAME": "alice"}, "alice"), ({}, "user")], ids=["name", "no name"]
)
def test_without_user_ids_the_temporary_folder_has_the_users_name(
    folder, no_cache, temporary, monkeypatch, name, called
):
    monkeypatch.delenv("USERNAME", raising=False)
    for variable, value in name.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.delattr(os, "getuid")
    wanted = temporary.with_name(f"detrex-hub-{called}")
    assert Path(from_hub(folder)).is_relative_to(wanted)


@pytest.mark.parametrize("place", ["cache", "temporary"])
def test_a_full_disk_is_answered_with_the_variable_that_chooses_another(
    folder, temporary, monkeypatch, place, request
):
    if place == "temporary":
        request.getfixturevalue("no_cache")
    option = "HF_HOME" if place == "cache" else "TMPDIR"

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "write", full)
    with pytest.raises(UnwritableError, match=f"another place with {option}"):
        from_hub(folder)
