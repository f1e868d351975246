"""A lock excludes other processes, and planted files in its place do no harm."""

import fcntl
import os
import subprocess
import sys

import pytest

from detrex_hub import locking
from detrex_hub.locking import FileLock, Timeout

PLANTED = {
    "a link": os.symlink,
    "a second name": os.link,
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_a_planted_file_is_neither_followed_nor_emptied(tmp_path, plant):
    precious = tmp_path / "precious"
    precious.write_text("numbers")
    plant(precious, tmp_path / "lock")
    with pytest.raises(OSError):
        FileLock(tmp_path / "lock").acquire(timeout=0)
    assert precious.read_text() == "numbers"


def test_a_planted_link_creates_no_file(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "new")
    with pytest.raises(OSError):
        FileLock(tmp_path / "lock").acquire(timeout=0)
    assert not (tmp_path / "new").exists()


def test_a_planted_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "lock")
    with pytest.raises(OSError):
        FileLock(tmp_path / "lock").acquire(timeout=0)


def test_the_content_of_a_lock_file_is_kept(tmp_path):
    (tmp_path / "lock").write_text("left by another program")
    with FileLock(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text() == "left by another program"


def test_a_lock_excludes_threads_and_processes_until_it_is_released(tmp_path):
    script = (
        "import sys; from detrex_hub.locking import FileLock, Timeout\n"
        "try: FileLock(sys.argv[1]).acquire(timeout=0)\n"
        "except Timeout: sys.exit(7)\n"
    )

    def other_process():
        command = [sys.executable, "-c", script, str(tmp_path / "lock")]
        return subprocess.run(command, check=False).returncode

    lock, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    with lock:
        with pytest.raises(Timeout):
            other.acquire(timeout=0)
        assert other_process() == 7
    other.acquire(timeout=0)
    other.release()
    other.release()
    assert other_process() == 0


def test_a_removed_file_locks_nothing(tmp_path, monkeypatch):
    real, handles = fcntl.flock, []

    def removed_at_first(handle, operation):
        real(handle, operation)
        if not handles:
            (tmp_path / "lock").unlink()
        handles.append(handle)

    monkeypatch.setattr(locking.fcntl, "flock", removed_at_first)
    with FileLock(tmp_path / "lock"):
        assert len(handles) == 2
        with pytest.raises(Timeout):
            FileLock(tmp_path / "lock").acquire(timeout=0)
