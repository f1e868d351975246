"""Files that other users may have planted are not followed, not read at length and not trusted."""

import errno
import os
import socket
from pathlib import Path

import pytest

from detrex_hub.own_files import is_ours, opened, read_small, replace_text
from tests.test_seals import give_away


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_small_file_is_read_and_replaced(tmp_path):
    replace_text(tmp_path / "small", "one")
    replace_text(tmp_path / "small", "two")
    assert read_small(tmp_path / "small", 3, ours=True) == b"two"
    assert names(tmp_path) == ["small"]


def test_an_unwanted_link_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("numbers")
    (tmp_path / "small").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError):
        read_small(tmp_path / "small", 100)
    assert read_small(tmp_path / "small", 100, links=True) == b"numbers"
    replace_text(tmp_path / "small", "new")
    assert (tmp_path / "small").read_text() == "new"
    assert (tmp_path / "precious").read_text() == "numbers"
    assert names(tmp_path) == ["precious", "small"]


def socket_at(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


@pytest.mark.parametrize("links", [False, True])
@pytest.mark.parametrize(
    ("make", "kind"), [(os.mkfifo, "a pipe"), (os.mkdir, "a folder"), (socket_at, "a socket")]
)
def test_only_a_regular_file_is_read(tmp_path, monkeypatch, make, kind, links):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "small")
    with pytest.raises(OSError) as refused:
        read_small(tmp_path / "small", 100, links=links)
    assert refused.value.errno == errno.EINVAL
    assert refused.value.strerror == f"It is {kind}, not a regular file"
    assert refused.value.filename == str(tmp_path / "small")


def test_a_pipe_that_a_file_replaces_is_not_read(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "small").write_text("text")
    handle = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    monkeypatch.setattr(os, "open", lambda *_: handle)
    with pytest.raises(OSError, match="It is a path that was just replaced, not a regular file"):
        read_small(tmp_path / "small", 100)


def test_a_missing_file_is_called_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_small(tmp_path / "small", 100)


def test_a_link_is_opened_on_request_only(tmp_path):
    (tmp_path / "aside").write_text("text")
    (tmp_path / "small").symlink_to(tmp_path / "aside")
    with pytest.raises(OSError), opened(tmp_path / "small"):
        pass
    with opened(tmp_path / "small", links=True) as handle:
        assert os.read(handle, 10) == b"text"


def test_a_large_file_is_not_read(tmp_path):
    with (tmp_path / "small").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match="larger than 100 bytes"):
        read_small(tmp_path / "small", 100)


def test_a_file_that_another_user_could_write_is_not_trusted(tmp_path, monkeypatch):
    path = tmp_path / "small"
    path.write_text("text")
    path.chmod(0o666)
    assert read_small(path, 100) == b"text"
    with pytest.raises(OSError):
        read_small(path, 100, ours=True)
    path.chmod(0o644)
    assert read_small(path, 100, ours=True) == b"text"
    give_away(path, monkeypatch)
    with pytest.raises(OSError):
        read_small(path, 100, ours=True)


def test_a_failure_leaves_nothing_behind(tmp_path):
    (tmp_path / "small").mkdir()
    with pytest.raises(OSError):
        replace_text(tmp_path / "small", "text")
    assert names(tmp_path) == ["small"]


def test_an_interruption_after_the_file_was_replaced_is_passed_on(tmp_path, monkeypatch):
    replace = Path.replace

    def interrupted(path, target):
        replace(path, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        replace_text(tmp_path / "small", "text")
    assert (tmp_path / "small").read_text() == "text"


@pytest.mark.parametrize("size", [0, 1, 99, 100])
def test_a_file_that_arrives_in_small_pieces_is_read_whole(tmp_path, monkeypatch, size):
    path, read = tmp_path / "small", os.read
    path.write_bytes(bytes(range(size)))
    monkeypatch.setattr(os, "read", lambda handle, count: read(handle, min(count, 3)))
    assert read_small(path, 100) == bytes(range(size))


@pytest.mark.parametrize(("piece", "wanted"), [(60, [101, 41]), (50, [101, 51, 1])])
def test_a_large_file_is_read_to_one_byte_past_the_limit(tmp_path, monkeypatch, piece, wanted):
    path, read, asked = tmp_path / "small", os.read, []
    path.write_bytes(bytes(500))

    def noted(handle, count):
        asked.append(count)
        return read(handle, min(count, piece))

    monkeypatch.setattr(os, "read", noted)
    with pytest.raises(OSError, match="larger than 100 bytes"):
        read_small(path, 100)
    assert asked == wanted


def test_a_small_file_is_writable_only_by_this_user_and_readable_by_all(tmp_path):
    before = os.umask(0)
    try:
        replace_text(tmp_path / "small", "ünï\n")
    finally:
        os.umask(before)
    assert (tmp_path / "small").stat().st_mode & 0o7777 == 0o644
    assert (tmp_path / "small").read_bytes() == "ünï\n".encode()


def test_files_of_root_are_trusted(tmp_path, monkeypatch):
    if os.geteuid() != 0:
        pytest.skip("only root has a file of root's")
    path = tmp_path / "small"
    path.write_text("text")
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert read_small(path, 100, ours=True) == b"text"


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_files_that_others_can_only_read_are_trusted(tmp_path, mode):
    (tmp_path / "small").write_text("text")
    (tmp_path / "small").chmod(mode)
    assert is_ours((tmp_path / "small").stat())


def test_files_are_trusted_on_systems_without_owners(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "geteuid")
    (tmp_path / "small").write_text("text")
    (tmp_path / "small").chmod(0o666)
    assert is_ours((tmp_path / "small").stat())
