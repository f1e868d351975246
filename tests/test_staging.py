import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from detrex_hub import staging
from detrex_hub.errors import DetrexHubError
from detrex_hub.staging import publish_file, publish_files, staging_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_appear_together_and_no_temporary_file_stays(tmp_path):
    target = tmp_path / "out"
    with staging_folder(target, option="-o") as staging:
        (staging / "a").write_text("1")
        (staging / "b").write_text("2")
        assert not target.exists()
        publish_files(staging, target)
    assert names(target) == ["a", "b"]
    assert names(tmp_path) == ["out"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").write_text("0")
    with staging_folder(target, option="-o") as staging:
        (staging / "new").write_text("1")
        publish_files(staging, target)
    assert names(target) == ["new"]


def test_a_failure_keeps_the_old_folder_and_leaves_no_temporary_files(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").write_text("0")
    with pytest.raises(RuntimeError), staging_folder(target, option="-o") as staging:
        (staging / "new").write_text("1")
        raise RuntimeError
    assert names(target) == ["old"]
    assert names(tmp_path) == ["out"]


def test_one_file_replaces_another(tmp_path):
    target = tmp_path / "weights.pth"
    target.write_text("old")
    with staging_folder(target, option="-o") as staging:
        (staging / target.name).write_text("new")
        publish_file(staging / target.name, target)
    assert target.read_text() == "new"
    assert names(tmp_path) == ["weights.pth"]


@pytest.fixture
def steps(monkeypatch):
    """The files that are synchronised and the files that get their names, in order."""
    found, sync, replace, rename = [], os.fsync, Path.replace, Path.rename

    def synced(handle):
        found.append(("synchronise", os.fstat(handle).st_ino))
        sync(handle)

    def named(move):
        def noted(path, target):
            found.append(("name", path.stat().st_ino))
            return move(path, target)

        return noted

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", named(replace))
    monkeypatch.setattr(Path, "rename", named(rename))
    return found


def test_a_file_reaches_the_disk_before_it_gets_its_name(tmp_path, steps):
    staged = tmp_path / "staged"
    staged.write_text("content")
    inode = staged.stat().st_ino
    publish_file(staged, tmp_path / "weights.pth")
    folder = ("synchronise", tmp_path.stat().st_ino)
    assert steps == [("synchronise", inode), ("name", inode), folder]


def test_each_file_of_a_folder_reaches_the_disk_before_the_folder_gets_its_name(tmp_path, steps):
    with staging_folder(tmp_path / "out", option="-o") as staging:
        (staging / "a").write_text("1")
        (staging / "b").write_text("2")
        publish_files(staging, tmp_path / "out")
    for name in ("a", "b"):
        inode = (tmp_path / "out" / name).stat().st_ino
        assert steps.index(("synchronise", inode)) < steps.index(("name", inode))
    folder, parent = (tmp_path / "out").stat().st_ino, tmp_path.stat().st_ino
    assert steps[-3:] == [("synchronise", folder), ("name", folder), ("synchronise", parent)]


def test_a_file_is_published_if_its_folder_cannot_be_synchronised(tmp_path, monkeypatch):
    staged, sync = tmp_path / "staged", os.fsync

    def refused(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(handle)

    monkeypatch.setattr(os, "fsync", refused)
    staged.write_text("content")
    publish_file(staged, tmp_path / "weights.pth")
    assert names(tmp_path) == ["weights.pth"]


def test_leftovers_of_a_killed_run_are_removed_by_the_next(tmp_path):
    target = tmp_path / "out"
    script = (
        "import os, pathlib\n"
        "from detrex_hub.staging import staging_folder\n"
        f"with staging_folder(pathlib.Path({str(target)!r}), option=None) as staging:\n"
        "    (staging / 'half').write_text('x')\n"
        "    os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    assert len(names(tmp_path)) == 1
    with staging_folder(target, option="-o") as staging:
        assert names(tmp_path) == [staging.name]
    assert names(tmp_path) == []


def test_the_folder_of_a_running_process_is_kept(tmp_path):
    target = tmp_path / "out"
    with (
        staging_folder(target, option="-o") as first,
        staging_folder(target, option="-o") as second,
    ):
        assert first.exists()
        assert second.exists()
        assert first != second


def test_a_folder_removed_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    target, make = tmp_path / "out", staging.tempfile.mkdtemp
    made = []

    def taken_at_once(**options):
        made.append(make(**options))
        if len(made) == 1:
            staging.remove_abandoned(target)
        return made[-1]

    monkeypatch.setattr(staging.tempfile, "mkdtemp", taken_at_once)
    with staging_folder(target, option="-o") as folder:
        assert names(tmp_path) == [folder.name]
    assert len(made) == 2
    assert names(tmp_path) == []


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with (
        pytest.raises(DetrexHubError, match="cannot be written") as caught,
        staging_folder(blocked / "out", option="-o"),
    ):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_published_files_follow_the_umask_without_changing_it(tmp_path, umask, monkeypatch):
    """The umask belongs to the process: a thread that sets it changes the files of all others."""
    before = os.umask(umask)
    try:
        with monkeypatch.context() as patched:
            patched.delattr(os, "umask")
            for target, publish in ((tmp_path / "out", publish_files), (tmp_path / "a", None)):
                with staging_folder(target, option="-o") as staging:
                    (staging / "a").write_text("1")
                    if publish is None:
                        publish_file(staging / "a", target)
                    else:
                        publish(staging, target)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / one).stat().st_mode) for one in ("out", "out/a", "a")]
    assert modes == [0o777 & ~umask, 0o666 & ~umask, 0o666 & ~umask]
