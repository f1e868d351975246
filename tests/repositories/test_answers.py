"""A wrong answer of a server is refused in one line, and a large one early."""

import re
from dataclasses import dataclass, replace

import pytest

from detrex_hub.errors import ConfigError, DetrexHubError, HubError
from detrex_hub.records import MAX_BYTES
from detrex_hub.repositories import fetch, push
from tests.hub_server import Fault

COMMIT = "0123456789" * 4
ETAG = f'"{"ab" * 20}"'


@pytest.fixture
def pushed(hub, login, folder, naps):
    login("alice")
    push(folder, "alice/r18")
    hub.forget()
    hub.storage.forget()


def answer(status=200, body=b"{}", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault.status(status, headers={"X-Repo-Commit": COMMIT, "ETag": ETAG, **named}, body=body)


@dataclass(frozen=True)
class Edited(Fault):
    """The correct answer with other headers."""

    changes: tuple[tuple[str, str], ...] = ()

    def edit(self, response):
        return replace(response, headers={**response.headers, **dict(self.changes)})


def edited(**headers):
    return Edited(changes=tuple((name.replace("_", "-"), one) for name, one in headers.items()))


def files_under(folder):
    return {path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


@pytest.mark.parametrize("name", ["config.json", "conversion.json", "README.md"])
def test_a_file_of_more_than_its_limit_is_refused_before_it_is_downloaded(hub, pushed, name):
    limit = MAX_BYTES[name]
    hub.inject("HEAD", f"*/{name}", answer(X_Linked_Size=str(limit + 1)), times=None)
    with pytest.raises(ConfigError, match=f"{name} is larger than {limit >> 20} MiB"):
        fetch("alice/r18", [name])
    with pytest.raises(ConfigError, match=f"{name} is larger than {limit >> 20} MiB"):
        fetch("alice/r18", ["model.safetensors"], optional=[name])
    assert not hub.seen("GET", f"*/{name}")


@pytest.mark.parametrize("announced", [True, False])
def test_a_server_that_sends_more_than_announced_is_stopped(hub, pushed, tmp_path, announced):
    body = b"x" * (MAX_BYTES["config.json"] + 1)
    hub.inject("HEAD", "*/config.json", answer(), times=None)
    # without a length the bytes are counted
    headers = {} if announced else {"Transfer_Encoding": "chunked"}
    hub.inject("GET", "*/config.json", answer(body=chunked(body, announced), **headers), times=None)
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        fetch("alice/r18", ["config.json"])
    assert sum(path.stat().st_size for path in files_under(tmp_path / "hf-home")) < 2**21


def chunked(body, announced):
    return body if announced else b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def test_a_small_compressed_file_does_not_become_a_large_one(hub, pushed):
    hub.inject("GET", "*/config.json", answer(Content_Encoding="gzip"), times=None)
    with pytest.raises(HubError, match="compressed"):
        fetch("alice/r18", ["config.json"])
    assert {one.headers["Accept-Encoding"] for one in hub.seen("GET", "*.json")} == {"identity"}


WRONG = {
    "commit": edited(X_Repo_Commit="main"),
    "no commit": edited(X_Repo_Commit=""),
    "commit that is a path": edited(X_Repo_Commit="../../../../evil"),
    "commit of another length": edited(X_Repo_Commit=COMMIT[1:]),
    "commit in capitals": edited(X_Repo_Commit="A" * 40),
    "etag that is a path": edited(ETag='"../../../../evil"'),
    "etag that is an absolute path": edited(ETag='"/evil"'),
    "etag of dots": edited(ETag='".."'),
    "no etag": edited(ETag='""'),
    "long etag": edited(ETag=f'"{"a" * 5000}"'),
    "linked etag that is a path": edited(X_Linked_ETag='"a/../../b"'),
    "missing file of a commit that is a path": answer(
        404, X_Error_Code="EntryNotFound", X_Repo_Commit="../../../../evil"
    ),
    "size": edited(X_Linked_Size="many"),
    "negative size": edited(X_Linked_Size="-5"),
    "size of many digits": edited(X_Linked_Size="9" * 5000),
    "redirect to itself": answer(302, Location="config.json"),
    "redirect to no address": answer(302, Location="http://[::"),
    "redirect to another protocol": answer(302, Location="ftp://example.org/x"),
    "redirect to a port that is none": answer(302, Location="http://127.0.0.1:99999999/"),
    "redirect to nothing": answer(302, Location=""),
    "redirect to a long address": answer(302, Location="/" + "a" * 20_000),
    "unknown status": answer(299),
    "teapot": answer(418),
    "unauthorised with no challenge": answer(401),
    "not modified": answer(304, body=b""),
    "rate limit of many digits": answer(429, RateLimit=f'"api";r=0;t={"9" * 5000}'),
    "pause of many digits": answer(503, Retry_After="9" * 5000),
    "cookie": edited(Set_Cookie="a=" + "b" * 5000),
    "error message of control characters": answer(400, X_Error_Message="\x1b[2Jgone"),
    "xet hash": edited(X_Xet_Hash="x", X_Xet_Refresh_Route="http://["),
}


@pytest.mark.parametrize("method", ["HEAD", "GET", "POST"])
@pytest.mark.parametrize("fault", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_answer_is_refused_in_one_line(hub, pushed, tmp_path, method, fault):
    for server in (hub, hub.storage):
        server.inject(method, "*", fault, times=None)
    before = set(tmp_path.parent.iterdir())
    for name in ("config.json", "model.safetensors"):
        try:
            fetch("alice/r18", [name])
        except DetrexHubError as error:
            assert len(str(error)) < 500
            assert "\n" not in str(error)
            assert re.search(r"0x[0-9a-f]{6}", str(error)) is None
    # no header became a path out of the cache
    assert set(tmp_path.parent.iterdir()) == before
    assert not list(tmp_path.rglob("*evil*"))


def test_a_cache_without_a_valid_commit_is_refused(hub, pushed, monkeypatch):
    from huggingface_hub import constants

    path = fetch("alice/r18", ["config.json"]).files["config.json"]
    snapshots = path.parent.parent
    (snapshots / "stray").mkdir()
    (snapshots / "stray" / "config.json").write_text("{}")
    (snapshots.parent / "refs" / "main").write_text("stray")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="belongs to no commit"):
        fetch("alice/r18", ["config.json"])
