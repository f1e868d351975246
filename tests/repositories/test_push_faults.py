"""Every request of a push meets every network fault.

Temporary faults are retried a limited number of times, and permanent ones give one line. In the end
the repository is unchanged, or complete with one commit.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product

import pytest
from huggingface_hub import close_session

from detrex_hub.errors import DetrexHubError, HubError
from detrex_hub.repositories import client, push
from detrex_hub.repositories.client import Client
from tests.hub_server import Fault, contents, converted_folder

COMMIT = "[0-9a-f]" * 40

# the requests of a push that creates its repository, in order
PUSH = {
    "whoami": ("GET", "/api/whoami-v2"),
    "look": ("GET", "/api/models/alice/r18"),
    "card": ("POST", "/api/validate-yaml"),
    "create": ("POST", "/api/repos/create"),
    "preupload": ("POST", "/api/models/alice/r18/preupload/main"),
    "batch": ("POST", "/alice/r18.git/info/lfs/objects/batch"),
    "upload": ("PUT", "/objects/*"),
    "verify": ("POST", "/alice/r18.git/info/lfs/verify"),
    "commit": ("POST", "/api/models/alice/r18/commit/main"),
    "look again": ("GET", f"/api/models/alice/r18/revision/{COMMIT}"),
    "read": ("GET", f"/alice/r18/resolve/{COMMIT}/*"),
    "read weights": ("GET", "/objects/*"),
}
# the requests of a push in parts into an existing repository
MORE = {
    "right to write": ("GET", "/api/models/alice/r18/auth-check/write"),
    "part": ("PUT", "/objects/*/2"),
    "parts": ("POST", "/api/complete_multipart"),
}

PASSING = {
    **{str(code): Fault.status(code) for code in (500, 502, 504)},
    **{f"{code}, wait": Fault.status(code, retry_after=7) for code in (429, 503)},
    "cut before": Fault.cut_before(),
    "cut within": Fault.cut_during(1),
    "lost answer": Fault.lose_answer(),
    "lost by a gateway": Fault.status_after(502),
    "stalled": Fault.stall(),
}
LASTING = {
    "503": Fault.status(503),
    "429, a day": Fault.status(429, retry_after=86400),
    "cut before": Fault.cut_before(),
    "page": Fault.html(),
    "nonsense": Fault.status(200, body=b"[]"),
    **{str(code): Fault.status(code) for code in (400, 401, 403, 404, 412)},
}
# an early check that not every Hub supports; the push itself would fail too
HARMLESS = {("right to write", fault) for fault in ("page", "nonsense", "404")}


@pytest.fixture(autouse=True)
def alice(login):
    return login("alice")


@pytest.fixture
def impatient(monkeypatch):
    """Shorten the timeout of a hanging connection. A session keeps its first timeout."""
    sooner = partial(monkeypatch.setattr, client, "ANSWER_SECONDS", 0.3)
    close_session()
    yield sooner
    close_session()


def inject(hub, name, fault, times):
    method, pattern = {**PUSH, **MORE}[name]
    server = hub.storage if pattern.startswith("/objects/") else hub
    if name in MORE:
        hub.create("alice/r18")
        hub.part_size = 5000
    return server.inject(method, pattern, fault, times=times)


def held(hub):
    repository = hub.repositories.get("alice/r18")
    files = repository.find("main").files if repository else {}
    return {path: blob.content for path, blob in files.items() if path[0] != "."}


def complete(hub, folder):
    """Whether all files were pushed in one commit. A part of them, or two commits, is an error."""
    made = hub.commits("alice/r18") if hub.repositories else []
    expected = contents(folder)
    expected["README.md"] = expected["README.md"].replace(b"detrex/r18", b"alice/r18")
    assert held(hub) == (expected if made else {})
    assert len(made) <= 1
    return bool(made)


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("request_", [*PUSH, *MORE])
def test_temporary_faults_are_retried(hub, folder, naps, impatient, request_, fault):
    if fault == "stalled":
        impatient()
    injected = inject(hub, request_, PASSING[fault], times=1)
    assert push(folder).changed
    assert injected.hits == 1
    assert complete(hub, folder)
    assert sum(naps) <= 8
    if fault.endswith("wait"):
        assert 7 <= max(naps) <= 8


@pytest.mark.parametrize(
    ("request_", "fault"), sorted({*product([*PUSH, *MORE], LASTING)} - HARMLESS)
)
def test_permanent_faults_are_one_line(hub, folder, naps, request_, fault):
    injected = inject(hub, request_, LASTING[fault], times=None)
    with pytest.raises(DetrexHubError) as refused:
        push(folder)
    said = str(refused.value)
    assert "\n" not in said
    assert refused.value.hint
    assert injected.hits <= 12
    assert sum(naps) <= 60
    if complete(hub, folder):
        commit = hub.repository("alice/r18").refs["main"]
        assert f"Commit {commit[:12]} was made" in said or "Do not use commit" in said
    hub.forget()
    hub.storage.forget()
    push(folder)
    assert complete(hub, folder)


@pytest.mark.parametrize("request_", ["upload", "part", "read", "read weights"])
@pytest.mark.parametrize("at", [0, 3000, -1])
def test_a_byte_that_arrives_wrong_is_found(hub, folder, request_, at):
    """The Hub finds it in an upload, and the client finds it in a download."""
    fault = Fault.corrupt_sent(at) if request_ in ("upload", "part") else Fault.corrupt(at)
    injected = inject(hub, request_, fault, times=1)
    push(folder)
    assert injected.hits == 1
    assert complete(hub, folder)

    hub.clear()
    hub.token("alice")
    inject(hub, request_, fault, times=None)
    with pytest.raises(
        DetrexHubError, match=r"does not have the announced sha256|differ from what was pushed"
    ):
        push(folder)


# another push at the same time


@pytest.fixture
def before_the_commit(monkeypatch):
    """`before_the_commit(something)` calls a function once, right before the next commit."""

    def _call(something):
        pending, commit = [something], Client.commit

        def late(self, *arguments, **options):
            if pending:
                pending.pop()()
            return commit(self, *arguments, **options)

        monkeypatch.setattr(Client, "commit", late)

    return _call


def test_another_push_may_commit_other_files(hub, folder, before_the_commit):
    before_the_commit(lambda: hub.put("alice/r18", {"demo.png": b"png"}))
    push(folder)
    assert hub.commits("alice/r18")[0] == "put"
    assert len(hub.commits("alice/r18")) == 2
    assert held(hub).keys() == {*contents(folder), "demo.png"}


def test_another_push_may_commit_the_same_files(hub, folder, before_the_commit):
    before_the_commit(lambda: push(folder))
    push(folder)
    assert complete(hub, folder)


def test_another_push_of_another_version_refuses_this_one(hub, folder, before_the_commit):
    before_the_commit(lambda: hub.put("alice/r18", {"config.json": b"theirs"}))
    with pytest.raises(HubError, match=r"config.json changed during the push") as refused:
        push(folder)
    assert "nothing of yours was pushed" in str(refused.value)
    assert held(hub) == {"config.json": b"theirs"}


@pytest.mark.parametrize("same", [True, False], ids=["the same", "another version"])
def test_two_pushes_at_once_make_one_commit(hub, folder, tmp_path, monkeypatch, same):
    other = folder if same else converted_folder(tmp_path / "other" / "r18", b"other weights")
    together, commit, own = threading.Barrier(2), Client.commit, threading.local()

    def at_once(self, *arguments, **options):
        if not hasattr(own, "waited"):
            own.waited = together.wait(timeout=60)
        return commit(self, *arguments, **options)

    def pushed(one):
        try:
            return push(one, "alice/r18").commit
        except HubError as error:
            return str(error)

    hub.create("alice/r18")
    monkeypatch.setattr(Client, "commit", at_once)
    with ThreadPoolExecutor(2) as threads:
        ended = sorted(threads.map(pushed, [folder, other]), key=len)
    assert len(hub.commits("alice/r18")) == 1
    assert ended[0] == hub.repository("alice/r18").refs["main"]
    assert ended[1] == ended[0] if same else "changed during the push" in ended[1]
    assert held(hub)["model.safetensors"] in (
        contents(folder)["model.safetensors"],
        contents(other)["model.safetensors"],
    )


def test_a_moved_repository_is_followed_by_every_request(hub, folder):
    hub.create("alice/old")
    hub.move("alice/old", "alice/r18")
    push(folder, "alice/old")
    assert complete(hub, folder)
