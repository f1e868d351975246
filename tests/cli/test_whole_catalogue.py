"""``convert-and-push --all``: many at once, none stopped by another, then only what is left."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from detrex_hub import catalogue
from tests import tiny
from tests.hub_server import Fault, Mirror

NAMES = ["a", "b", "c", "d"]


@pytest.fixture
def origin(tmp_path, monkeypatch):
    """A server of all originals but b's, which lets no download end before two have begun; and a
    catalogue that knows nothing else."""
    content = tiny.original(tmp_path / "tiny.pth").read_bytes()
    two, answer = threading.Barrier(2), Mirror.answer
    first = iter(range(2))

    def together(self, request):
        if next(first, None) is not None:
            two.wait(timeout=60)
        return answer(self, request)

    monkeypatch.setattr(Mirror, "answer", together)
    with Mirror() as server:
        tables = []
        for name in NAMES:
            url = f"{server.url}/{name}.pth"
            entry = tiny.catalogue(tmp_path / "one.toml", url, content).read_text()
            tables.append(entry.replace("weights.tiny", f"weights.{name}"))
            if name != "b":
                server.add(f"{name}.pth", content)
        path = tmp_path / "all.toml"
        path.write_text("\n".join(tables))
        known = catalogue.load([path])
        monkeypatch.setattr(catalogue, "load", lambda _=(): {one: known[one] for one in NAMES})
        server.content = content
        yield server


def test_all(cli, hub, login, origin):
    login("alice")
    done = cli("convert-and-push", "--all", "--jobs", "2")
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert done.code == 1
    assert [row[:2] for row in rows] == [
        ["a", "created"],
        ["b", "refused"],
        ["c", "created"],
        ["d", "created"],
    ]
    assert "404" in rows[1][2]
    assert hub.repositories.keys() == {"alice/a", "alice/c", "alice/d"}
    assert len(hub.storage.objects) == 1, "weights that are the same are uploaded once"

    # the next run has to do only what is left
    origin.add("b.pth", origin.content)
    origin.log.clear()
    hub.forget()
    hub.storage.forget()
    again = cli("convert-and-push", "--all", "--jobs", "2", "--json")
    assert again.code == 0
    assert {one["name"]: one["changed"] != [] for one in again.document} == {
        name: name == "b" for name in NAMES
    }
    assert [request.path for request in origin.seen()] == ["/b.pth"]
    assert [request.path.split("/")[4] for request in hub.seen("POST", "*/commit/*")] == ["b"]
    assert not hub.storage.seen("PUT")
    for name in NAMES:
        assert len(hub.commits(f"alice/{name}")) == 1
        weights = hub.repository(f"alice/{name}").file("model.safetensors")
        assert hashlib.sha256(weights).hexdigest() in hub.storage.objects


def test_all_into_a_folder(cli, hub, origin):
    origin.add("b.pth", origin.content)
    done = cli("convert-and-push", "--all", "--jobs", "3", "--to", "hub", "--quiet")
    assert (done.code, done.err) == (0, "")
    assert [line.rpartition("/")[2] for line in done.out.splitlines()] == NAMES


@pytest.fixture
def interrupted(tmp_path):
    """`interrupted(fault, times)` converts a, b and c into a folder, two at once, and interrupts it
    so many times once a is done and the others' downloads have met the fault."""
    content = tiny.original(tmp_path / "tiny.pth").read_bytes()
    with Mirror() as mirror:
        tables = []
        for name in "abc":
            url = mirror.add(f"{name}.pth", content)
            entry = tiny.catalogue(tmp_path / "one.toml", url, content).read_text()
            tables.append(entry.replace("weights.tiny", f"weights.{name}"))
        entries = tmp_path / "abc.toml"
        entries.write_text("\n".join(tables))

        def _interrupted(fault, times):
            for name in "bc":
                mirror.inject("GET", f"/{name}.pth", fault, times=None)
            options = ("--catalogue", entries, "--to", tmp_path / "hub", "--jobs", "2")
            command = ("detrex_hub", "convert-and-push", "a", "b", "c", *options)
            process = subprocess.Popen(
                [sys.executable, "-m", *map(str, command)],
                env={**os.environ, "HF_HOME": str(tmp_path / "home")},
                # who tests in the background ignores it
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            said, parts = [], {"b.pth.part", "c.pth.part"}
            while not parts <= {
                path.name
                for path in (tmp_path / "home").rglob("[bc].pth.part")
                if path.stat().st_size
            }:
                assert process.poll() is None, process.communicate()
                threading.Event().wait(0.01)
            for _ in range(times):
                process.send_signal(signal.SIGINT)
                if times > 1:
                    while not (said and said[-1].startswith("stopping")):
                        said.append(process.stderr.readline())
            out, rest = process.communicate()
            return process.returncode, out, "".join(said) + rest

        yield _interrupted


@pytest.mark.parametrize(
    ("fault", "times"),
    [(Fault.slow(pieces=2000, pause=0.05), 1), (Fault.stall(1000), 2)],
    ids=["while they get on", "again, while they hang"],
)
def test_an_interruption_is_prompt_and_reports_what_was_done(tmp_path, interrupted, fault, times):
    code, out, said = interrupted(fault, times)
    assert code == 130
    assert out == f"a\tcreated\t{tmp_path / 'hub' / 'detrex' / 'a'}\n"
    assert said.splitlines()[-1] == "Error: interrupted; run the same command again to continue"
    assert "Traceback" not in said
    assert [path.name for path in (tmp_path / "hub" / "detrex").iterdir()] == ["a"]
    # what has arrived stays
    assert len([*(tmp_path / "home").rglob("*.part")]) == 2


def test_an_interruption_does_not_wait_for_threads():
    """Such as those in which huggingface_hub uploads."""
    script = """
import threading
from detrex_hub.cli import failures, main
failures.run = lambda _: threading.Thread(target=threading.Event().wait).start() or 130
main()
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 130
