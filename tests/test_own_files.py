"""What other users may have planted is not followed, waited for, read at length or believed."""

import os

import pytest

from detrex_hub.own_files import read_small, replace_text
from tests.test_seals import give_away


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_small_file_is_read_and_replaced(tmp_path):
    replace_text(tmp_path / "small", "one")
    replace_text(tmp_path / "small", "two")
    assert read_small(tmp_path / "small", 3, ours=True) == b"two"
    assert names(tmp_path) == ["small"]


def test_a_link_is_not_followed_where_none_is_wanted(tmp_path):
    (tmp_path / "precious").write_text("numbers")
    (tmp_path / "small").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError):
        read_small(tmp_path / "small", 100)
    assert read_small(tmp_path / "small", 100, links=True) == b"numbers"
    replace_text(tmp_path / "small", "new")
    assert (tmp_path / "small").read_text() == "new"
    assert (tmp_path / "precious").read_text() == "numbers"
    assert names(tmp_path) == ["precious", "small"]


@pytest.mark.parametrize("links", [False, True])
def test_a_pipe_is_not_waited_for(tmp_path, links):
    os.mkfifo(tmp_path / "small")
    with pytest.raises(OSError):
        read_small(tmp_path / "small", 100, links=links)


def test_a_large_file_is_not_read(tmp_path):
    with (tmp_path / "small").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match="larger than 100 bytes"):
        read_small(tmp_path / "small", 100)


def test_what_another_user_could_have_written_is_not_believed(tmp_path, monkeypatch):
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
