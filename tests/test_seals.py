"""Any change of a sealed file is found."""

import errno
import hashlib
import json
import os

import pytest

from detrex_hub import seals
from detrex_hub.hashing import FileSha256

CONTENT = bytes(range(256)) * 30_000
# an offset that no sampled block covers
BETWEEN = 700_000


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(CONTENT)
    path.chmod(0o644)
    seals.seal(path, "key", FileSha256(path).result())
    return path


def beside(path):
    return path.with_name(f"{path.name}.seal")


def read_whole(monkeypatch):
    """The files that are read whole after this point."""
    found, real = [], seals._sha256
    monkeypatch.setattr(seals, "_sha256", lambda handle: found.append(handle) or real(handle))
    return found


def give_away(path, monkeypatch):
    """Make a file appear to belong to another user."""
    if os.geteuid() == 0:
        os.chown(path, 4711, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4711)


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.write_bytes(data)


def test_some_bytes_are_outside_every_sampled_block(file):
    before = json.loads(beside(file).read_text())["sample"]
    flip(file, BETWEEN)
    seals.seal(file, "key", "other")
    assert json.loads(beside(file).read_text())["sample"] == before


def test_an_unchanged_file_is_not_read_whole(file, monkeypatch):
    whole = read_whole(monkeypatch)
    assert seals.problem(file, "key") is None
    assert not whole


@pytest.mark.parametrize("at", [0, BETWEEN, len(CONTENT) // 2, len(CONTENT) - 1])
def test_a_flipped_bit_is_found(file, at):
    flip(file, at)
    assert seals.problem(file, "key") == "is not what was written there"


def test_settable_file_times_are_not_trusted_alone(file):
    before = file.stat()
    flip(file, BETWEEN)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert seals.problem(file, "key") == "is not what was written there"


@pytest.mark.parametrize("content", [b"", CONTENT[:1000], CONTENT + b"x"])
def test_another_length_is_found(file, content):
    file.write_bytes(content)
    assert seals.problem(file, "key") == "is not what was written there"


@pytest.mark.parametrize("at", [0, len(CONTENT) // 2, len(CONTENT) - 1])
def test_sampled_blocks_are_compared_if_the_file_times_are_unchanged(file, at):
    """As with a failing disk."""
    flip(file, at)
    state = file.stat()
    sealed = json.loads(beside(file).read_text())
    sealed |= {"modified": state.st_mtime_ns, "changed": state.st_ctime_ns}
    beside(file).write_text(json.dumps(sealed))
    assert seals.problem(file, "key") == "is not what was written there"


def test_all_blocks_are_compared_on_demand(file):
    flip(file, BETWEEN)
    state = file.stat()
    sealed = json.loads(beside(file).read_text())
    sealed |= {"modified": state.st_mtime_ns, "changed": state.st_ctime_ns}
    beside(file).write_text(json.dumps(sealed))
    assert seals.problem(file, "key", whole=True) == "is not what was written there"


def test_a_copy_is_read_whole_once(file, monkeypatch):
    copy = file.with_name("copy.pth")
    copy.write_bytes(CONTENT)
    copy.chmod(0o644)
    copy.replace(file)
    whole = read_whole(monkeypatch)
    assert seals.problem(file, "key") is None
    assert len(whole) == 1
    assert seals.problem(file, "key") is None
    assert len(whole) == 1


def test_a_seal_is_for_one_purpose(file):
    assert seals.problem(file, "another key") == "has no seal"


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b"[" * 4000, b'{"sha256": 1}'])
def test_a_malformed_seal_is_refused(file, content):
    beside(file).write_bytes(content)
    assert seals.problem(file, "key") == "has no seal"


def test_a_missing_seal_is_refused(file):
    beside(file).unlink()
    assert seals.problem(file, "key") == "has no seal"


def test_a_file_of_another_user_is_not_used(file, monkeypatch):
    give_away(file, monkeypatch)
    assert seals.problem(file, "key") == "belongs to another user, or others may write to it"


def test_a_seal_of_another_user_is_not_used(file, monkeypatch):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    give_away(beside(file), monkeypatch)
    assert seals.problem(file, "key") == "has no seal"


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_can_write_is_not_used(file, mode):
    file.chmod(mode)
    assert "others may write" in seals.problem(file, "key")
    file.chmod(0o644)
    beside(file).chmod(mode)
    assert seals.problem(file, "key") == "has no seal"


@pytest.mark.parametrize("which", ["the file", "the seal"])
def test_links_and_pipes_are_not_used(file, tmp_path, which):
    path = file if which == "the file" else beside(file)
    aside = path.rename(tmp_path / "aside")
    path.symlink_to(aside)
    assert seals.problem(file, "key") is not None
    path.unlink()
    os.mkfifo(path, 0o644)
    assert seals.problem(file, "key") is not None


def test_a_link_in_the_seals_place_is_replaced(file, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("numbers")
    beside(file).unlink()
    beside(file).symlink_to(precious)
    seals.seal(file, "key", FileSha256(file).result())
    assert seals.problem(file, "key") is None
    assert precious.read_text() == "numbers"


def test_a_seal_records_file_metadata_and_sampled_content(file):
    state, blocks = file.stat(), hashlib.sha256()
    last = len(CONTENT) - 131072
    for i in range(17):
        place = last * i // 16
        blocks.update(CONTENT[place : place + 131072])
    wanted = {
        "subject": "key",
        "size": len(CONTENT),
        "owner": state.st_uid,
        "mode": state.st_mode,
        "modified": state.st_mtime_ns,
        "changed": state.st_ctime_ns,
        "inode": state.st_ino,
        "sample": blocks.hexdigest(),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
    }
    assert beside(file).read_text() == json.dumps(wanted, indent=2) + "\n"


@pytest.mark.parametrize("size", [0, 1, 131071, 131072, 131073])
def test_a_small_file_is_sampled_whole(tmp_path, size):
    path = tmp_path / "small"
    path.write_bytes(CONTENT[:size])
    seals.seal(path, "key", "digest")
    wanted = hashlib.sha256(CONTENT[:131072])
    if size <= 131072:
        wanted = hashlib.sha256(CONTENT[:size])
    else:
        wanted.update(CONTENT[1:size])
    assert json.loads(beside(path).read_text())["sample"] == wanted.hexdigest()


def test_a_copy_whose_seal_cannot_be_written_is_used(file, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    os.utime(file, ns=(0, 0))
    monkeypatch.setattr(seals, "replace_text", full)
    whole = read_whole(monkeypatch)
    assert seals.problem(file, "key") is None
    assert seals.problem(file, "key") is None
    assert len(whole) == 2


def test_a_missing_file_is_refused(tmp_path):
    said = seals.problem(tmp_path / "absent", "key")
    assert said == "cannot be read: No such file or directory"
