"""``convert-and-push --all``: many at once, none stopped by another, then only what is left."""

from __future__ import annotations

import hashlib
import threading

import pytest

from detrex_hub import catalogue
from tests import tiny
from tests.hub_server import Mirror

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
