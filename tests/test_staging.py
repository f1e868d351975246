import errno
import os
import stat
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

from detrex_hub import staging
from detrex_hub.errors import DetrexHubError, UsageError
from detrex_hub.locking import FileLock
from detrex_hub.staging import UnwritableError, publish_file, publish_files, staging_folder


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


def test_a_failure_removes_the_folders_that_were_made_for_the_target(tmp_path):
    with pytest.raises(ValueError), staging_folder(tmp_path / "a" / "b" / "out", option="-o"):
        raise ValueError
    assert names(tmp_path) == []


def test_a_failure_keeps_the_folders_that_were_there(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(ValueError), staging_folder(tmp_path / "a" / "b" / "out", option="-o"):
        raise ValueError
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == []


def test_a_failure_keeps_what_another_process_wrote(tmp_path):
    with pytest.raises(ValueError), staging_folder(tmp_path / "a" / "b" / "out", option="-o"):
        (tmp_path / "a" / "theirs").write_text("1")
        raise ValueError
    assert names(tmp_path / "a") == ["theirs"]


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


@pytest.mark.parametrize(
    ("option", "hint"),
    [("-o", "Choose another place with -o"), (None, "Choose another place")],
)
def test_a_pipe_is_not_replaced(tmp_path, option, hint):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError) as refused, staging_folder(tmp_path / "pipe", option=option):
        pytest.fail("a pipe was accepted")
    assert refused.value.message == f"{tmp_path / 'pipe'} is a pipe, not a regular file"
    assert refused.value.hint == hint
    assert names(tmp_path) == ["pipe"]
    assert (tmp_path / "pipe").is_fifo()


