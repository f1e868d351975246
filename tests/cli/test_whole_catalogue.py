"""``convert-and-push --all`` publishes several names at once, and the next run publishes the
rest."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from detrex_hub import catalogue
from detrex_hub.catalogue.outlines import outline
from detrex_hub.publishing import preflight
from tests import tiny
from tests.hub_server import Fault, Mirror

NAMES = ["a", "b", "c", "d"]


@pytest.fixture
def origin(tmp_path, monkeypatch):
    """A server of all originals except b's, and a catalogue with only these names."""
    content = tiny.original(tmp_path / "tiny.pth").read_bytes()
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
        monkeypatch.setenv("DETREX_HUB_CATALOGUE", str(path))
        known = catalogue.load_entries()
        monkeypatch.setattr(
            catalogue, "load_entries", lambda _=(): {one: known[one] for one in NAMES}
        )
        server.content = content
        yield server


@pytest.fixture
def overlapping(origin, monkeypatch):
    """Each download waits until two have started."""
    two, answer = threading.Barrier(2), Mirror.answer
    first = iter(range(2))

    def together(self, request):
        asked = request.headers.get("Range") == "bytes=0-0"
        if not asked and next(first, None) is not None:
            two.wait(timeout=30)
        return answer(self, request)

    monkeypatch.setattr(Mirror, "answer", together)


def test_all_publishes_every_name_it_can(cli, hub, login, origin, overlapping):
    login("alice")
    done = cli("convert-and-push", "--all", "--jobs", "2")
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert done.code == 1
    assert [row[:2] for row in rows] == [
        ["a", "new"],
        ["b", "refused"],
        ["c", "new"],
        ["d", "new"],
    ]
    assert "404" in rows[1][2]
    assert hub.repositories.keys() == {"alice/a", "alice/c", "alice/d"}
    assert len(hub.storage.objects) == 1, "weights that are the same are uploaded once"

    # the next run does only the rest
    origin.add("b.pth", origin.content)
    origin.log.clear()
    hub.forget()
    hub.storage.forget()
    again = cli("convert-and-push", "--all", "--jobs", "2", "--json")
    assert again.code == 0
    assert {one["name"]: one["status"] for one in again.document} == {
        name: "new" if name == "b" else "unchanged" for name in NAMES
    }
    # one request for one byte, and one for the whole file
    assert [request.path for request in origin.seen()] == ["/b.pth", "/b.pth"]
    assert [request.path.split("/")[4] for request in hub.seen("POST", "*/commit/*")] == ["b"]
    assert not hub.storage.seen("PUT")
    for name in NAMES:
        assert len(hub.commits(f"alice/{name}")) == 1
        weights = hub.repository(f"alice/{name}").file("model.safetensors")
        assert hashlib.sha256(weights).hexdigest() in hub.storage.objects


def statuses(done):
    return {row["name"]: row["status"] for row in json.loads(done.out)}


def test_a_dry_run_forecasts_each_name_with_a_reason(cli, hub, login, origin):
    login("alice")
    assert cli("convert-and-push", "a", "c").code == 0
    hub.put("alice/c", {"README.md": b"---\nlicense: mit\n---\nEdited"})
    origin.log.clear()
    plan = cli("convert-and-push", "--all", "--dry-run", "--json")
    assert plan.code == 1, "b is refused"
    rows = {row["name"]: row for row in json.loads(plan.out)}
    assert {name: row["status"] for name, row in rows.items()} == {
        "a": "unchanged",
        "b": "refused",
        "c": "changed",
        "d": "new",
    }
    assert "404" in rows["b"]["reason"]
    assert rows["c"]["reason"] == "README.md would differ"
    assert rows["d"]["size"] == len(origin.content)
    # nothing is requested of unchanged names, and one byte of each other
    assert {request.path for request in origin.seen()} == {"/b.pth", "/c.pth", "/d.pth"}
    assert {request.headers["Range"] for request in origin.seen()} == {"bytes=0-0"}
    assert hub.repositories.keys() == {"alice/a", "alice/c"}


def test_failed_names_are_repeated_with_their_options(cli, hub, login, origin):
    login("alice", organizations=("lab",))
    hub.inject("POST", "*/lab/c/commit/*", Fault.status(403), times=None)
    done = cli("convert-and-push", "--all", "--namespace", "lab", "--json")
    assert statuses(done) == {"a": "new", "b": "refused", "c": "failed", "d": "new"}
    hub.forget()
    origin.add("b.pth", origin.content)
    options = cli("convert-and-push", "--retry-failed", "--namespace", "alice")
    assert "these differ" in options.err and options.code == 2
    again = cli("convert-and-push", "--retry-failed", "--json")
    assert statuses(again) == {"b": "new", "c": "new"}
    assert hub.repositories.keys() == {f"lab/{name}" for name in NAMES}
    assert statuses(cli("convert-and-push", "--retry-failed", "--json")) == {}
    assert "nothing to do" in cli("convert-and-push", "--retry-failed").err


