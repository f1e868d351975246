"""A command that is stopped, or refused a step, leaves no incomplete file under a final name, and
the next run finishes.

Commands with very many steps are stopped at every second to seventh one, and with
``STRIKE_EVERYWHERE=1`` at every step.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from detrex_hub.conversion import convert
from tests import tiny
from tests.hub_server import Mirror, contents

FILES = ["README.md", "config.json", "conversion.json", "model.safetensors"]
EVERYWHERE = bool(os.environ.get("STRIKE_EVERYWHERE"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The files of an undisturbed run, by name."""
    place = tmp_path_factory.mktemp("made")
    entries = tiny.catalogue(place / "tiny.toml")
    convert("tiny", place / "tiny", synthetic=True, extra_catalogues=[entries])
    return contents(place / "tiny")


@pytest.fixture
def root(tmp_path):
    """The folder for all written files."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def entries(tmp_path):
    return tiny.catalogue(tmp_path / "tiny.toml")


@contextmanager
def struck(root, *arguments, by="SIGKILL", watched=None, every=1, **environment):
    """Yields the outcome of each stopped run, and a function that runs the command again."""
    options = (watched or root, by, 1 if EVERYWHERE else every)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.killing", *map(str, (*options, "--", *arguments))],
        env={**os.environ, "HF_HOME": str(root / "home"), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )

    def ended():
        return json.loads(process.stdout.readline())

    def go_on():
        process.stdin.write("\n")
        process.stdin.flush()

    def finish():
        go_on()
        found = ended()
        assert (found["code"], found["said"]) == (0, ""), found

    def strikes():
        while (found := ended())["step"]:
            yield found, finish
            go_on()
        assert (found["code"], found["said"]) == (0, ""), found

    try:
        yield strikes()
    finally:
        process.kill()
        process.communicate()


def left_behind(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


NOTHING, ANOTHER = "nothing there", "another there"
INTERRUPTED = "Error: interrupted; run the same command again to continue"
TERMINATED = "Error: terminated; run the same command again to continue"


@pytest.mark.parametrize(
    ("signal", "there", "code", "said"),
    [
        ("SIGKILL", NOTHING, -9, ""),
        ("SIGKILL", ANOTHER, -9, ""),
        ("SIGINT", NOTHING, 130, INTERRUPTED),
        ("SIGTERM", ANOTHER, 143, TERMINATED),
        ("ENOSPC", ANOTHER, 1, "cannot be written: No space left on device"),
    ],
)
def test_an_interrupted_convert_leaves_whole_files(made, root, entries, signal, there, code, said):
    target, steps, leftovers, done = root / "tiny", [], 0, 0
    old = dict.fromkeys(FILES, b"old")

    def prepare():
        shutil.rmtree(target, ignore_errors=True)
        if there == ANOTHER:
            target.mkdir()
            for name, content in old.items():
                (target / name).write_bytes(content)

    prepare()
    arguments = ("convert", "tiny", "--synthetic", "--catalogue", entries, "-o", target)
    with struck(root, *arguments, by=signal) as strikes:
        for found, finish in strikes:
            steps.append(found["step"])
            if signal == "ENOSPC" and found["code"] == 0:
                # the refused step was optional, or part of the cleanup
                done += 1
                assert contents(target) == made, found
            else:
                assert found["code"] == code, found
                assert said in found["said"] and found["said"].count("\n") == bool(said), found
            leftovers += bool(left_behind(root))
            if there == ANOTHER:
                assert contents(target) in (old, made), found
            elif target.exists():
                assert contents(target) == made, found
            finish()
            assert contents(target) == made
            assert left_behind(root) == []
            prepare()
    assert contents(target) == made
    assert {"os.mkdir", "open", "os.rename", "a piece of weights"} <= set(steps)
    assert len(steps) > 15
    assert done <= 4
    # a signal that can be caught leaves files only if it interrupts the cleanup
    assert leftovers > 10 if signal == "SIGKILL" else leftovers <= 2


def test_convert_and_push_into_a_folder(made, root, entries):
    target, steps = root / "hub" / "detrex" / "tiny", []
    arguments = ("convert-and-push", "tiny", "--synthetic", "--catalogue", entries)
    with struck(root, *arguments, "--to", root / "hub", every=3) as strikes:
        for found, finish in strikes:
            steps.append(found["step"])
            if target.exists():
                assert contents(target) == made, found
            finish()
            assert contents(target) == made
            assert left_behind(target.parent) == []
            assert left_behind(root / "home" / "assets" / "detrex-hub" / "converting") == []
            shutil.rmtree(root / "hub")
    assert len(steps) > 15


def test_convert_and_push_to_the_hub(made, hub, login, root, entries):
    steps = []
    arguments = ("convert-and-push", "tiny", "--synthetic", "--catalogue", entries)
    more = {"watched": root / "nothing", "HF_TOKEN": login("alice")}
    with struck(root, *arguments, "--allow-synthetic", **more) as strikes:
        for found, finish in strikes:
            steps.append(found["step"])
            for repository in hub.repositories.values():
                for commit in repository.history()[:-1]:
                    assert commit.files.keys() >= set(FILES), found
            finish()
            assert len(hub.commits("alice/tiny")) == 1
            weights = hub.repository("alice/tiny").file("model.safetensors")
            assert weights == made["model.safetensors"]
            hub.clear()
            login("alice")
    assert steps.count("a request") > 5


def test_a_killed_download_is_resumed(root, tmp_path):
    content = tiny.original(tmp_path / "tiny.pth").read_bytes()
    target, steps = root / "tiny.pth", []
    with Mirror() as mirror:
        entries = tiny.catalogue(tmp_path / "tiny.toml", mirror.add("tiny.pth", content), content)
        arguments = ("pull", "tiny", "--catalogue", entries, "-o", target)
        with struck(root, *arguments, every=2) as strikes:
            for found, finish in strikes:
                steps.append(found["step"])
                assert not target.exists() or target.read_bytes() == content, found
                cached = [*root.glob("home/assets/**/tiny.pth")]
                assert all(path.read_bytes() == content for path in cached), found
                finish()
                assert target.read_bytes() == content
                assert left_behind(root) == []
                assert not [*root.glob("home/**/*.part")]
                target.unlink()
                shutil.rmtree(root / "home")
                mirror.forget()
    assert len(steps) > 10


def test_a_killed_load_from_the_hub_is_resumed(made, hub, root):
    hub.put("alice/tiny", made)
    weights = made["model.safetensors"]
    blob = Path("home/hub/models--alice--tiny/blobs") / hashlib.sha256(weights).hexdigest()
    steps = []
    with struck(root, "load", "alice/tiny", every=7) as strikes:
        for found, finish in strikes:
            steps.append(found["step"])
            assert not (root / blob).exists() or (root / blob).read_bytes() == weights, found
            finish()
            assert (root / blob).read_bytes() == weights
            assert not (root / f"{blob}.incomplete").exists()
            shutil.rmtree(root / "home")
    assert len(steps) > 5


_SIGNALLED_IN_AN_IMPORT = """
import os, signal, sys, types
from detrex_hub.cli import main

class Slow(types.ModuleType):
    def __getattr__(self, name):
        os.kill(os.getpid(), signal.SIGTERM)

sys.modules["detrex_hub.cli.app"] = Slow("app")
main()
"""


def test_a_signal_during_the_first_imports_is_one_line():
    command = [sys.executable, "-c", _SIGNALLED_IN_AN_IMPORT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = "Error: terminated; run the same command again to continue\n"
    assert (done.returncode, done.stderr) == (143, said)
