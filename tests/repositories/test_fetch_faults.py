"""Every request of a fetch meets every network fault.

Either the exact file arrives or nothing: any wrong byte is found, and earlier files stay.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from detrex_hub.errors import DetrexHubError
from detrex_hub.repositories import client, fetch, push
from tests.hub_server import Fault

NAMES = ("config.json", "conversion.json", "README.md", "model.safetensors")
FETCH = {
    "head": ("HEAD", "/alice/r18/resolve/*/config.json"),
    "file": ("GET", "/alice/r18/resolve/*/config.json"),
    "head of weights": ("HEAD", "/alice/r18/resolve/*/model.safetensors"),
    "address of weights": ("GET", "/alice/r18/resolve/*/model.safetensors"),
    "weights": ("GET", "/objects/*"),
    "head of what came": ("HEAD", "/alice/r18/resolve/*/model.safetensors"),
    "digest": ("POST", "/api/models/alice/r18/paths-info/*"),
}
PASSING = {
    **{str(code): Fault.status(code) for code in (500, 502, 504)},
    **{f"{code}, wait": Fault.status(code, retry_after=7) for code in (429, 503)},
    "cut before": Fault.cut_before(),
    "cut at once": Fault.cut_during(0),
    "cut within": Fault.cut_during(300),
    "lost answer": Fault.lose_answer(),
    "stalled": Fault.stall(300),
    "truncated": Fault.truncate(300),
    "corrupt": Fault.corrupt(300),
}
LASTING = {
    "503": Fault.status(503),
    "429, a day": Fault.status(429, retry_after=86400),
    "429, window": Fault.status(429, headers={"RateLimit": '"api";r=0;t=86400'}),
    "cut before": Fault.cut_before(),
    "cut within": Fault.cut_during(1),
    "truncated": Fault.truncate(300),
    "corrupt": Fault.corrupt(300),
    "page": Fault.html(),
    **{str(code): Fault.status(code) for code in (401, 403, 404, 412)},
}


@pytest.fixture
def pushed(hub, login, folder):
    """A repository on the Hub that is not cached."""
    login("alice")
    push(folder, "alice/r18")
    hub.forget()
    hub.storage.forget()
    files = hub.repository("alice/r18").find("main").files
    return {name: files[name].content for name in NAMES}


@pytest.fixture(autouse=True)
def copied(request, monkeypatch):
    """A cache without links, which needs the digests from the Hub, or with links named by
    digests."""
    callspec = getattr(request.node, "callspec", None)
    if callspec and callspec.params.get("request_") == "digest":
        monkeypatch.setattr("huggingface_hub.file_download.are_symlinks_supported", lambda _: False)


def inject(hub, name, fault, times):
    method, pattern = FETCH[name]
    server = hub.storage if pattern.startswith("/objects/") else hub
    skip = 1 if name == "head of what came" else 0
    return server.inject(method, pattern, fault, times=times, skip=skip)


def fetched():
    return {name: path.read_bytes() for name, path in fetch("alice/r18", NAMES).files.items()}


def cached():
    """All visible files of the cache, by name."""
    snapshots = Path(constants.HF_HUB_CACHE).glob("models--*/snapshots/*/*")
    return {path.name: path.read_bytes() for path in snapshots}


def applies(request_, fault):
    has_body = not request_.startswith(("head", "address"))
    return has_body or not fault.startswith(("cut at once", "cut within", "trunc", "corr", "stall"))


def pairs(faults):
    return [(one, fault) for one in FETCH for fault in faults if applies(one, fault)]


@pytest.mark.parametrize(("request_", "fault"), pairs(PASSING))
def test_temporary_faults_are_retried(hub, pushed, naps, monkeypatch, request_, fault):
    if fault == "stalled":
        for module, name in (
            (constants, "HF_HUB_DOWNLOAD_TIMEOUT"),
            (client, "ANSWER_SECONDS"),
        ):
            monkeypatch.setattr(module, name, 0.3)
    # huggingface_hub repeats a HEAD request at once, and then waits
    times = 2 if request_ in ("head", "head of what came") else 1
    injected = inject(hub, request_, PASSING[fault], times=times)
    assert fetched() == pushed
    assert injected.hits == times
    assert sum(naps) <= 8
    if fault.endswith("wait"):
        assert 7 <= max(naps) <= 8


@pytest.mark.parametrize(("request_", "fault"), pairs(LASTING))
def test_permanent_faults_are_one_line(hub, pushed, naps, request_, fault):
    injected = inject(hub, request_, LASTING[fault], times=None)
    if request_ == "digest":
        # an unknown digest is requested again the next time
        assert fetched() == pushed
    else:
        with pytest.raises(DetrexHubError) as refused:
            fetched()
        assert "\n" not in str(refused.value)
        assert refused.value.hint
    assert injected.hits <= 24
    assert sum(naps) <= 60
    assert cached().items() <= pushed.items()
    hub.forget()
    hub.storage.forget()
    assert fetched() == pushed


@pytest.mark.parametrize("fault", LASTING)
def test_cached_files_remain_usable(hub, pushed, naps, fault):
    assert fetched() == pushed
    hub.inject("*", "*", LASTING[fault], times=None)
    assert fetched() == pushed
    assert cached() == pushed


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("at", [0, 1, 300, -1])
def test_a_byte_that_arrives_wrong_is_found(hub, pushed, name, at):
    server, pattern = (
        (hub.storage, "/objects/*") if name.endswith("tensors") else (hub, f"/alice/*/{name}")
    )
    once = server.inject("GET", pattern, Fault.corrupt(at))
    assert fetched() == pushed
    assert once.hits == 1


def test_a_wrong_rest_of_a_cut_file_is_found(hub, pushed, naps):
    hub.storage.inject("GET", "/objects/*", Fault.cut_during(3000))
    hub.storage.inject("GET", "/objects/*", Fault.corrupt(10))
    assert fetched() == pushed
    assert len(hub.storage.seen("GET")) == 3


def test_a_server_that_ignores_ranges_sends_the_whole_file(hub, pushed, naps):
    hub.storage.inject("GET", "/objects/*", Fault.cut_during(3000))
    hub.storage.inject("GET", "/objects/*", Fault.ignore_range())
    assert fetched() == pushed


def test_a_moved_repository_is_followed(hub, pushed):
    hub.move("alice/r18", "alice/new")
    assert fetched() == pushed