def listed(hub):
    return [sorted(one["id"] for one in found["items"]) for found in hub.collections.values()]


def test_unchanged_names_are_listed_in_a_collection_too(cli, hub, login, origin):
    login("alice")
    assert cli("convert-and-push", "a", "c").code == 0
    command = ("convert-and-push", "a", "c", "d", "--collection", "alice/zoo", "--json")
    done = cli(*command)
    assert statuses(done) == {"a": "unchanged", "c": "unchanged", "d": "new"}
    assert listed(hub) == [["alice/a", "alice/c", "alice/d"]]
    (slug,) = hub.collections
    assert [row["collection"] for row in json.loads(done.out)] == [slug] * 3
    hub.forget()
    assert set(statuses(cli(*command)).values()) == {"unchanged"}
    assert listed(hub) == [["alice/a", "alice/c", "alice/d"]]
    assert not hub.seen("POST", "/api/collections*")


def test_failed_names_are_repeated_with_their_collection(cli, hub, login, origin):
    login("alice")
    assert cli("convert-and-push", "a").code == 0
    fault = hub.inject("POST", "/api/collections/*/items", Fault.status(403), times=None)
    failed = cli("convert-and-push", "a", "b", "--collection", "alice/zoo", "--json")
    assert statuses(failed) == {"a": "failed", "b": "refused"}
    assert fault.hits
    hub.forget()
    origin.add("b.pth", origin.content)
    again = cli("convert-and-push", "--retry-failed", "--json")
    assert statuses(again) == {"a": "unchanged", "b": "new"}
    assert listed(hub) == [["alice/a", "alice/b"]]


def test_a_batch_creates_its_collection_before_the_first_push(cli, hub, login, origin):
    # otherwise each of several jobs would create one
    login("alice")
    done = cli("convert-and-push", "a", "c", "d", "--jobs", "3", "--collection", "alice/zoo")
    assert done.code == 0
    assert listed(hub) == [["alice/a", "alice/c", "alice/d"]]
    paths = [one.path for one in hub.log if one.method == "POST"]
    assert paths.index("/api/collections") < paths.index("/api/repos/create")


def test_an_unknown_collection_is_refused_before_any_work(cli, hub, login, origin):
    login("alice")
    for option in ("--dry-run", "--quiet"):
        missing = f"alice/zoo-{1:024x}"
        done = cli("convert-and-push", "a", "c", "--collection", missing, option)
        assert done.code == 1 and "there is no collection" in done.err
    assert not origin.seen() and not hub.repositories


@pytest.mark.parametrize(
    ("options", "reason"),
    [(("alice/A b",), "not the slug"), (("alice/zoo", "--to", "hub"), "need a repository")],
)
def test_an_invalid_collection_is_refused_before_any_work(
    cli, hub, login, origin, tmp_path, monkeypatch, options, reason
):
    monkeypatch.chdir(tmp_path)
    login("alice")
    done = cli("convert-and-push", "a", "c", "--collection", *options)
    assert done.code == 2 and reason in done.err
    assert not origin.seen() and not hub.repositories


def test_names_are_chosen_by_family_except_the_excluded(cli, hub, login, origin):
    login("alice")
    origin.add("b.pth", origin.content)
    chosen = ("--only", "convnext", "--except", "a", "--except", "d")
    assert statuses(cli("convert-and-push", *chosen, "--json")) == {"b": "new", "c": "new"}
    for wrong in (("--only", "rezzo"), ("--all", "--except", "e"), ("a", "--except", "b")):
        assert cli("convert-and-push", *wrong).code == 2


def test_a_token_that_cannot_write_stops_everything(cli, hub, login, origin):
    for role, namespace in (("read", "alice"), ("write", "lab")):
        login("alice", role)
        done = cli("convert-and-push", "--all", "--namespace", namespace)
        assert done.code == 1 and done.out == ""
        (line,) = [line for line in done.err.splitlines() if line.startswith("Error")]
        assert "may only read" in line or "not a member of lab" in line
    assert not origin.log
    assert not hub.seen("GET", "*/models/*")


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_pipe_gets_one_plain_line_per_event(cli, hub, login, origin, options):
    login("alice")
    origin.add("b.pth", origin.content)
    done = cli("convert-and-push", "a", "b", *options)
    assert not options or [row["status"] for row in done.document] == ["new", "new"]
    lines = done.err.splitlines()
    assert "converting a (102.8 kB)" in lines
    assert "2 names: 2 new; 498.6 kB to convert" in lines
    assert any(re.fullmatch(r"\[1/2\] a new after \d+\.\d s", line) for line in lines)
    assert re.fullmatch(r"2 names in .*: 2 new; .* converted", lines[-1])


