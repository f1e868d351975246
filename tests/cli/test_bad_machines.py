"""Machines without a home, without free space, with a wrong clock, and with another process that
does the same work."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import constants

from detrex_hub import staging
from detrex_hub.conversion import convert, execution
from detrex_hub.errors import DetrexHubError, HubError
from detrex_hub.publishing.single import convert_and_push
from detrex_hub.repositories import push
from tests import tiny
from tests.hub_server import contents, converted_folder
from tests.test_killed import struck


@pytest.fixture
def entries(tmp_path):
    return tiny.catalogue(tmp_path / "tiny.toml")


@pytest.fixture
def synthetic(entries):
    return {"synthetic": True, "extra_catalogues": [entries]}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def detrex_hub(*arguments, **options):
    """Run the command in a separate process."""
    command = [sys.executable, "-m", "detrex_hub", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


# places that cannot be written


@pytest.mark.parametrize("reason", ["EROFS", "EACCES", "ENOSPC"])
def test_an_unwritable_target_is_one_line(tmp_path, entries, reason):
    root = tmp_path / "root"
    root.mkdir()
    arguments = ("convert", "tiny", "--synthetic", "--catalogue", entries, "-o", root / "tiny")
    elsewhere = {"HF_HOME": str(tmp_path / "home")}
    with struck(root, *arguments, by=reason, every=0, **elsewhere) as strikes:
        found, _ = next(strikes)
    assert found["code"] == 1
    assert f"{root / 'tiny'} cannot be written: " in found["said"]
    assert found["said"].count("\n") == 1
    assert names(root) == []


@pytest.mark.parametrize("way", ["is below a file", "is read-only"])
def test_an_unwritable_cache_stops_only_commands_that_need_it(
    cli, entries, tmp_path, monkeypatch, way
):
    """Commands that do not need the cache work; the others fail and name its path."""
    cache = tmp_path / "file" / "assets"
    if way == "is below a file":
        cache.parent.write_bytes(b"")
    else:
        cache.mkdir(parents=True)
        allowed, mkdir = os.access, Path.mkdir

        def access(path, mode):
            return not Path(path).is_relative_to(cache) and allowed(path, mode)

        def refused(self, *arguments, **options):
            if self.is_relative_to(cache) and not self.exists():
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))
            mkdir(self, *arguments, **options)

        monkeypatch.setattr(os, "access", access)
        monkeypatch.setattr(Path, "mkdir", refused)
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(cache))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    options = ("--catalogue", entries, "--quiet")
    pushed = cli("convert-and-push", "tiny", "--synthetic", "--to", "hub", *options)
    assert (pushed.code, pushed.err) == (0, "")
    loaded = cli("load", pushed.out.strip(), "--quiet")
    assert (loaded.code, loaded.err) == (0, "")
    pulled = cli("pull", "tiny", *options)
    assert pulled.code == 1
    assert f"the cache {cache}" in pulled.err and "HF_HOME" in pulled.err
    assert pulled.err.count("\n") == 1


TINY = ("tiny", "--catalogue", "ENTRIES")
PLACES = {
    "convert": (("convert", "ORIGINAL", "-o", "ROOT/out"), "ROOT/out", "-o"),
    "export": (
        ("export", "FOLDER", "--to", "original", "-o", "ROOT/out.pth"),
        "ROOT/out.pth",
        "-o",
    ),
    "pull": (("pull", *TINY, "--source", "ORIGINAL", "-o", "ROOT/out"), "ROOT/out", "-o"),
    "push": (("push", "FOLDER", "alice/tiny", "--to", "ROOT"), "ROOT/alice/tiny", "--to"),
    "a folder in the cache": (
        ("convert-and-push", *TINY, "--source", "ORIGINAL", "--to", "hub"),
        "HOME/assets/detrex-hub/converting",
        "HF_HOME",
    ),
    "weights in the cache": (
        ("convert-and-push", *TINY, "--source", "ORIGINAL", "--to", "ROOT"),
        "HOME/assets/detrex-hub/converting",
        "HF_HOME",
    ),
    "load": (("load", "FOLDER"), "HOME/assets/detrex-hub/materialised", "HF_HOME"),
}


@pytest.mark.parametrize("reason", ["ENOSPC", "EROFS"])
@pytest.mark.parametrize("what", PLACES)
def test_a_failed_place_is_named_with_the_option_that_moves_it(
    cli, entries, tmp_path, what, reason
):
    arguments, place, option = PLACES[what]
    root, home = tmp_path / "root", tmp_path / "home"
    for folder in (root, home / "assets" / "detrex-hub" / "converting"):
        folder.mkdir(parents=True)
    names = {"ROOT": root, "HOME": home, "ENTRIES": entries, "FOLDER": tmp_path / "tiny"}
    names["ORIGINAL"] = tiny.original(tmp_path / "tiny.pth")
    convert(names["ORIGINAL"], names["FOLDER"])

    def filled(text):
        for name, path in names.items():
            text = text.replace(name, str(path))
        return text

    # each write of a piece of weights is refused, at any place
    watched = root if "ROOT" in " ".join(arguments) else home
    variables = {"HF_HOME": str(home), "TMPDIR": str(home), "HF_HUB_OFFLINE": "1"}
    command = [filled(one) for one in arguments]
    with struck(tmp_path, *command, by=reason, watched=watched, every=0, **variables) as strikes:
        found, _ = next(strikes)
    assert found["code"] != 0
    assert filled(place) in found["said"]
    assert option in found["said"]
    assert found["said"].count("\n") == 1
    if option.startswith("-"):
        assert option in cli(arguments[0], "--help").out


def test_a_full_disk_under_the_target_is_not_blamed_on_the_cache(tmp_path, entries, monkeypatch):
    """shutil names the source first, even if the target failed."""

    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source), None, str(target))

    monkeypatch.setattr(staging.shutil, "copyfile", full)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DetrexHubError) as refused:
        convert_and_push("tiny", to="hub", synthetic=True, extra_catalogues=[entries])
    assert str(Path("hub") / "detrex" / "tiny") in refused.value.message
    assert "--to" in refused.value.hint


def test_a_file_size_limit_is_one_line(tmp_path, entries):
    """The kernel refuses further writes in the middle of the weights."""
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    done = detrex_hub(
        *(
            "convert",
            "tiny",
            "--synthetic",
            "--catalogue",
            entries,
            "-o",
            tmp_path / "out" / "tiny",
        ),
        preexec_fn=limit,
    )
    assert done.returncode == 1
    assert "cannot be written: File too large" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_commands_work_without_a_home(tmp_path, entries):
    """HOME is not set, or does not exist. Commands use temporary folders."""
    for home in ({"HOME": "/dev/null/none"}, {}):
        path = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        place = tmp_path / f"place{len(home)}"
        place.mkdir()
        done = detrex_hub(
            *("convert-and-push", "tiny", "--synthetic", "--catalogue", entries, "--to", "hub"),
            cwd=place,
            env={**path, **home, "TMPDIR": str(tmp_path)},
        )
        assert done.returncode == 0, done.stderr
        assert names(place / "hub" / "detrex") == ["tiny"]
        if not home:
            continue
        done = detrex_hub(
            "load", "./hub/detrex/tiny", cwd=place, env={**path, **home, "TMPDIR": str(tmp_path)}
        )
        assert done.returncode == 0, done.stderr
        assert Path(done.stdout.strip()).is_relative_to(tmp_path)


@pytest.mark.parametrize("length", [255, 256, 5000])
def test_long_names_work_up_to_the_limit_of_the_system(tmp_path, synthetic, length):
    target = tmp_path / ("x" * length)
    if length <= 255:
        convert("tiny", target, **synthetic)
        assert len(contents(target)) == 4
    else:
        with pytest.raises(DetrexHubError, match="cannot be written: File name too long"):
            convert("tiny", target, **synthetic)


def test_long_paths_work_up_to_the_limit_of_the_system(tmp_path, synthetic):
    deep = tmp_path.joinpath(*["x" * 200] * 20)
    with pytest.raises(DetrexHubError, match="cannot be written: File name too long") as refused:
        convert("tiny", deep / "tiny", **synthetic)
    assert "\n" not in str(refused.value)


def test_names_that_differ_only_in_case_are_refused(tmp_path):
    """They are one folder on many machines, and one would replace the other there."""
    lower = converted_folder(tmp_path / "r18")
    upper = converted_folder(tmp_path / "upper" / "R18", b"other weights")
    push(lower, to=tmp_path / "hub")
    before = contents(tmp_path / "hub" / "detrex" / "r18")
    for repo_id in ("detrex/R18", "Detrex/r18"):
        with pytest.raises(HubError, match="differ only in case"):
            push(upper, repo_id, to=tmp_path / "hub")
    assert names(tmp_path / "hub") == ["detrex"]
    assert names(tmp_path / "hub" / "detrex") == ["r18"]
    assert contents(tmp_path / "hub" / "detrex" / "r18") == before


# clocks


@pytest.mark.parametrize("now", [0.0, 4e9], ids=["1970", "2096"])
def test_a_wrong_clock_changes_nothing(tmp_path, synthetic, monkeypatch, now):
    """Written files and removed leftovers do not depend on the clock."""
    for format in ("safetensors", "pth", "pkl"):
        convert("tiny", tmp_path / f"right.{format}", **synthetic)
    left = tmp_path / ".wrong.pth.partial-left"
    left.mkdir()
    (left / "half").write_bytes(b"half")
    os.utime(left, (now, now))
    os.utime(left / "half", (now, now))
    monkeypatch.setattr(time, "time", lambda: now)
    for format in ("safetensors", "pth", "pkl"):
        convert("tiny", tmp_path / f"wrong.{format}", **synthetic)
        written = (tmp_path / f"wrong.{format}").read_bytes()
        assert written == (tmp_path / f"right.{format}").read_bytes()
    assert not left.exists()


def test_a_source_with_a_future_time_is_converted(tmp_path):
    file = tiny.original(tmp_path / "tiny.pth")
    convert(file, tmp_path / "now")
    os.utime(file, (4e9, 4e9))
    convert(file, tmp_path / "then")
    assert contents(tmp_path / "now") == contents(tmp_path / "then")


# several processes


@pytest.mark.parametrize("there", [False, True], ids=["nothing there", "another there"])
def test_two_threads_convert_the_same_at_once(tmp_path, synthetic, monkeypatch, there):
    """Each job reports success, and the last one wins."""
    together, publish = threading.Barrier(2), staging.publish_files
    target = tmp_path / "tiny"
    if there:
        converted_folder(target)

    def at_once(folder, to):
        together.wait(timeout=60)
        publish(folder, to)

    monkeypatch.setattr(execution, "publish_files", at_once)
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(convert, "tiny", target, **synthetic) for _ in range(2)]
    assert both[0].result().sha256 == both[1].result().sha256
    assert len(contents(target)) == 4
    assert names(tmp_path) == ["tiny", "tiny.toml"]


def test_another_process_may_finish_first(tmp_path):
    """The folder appears after the check for it and before the rename."""
    target = tmp_path / "tiny"
    rename = Path.rename

    def later(self, to):
        if to == target and not target.exists():
            converted_folder(target, b"theirs")
        return rename(self, to)

    with (
        staging.staging_folder(target, option=None) as folder,
        pytest.MonkeyPatch.context() as patched,
    ):
        (folder / "file").write_text("ours")
        patched.setattr(Path, "rename", later)
        staging.publish_files(folder, target)
    assert contents(target) == {"file": b"ours"}
    assert names(tmp_path) == ["tiny"]


def test_two_processes_convert_the_same_at_once(tmp_path, entries):
    command = [sys.executable, "-m", "detrex_hub", "convert", "tiny", "--synthetic", "--quiet"]
    command += ["--catalogue", str(entries), "-o", str(tmp_path / "tiny")]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [(one.communicate()[1], one.returncode) for one in both] == [("", 0)] * 2
    assert names(tmp_path) == ["tiny", "tiny.toml"]
    assert len(contents(tmp_path / "tiny")) == 4


# readers of the output


@pytest.mark.parametrize("arguments", [("list",), ("list", "resnet"), ("list", "--json")])
def test_a_closed_pipe_ends_the_command_quietly(arguments):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stdout:
        command = [sys.executable, "-m", "detrex_hub", *arguments]
        done = subprocess.run(
            command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "")


def test_a_pipe_without_a_reader_is_no_traceback():
    done = detrex_hub("list", preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_pipe_gets_utf_8_whatever_the_encoding_of_the_locale():
    """`info` prints an ellipsis, and a card that is written to a file is read as UTF-8."""
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = detrex_hub("info", "r18_v1", env=ascii_only, encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, "")
    assert "…" in done.stdout


def test_a_full_disk_behind_stdout_is_reported():
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "detrex_hub", "list", "resnet"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "Error: No space left on device\n")