def test_a_link_to_a_pipe_is_replaced_and_the_pipe_stays(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    target = tmp_path / "weights.pth"
    target.symlink_to("pipe")
    with staging_folder(target, option="-o") as staging:
        (staging / target.name).write_text("new")
        publish_file(staging / target.name, target)
    assert not target.is_symlink()
    assert target.read_text() == "new"
    assert (tmp_path / "pipe").is_fifo()


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


@pytest.mark.parametrize(
    ("number", "option", "do"),
    [
        (errno.ENOSPC, "-o", "Free space there, or choose another place with -o"),
        (errno.EACCES, "-o", "Let this user write there, or choose another place with -o"),
        (errno.ENAMETOOLONG, "-o", "Choose another place with -o"),
        (errno.EDQUOT, None, "Free space there"),
        (errno.EROFS, None, "Let this user write there"),
        (errno.EIO, None, "Let this user write there"),
    ],
)
def test_a_refusal_says_what_to_do(number, option, do):
    error = OSError(number, "no")
    refused = UnwritableError(Path("out"), error, option)
    assert refused.message == "out cannot be written: no"
    assert refused.hint == f"Nothing was left behind. {do}"
    assert (refused.place, refused.error) == (Path("out"), error)


def abandoned(folder, name="out"):
    """The leftovers of a killed run beside its target."""
    left = folder / f".{name}.partial-1"
    left.mkdir(parents=True)
    (left / "half").write_text("x")
    return left


def test_scratch_lies_beside_the_cache_of_the_hub(hub, tmp_path):
    place = tmp_path / "hf-home" / "assets" / "detrex-hub" / "converting"
    left = abandoned(place, "detrex-hub")
    with staging.scratch_folder() as scratch:
        assert scratch.parent == place
        assert scratch.name.startswith(".detrex-hub.partial-")
        assert not left.exists()
    abandoned(place, "detrex-hub")
    staging.clear_scratch()
    assert names(place) == []


@pytest.mark.parametrize("refused", ["mkdir", "access"])
def test_scratch_lies_in_the_systems_folder_where_the_cache_takes_none(
    hub, tmp_path, monkeypatch, refused
):
    if refused == "mkdir":
        (tmp_path / "hf-home").write_text("a file")
    else:
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(staging.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    assert staging.scratch_place() == (tmp_path / "tmp", "TMPDIR")


def test_the_variable_that_moves_the_scratch_is_the_one_that_is_set(hub, tmp_path, monkeypatch):
    place = tmp_path / "hf-home" / "assets" / "detrex-hub" / "converting"
    assert staging.scratch_place() == (place, "HF_HOME")
    monkeypatch.setenv("HF_ASSETS_CACHE", str(tmp_path))
    assert staging.scratch_place() == (place, "HF_ASSETS_CACHE")


def test_a_full_scratch_folder_is_answered_with_the_variable_that_moves_it(hub, tmp_path):
    place = tmp_path / "hf-home" / "assets" / "detrex-hub" / "converting"
    for inner in (None, "--to"):
        with pytest.raises(UnwritableError) as refused, staging.scratch_folder() as scratch:
            error = OSError(errno.ENOSPC, "no space", str(scratch / "part"))
            if inner is None:
                raise error
            raise UnwritableError(scratch / "part", error, inner)
        assert refused.value.place.is_relative_to(place)
        assert refused.value.error is error
        assert refused.value.hint.endswith("choose another place with HF_HOME")
    assert names(place) == []


def test_a_refusal_of_another_place_leaves_a_scratch_folder_as_it_is(hub, tmp_path):
    elsewhere = UnwritableError(tmp_path, OSError(errno.ENOSPC, "no space"), "--to")
    with pytest.raises(UnwritableError) as refused, staging.scratch_folder():
        raise elsewhere
    assert refused.value is elsewhere


def test_a_place_that_takes_no_scratch_folder_is_answered_with_its_variable(hub, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(staging, "_own_folder", full)
    with pytest.raises(UnwritableError) as refused, staging.scratch_folder():
        pass
    assert refused.value.hint.endswith("choose another place with HF_HOME")


@pytest.mark.parametrize("encode", [str, os.fsencode], ids=["text", "bytes"])
def test_only_an_error_of_the_folder_itself_is_an_error_of_the_place(tmp_path, encode):
    target = tmp_path / "target"
    with (
        pytest.raises(UnwritableError, match=f"{target} cannot be written"),
        staging_folder(target, option=None) as folder,
    ):
        raise OSError(errno.EIO, "broken", encode(folder / "part"))
    error = OSError(errno.EIO, "broken", encode(tmp_path / "source"))
    with pytest.raises(OSError) as raised, staging_folder(target, option=None):
        raise error
    assert raised.value is error


def test_a_staging_folder_may_be_gone_at_the_end(tmp_path):
    with staging_folder(tmp_path / "target", option=None) as folder:
        folder.rename(tmp_path / "moved")
    assert names(tmp_path) == ["moved"]


def test_folders_above_the_target_are_made(tmp_path):
    with staging.staging_folder(tmp_path / "a" / "b" / "target", option=None) as folder:
        assert folder.parent == tmp_path / "a" / "b"


def test_a_copy_that_fails_names_the_file_at_fault(tmp_path, monkeypatch):
    source, copy = tmp_path / "source", tmp_path / "copy"
    with pytest.raises(FileNotFoundError) as caught:
        staging.copy_file(source, copy)
    assert caught.value.filename == str(source)
    source.write_text("content")
    staging.copy_file(source, copy)
    assert copy.read_text() == "content"

    def full(source, copy):
        raise OSError(errno.ENOSPC, "no space", str(source))

    monkeypatch.setattr(staging.shutil, "copyfile", full)
    with pytest.raises(OSError, match="no space") as caught:
        staging.copy_file(source, copy)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(copy))


def test_space_is_required_to_the_last_byte(tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(staging.shutil, "disk_usage", {tmp_path: usage(5 << 20)}.__getitem__)
    staging.require_space(tmp_path, 5 << 20)
    with pytest.raises(OSError, match="9 MiB are needed and 5 MiB are free") as caught:
        staging.require_space(tmp_path, 9 << 20)
    assert caught.value.errno == errno.ENOSPC


def replace(target, option="-o"):
    """Replace a folder by one with the single file ``new``."""
    with staging_folder(target, option=option) as staging:
        (staging / "new").write_text("1")
        publish_files(staging, target)


@pytest.fixture
def old(tmp_path):
    """A folder with the single file ``old``."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("0")
    return tmp_path / "out"


@pytest.fixture(params=["no library", "no function"])
def no_exchange(request, monkeypatch):
    """A system on which two folders cannot change places."""
    import ctypes

    def library(name):
        if request.param == "no library":
            raise OSError
        return object()

    monkeypatch.setattr(ctypes, "CDLL", library)


def on_rename_to(target, monkeypatch, act):
    """Let ``act`` run before something gets the name ``target``."""
    rename = Path.rename

    def noted(path, to):
        if to == target:
            act()
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", noted)


@pytest.mark.usefixtures("no_exchange")
def test_a_folder_is_replaced_where_two_cannot_change_places(old, tmp_path):
    replace(old)
    assert names(old) == ["new"]
    assert names(tmp_path) == ["out"]


@pytest.mark.usefixtures("no_exchange")
def test_a_folder_is_put_back_where_its_successor_cannot_take_its_place(old, tmp_path, monkeypatch):
    calls = []

    def refused():
        calls.append(1)
        if len(calls) == 1:
            raise OSError(errno.EACCES, "refused")

    on_rename_to(old, monkeypatch, refused)
    with pytest.raises(DetrexHubError, match="refused"):
        replace(old)
    assert names(old) == ["old"]
    assert names(tmp_path) == ["out"]


def test_a_folder_that_another_process_publishes_first_is_replaced(tmp_path, monkeypatch):
    target = tmp_path / "out"

    def faster():
        target.mkdir()
        (target / "old").write_text("0")

    on_rename_to(target, monkeypatch, faster)
    replace(target)
    assert names(target) == ["new"]


def test_a_folder_that_cannot_get_its_name_is_refused(tmp_path, monkeypatch):
    def refused():
        raise OSError(errno.EACCES, "refused")

    on_rename_to(tmp_path / "out", monkeypatch, refused)
    with pytest.raises(DetrexHubError, match="out cannot be written: refused"):
        replace(tmp_path / "out")
    assert names(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no renameat2")
def test_two_folders_change_places_in_one_step(old, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = Path("other")
    other.mkdir()
    (other / "new").write_text("1")
    assert staging._exchanged(other, Path("out"))
    assert (names(old), names(other)) == (["new"], ["old"])
    assert not staging._exchanged(other, Path("absent"))


def no_locks(error, monkeypatch, act=lambda folder: None):
    """A file system whose locks fail."""

    def acquire(lock, timeout=None):
        act(lock._path.parent)
        raise error

    monkeypatch.setattr(FileLock, "acquire", acquire)


@pytest.mark.parametrize(
    "error", [NotImplementedError(), OSError(errno.ENOLCK, "no locks")], ids=["none", "refused"]
)
def test_a_folder_is_staged_on_a_file_system_without_locks(tmp_path, monkeypatch, error):
    left = abandoned(tmp_path)
    no_locks(error, monkeypatch)
    replace(tmp_path / "out")
    assert names(tmp_path / "out") == ["new"]
    # it may be that of a process that still runs
    assert left.exists()


@pytest.mark.parametrize("act", [lambda folder: None, os.rmdir], ids=["there", "gone"])
def test_a_folder_whose_lock_fails_is_removed(tmp_path, monkeypatch, act):
    no_locks(OSError(errno.EIO, "broken disk"), monkeypatch, act)
    with pytest.raises(UnwritableError) as caught:
        replace(tmp_path / "out")
    assert caught.value.error.errno == errno.EIO
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "begins"),
    [("out", "out"), ("a" * 64, "a" * 64), ("a" * 65, "a" * 64), ("a" * 63 + "\xe9", "a" * 63)],
    ids=["short", "64 bytes", "65 bytes", "half a character"],
)
def test_a_staging_folder_is_named_after_its_target_in_64_bytes(tmp_path, name, begins):
    with staging_folder(tmp_path / name, option="-o") as folder:
        assert folder.name.startswith(f".{begins}.partial-")


def test_a_lock_that_is_held_is_not_waited_for(tmp_path, monkeypatch):
    def waits(seconds):
        raise AssertionError(f"waits {seconds} s")

    monkeypatch.setattr(time, "sleep", waits)
    with staging_folder(tmp_path / "out", option="-o") as folder:
        staging.remove_abandoned(tmp_path / "out")
        assert names(tmp_path) == [folder.name]


def test_leftovers_are_removed_as_far_as_they_can_be(tmp_path, monkeypatch):
    left, unlink, calls = abandoned(tmp_path), os.unlink, []
    (left / "other").write_text("x")

    def stuck(path, **options):
        calls.append(path)
        if len(calls) == 1:
            raise PermissionError(errno.EPERM, "in use", path)
        unlink(path, **options)

    monkeypatch.setattr(os, "unlink", stuck)
    staging.remove_abandoned(tmp_path / "out")
    assert names(left) == calls[:1]


def test_leftovers_of_another_target_stay(tmp_path):
    for name in ("a", "aa", "a*", "[a]", "?"):
        abandoned(tmp_path, name)
    for name in ("a*", "[a]", "?"):
        staging.remove_abandoned(tmp_path / name)
    assert names(tmp_path) == [".a.partial-1", ".aa.partial-1"]


@pytest.mark.parametrize("successor", [False, True])
def test_a_folder_that_a_killed_run_moved_aside_is_put_back_where_it_is_missing(
    tmp_path, successor
):
    aside = abandoned(tmp_path) / "replaced" / "out"
    aside.mkdir(parents=True)
    (aside / "old").write_text("0")
    if successor:
        replace(tmp_path / "other")
        (tmp_path / "other").rename(tmp_path / "out")
    staging.remove_abandoned(tmp_path / "out")
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == (["new"] if successor else ["old"])