def test_originals_are_removed(cli, hub, login, origin, tmp_path, monkeypatch):
    login("alice")
    origin.add("b.pth", origin.content)
    cli("pull", "a")
    cli("convert-and-push", "--all", "--jobs", "2")
    kept = [path.name for path in tmp_path.rglob("*.pth") if "sources" in path.parts]
    assert kept == ["a.pth"], "what was there before stays"
    cli("convert-and-push", "--all", "--to", "hub", DETREX_HUB_KEEP_ORIGINALS="1")
    assert len([*tmp_path.rglob("sources/*/*.pth")]) == len(NAMES)


def test_originals_from_the_hub_are_removed(cli, hub, login, tmp_path):
    login("alice")
    content = tiny.original(tmp_path / "tiny.pth").read_bytes()
    hub.put("authors/tiny", {"tiny.pth": content})
    entries = tiny.catalogue(tmp_path / "one.toml", "hf://authors/tiny/tiny.pth", content)
    options = ("--catalogue", entries)
    kept = tmp_path / "hf-home" / "hub" / "models--authors--tiny"
    assert cli("convert-and-push", "tiny", *options).code == 0
    assert not any(path.is_file() for path in kept.glob("*/**/*.pth"))
    assert not [*kept.glob("blobs/*")]
    cli("pull", "tiny", *options)
    cli("convert-and-push", "tiny", *options, "--to", "hub")
    assert len([*kept.glob("blobs/*")]) == 1, "what was there before stays"


def test_a_batch_larger_than_the_disk_is_refused_before_any_work(
    cli, hub, login, origin, monkeypatch
):
    login("alice")
    origin.add("b.pth", origin.content)
    size = len(origin.content)

    def free(count):
        usage = SimpleNamespace(free=count)
        monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: usage)

    free(2 * size - 1)
    done = cli("convert-and-push", "--all", "--json")
    assert set(statuses(done).values()) == {"refused"} and "of disk at" in done.out
    free(4 * size - 1)
    done = cli("convert-and-push", "--all", "--jobs", "2")
    assert done.code == 1 and "--jobs 2 needs up to" in done.err
    assert not hub.repositories
    assert {one.headers["Range"] for one in origin.seen()} == {"bytes=0-0"}
    assert cli("convert-and-push", "--all", "--jobs", "1", "--dry-run").code == 0
    done = cli("convert-and-push", "--all", "--to", "hub", "--dry-run")
    assert done.code == 1 and "with all results in hub" in done.err


def test_seeded_numbers_need_disk_for_their_results_alone(cli, hub, login, monkeypatch):
    login("alice")
    command = ("convert-and-push", "r18_v1", "--synthetic", "--allow-synthetic", "--dry-run")
    (row,) = json.loads(cli(*command, "--json").out)
    assert row["size"] == outline(catalogue.find_entry("r18_v1")).size
    for free, code in ((row["size"], 0), (row["size"] - 1, 1)):
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _, usage=usage: usage)
        assert cli(*command).code == code


def test_two_files_are_not_pushed_to_one_repository(cli, hub, login, tmp_path):
    login("alice")
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        tiny.original(tmp_path / place / "tiny.pth")
    names = [tmp_path / place / "tiny.pth" for place in ("one", "two")]
    done = cli("convert-and-push", *names, "--license", "mit", "--dry-run", "--json")
    first, second = json.loads(done.out)
    assert (first["status"], second["status"]) == ("new", "refused")
    assert "would both be alice/tiny" in second["reason"]


def test_all_publishes_into_a_folder(cli, hub, origin):
    origin.add("b.pth", origin.content)
    done = cli("convert-and-push", "--all", "--jobs", "3", "--to", "hub", "--quiet")
    assert (done.code, done.err) == (0, "")
    assert [line.rpartition("/")[2] for line in done.out.splitlines()] == NAMES


@pytest.fixture
def interrupted(tmp_path):
    """`interrupted(fault, times)` converts a, b and c into a folder, two at once. When a is done
    and the downloads of the others have met the fault, it interrupts the command ``times``
    times."""
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
                # a process in the background ignores it
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            said, parts = [], {"b.pth.part", "c.pth.part"}
            while not parts <= {
                path.name
                for path in (tmp_path / "home").glob("assets/detrex-hub/sources/*/[bc].pth.part")
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
def test_an_interruption_is_prompt_and_reports_finished_names(tmp_path, interrupted, fault, times):
    code, out, said = interrupted(fault, times)
    assert code == 130
    assert out == f"a\tnew\t{tmp_path / 'hub' / 'detrex' / 'a'}\n"
    assert said.splitlines()[-1] == "Error: interrupted; run the same command again to continue"
    assert "Traceback" not in said
    assert [path.name for path in (tmp_path / "hub" / "detrex").iterdir()] == ["a"]
    # downloaded bytes stay
    assert len([*(tmp_path / "home").rglob("*.part")]) == 2


def test_an_interruption_does_not_wait_for_threads():
    """For example huggingface_hub's upload threads."""
    script = """
import threading
from detrex_hub.cli import failures, main
failures.run = lambda _: threading.Thread(target=threading.Event().wait).start() or 130
main()
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 130
