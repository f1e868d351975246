"""No token and no password is shown, logged or written, and only the Hub gets the token."""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path

import pytest
from huggingface_hub import constants, get_token

from tests import tiny
from tests.hub_server import Fault, Mirror
from tests.repositories.test_fetch_faults import FETCH
from tests.repositories.test_push_faults import MORE, PUSH

# a word that the tests search for in all output
SECRET = "hush"


@pytest.fixture
def alice(hub, login, monkeypatch):
    """A logged-in user, with all logging of the Hub's client turned on."""
    token = login("alice")
    monkeypatch.setattr(constants, "HF_DEBUG", True)
    monkeypatch.setenv("DETREX_HUB_DEBUG", "1")
    return token


@pytest.fixture
def logs(caplog):
    logger = logging.getLogger("huggingface_hub")
    before = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG)
    logger.propagate = True
    caplog.set_level(logging.DEBUG)
    yield caplog
    logger.setLevel(before[0])
    logger.propagate = before[1]


@pytest.fixture
def started(monkeypatch):
    """The command lines of all processes that were started."""
    lines, real = [], subprocess.Popen.__init__

    def note(self, args, *rest, **options):
        lines.append(str(args))
        real(self, args, *rest, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", note)
    return lines


@pytest.fixture
def everything(tmp_path, logs, started):
    """`everything(done)` is all output, logs, started processes and files of a command."""

    def _everything(done):
        files = [path for path in tmp_path.rglob("*") if path.is_file() and path != given]
        written = [path.read_bytes().decode(errors="replace") for path in files]
        return "\n".join((done.out, done.err, logs.text, *started, *map(str, files), *written))

    given = tmp_path / "tiny.toml"
    return _everything


@pytest.fixture
def on_hub(cli, hub, alice, tmp_path):
    """`alice/tiny`, which commands load and check, without cached files, and the folder `tiny` that
    it was pushed from; `alice/original`, which commands convert."""
    entries = tiny.catalogue(tmp_path / "tiny.toml")
    options = ("--synthetic", "--allow-synthetic", "--catalogue", entries)
    assert cli("convert-and-push", "tiny", *options).code == 0
    assert cli("convert", "tiny", "--synthetic", "--catalogue", entries).code == 0
    original = tiny.original(tmp_path / "original.pth").read_bytes()
    hub.put("alice/original", {"original.pth": original})


FROM_THE_HUB = ("--catalogue", "../tiny.toml", "--source", "hf://alice/original/original.pth")
COMMANDS = {
    "push": ("push", "tiny", "alice/other", "--allow-synthetic"),
    "convert-and-push": (
        *("convert-and-push", "tiny", "--synthetic", "--allow-synthetic"),
        *("--catalogue", "../tiny.toml", "--namespace", "alice"),
    ),
    "load": ("load", "alice/tiny"),
    "inspect": ("inspect", "alice/tiny"),
    "verify": ("verify", "alice/tiny"),
    "diff": ("diff", "alice/tiny", "alice/tiny"),
    "export": ("export", "alice/tiny", "--to", "original", "-o", "back.pth"),
    "pull": ("pull", "tiny", *FROM_THE_HUB),
    "convert": ("convert", "tiny", "-o", "again", *FROM_THE_HUB),
}


@pytest.mark.parametrize("fault", [None, Fault.status(403)], ids=["no fault", "403"])
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_prints_the_token(
    cli,
    hub,
    alice,
    naps,
    on_hub,
    everything,
    logs,
    command,
    fault,
):
    logs.clear()
    hub.forget()
    if fault is not None:
        hub.inject("*", "*", fault, times=None)
    done = cli(*COMMANDS[command])
    assert hub.seen()
    assert (done.code != 0) == (fault is not None), done.err
    assert alice == get_token()
    found = everything(done)
    assert alice not in found
    assert "Send: curl" in logs.text, "nothing was logged"


@pytest.mark.parametrize("request_", [*PUSH, *MORE, *FETCH])
def test_another_host_gets_no_token(cli, hub, alice, naps, monkeypatch, on_hub, request_):
    """Each request is redirected in turn."""
    method, pattern = {**PUSH, **MORE, **FETCH}[request_]
    pattern = pattern.replace("alice/r18", "alice/tiny")
    if request_ == "digest":
        # this is requested if the cache has no links
        monkeypatch.setattr("huggingface_hub.file_download.are_symlinks_supported", lambda _: False)
    if request_ in (*PUSH, *MORE):
        hub.repositories.clear()
        hub.storage.objects.clear()
        if request_ in MORE:
            hub.create("alice/tiny")
            hub.part_size = 50_000
        arguments = ("push", "tiny", "--allow-synthetic")
    else:
        arguments = ("load", "alice/tiny")
    with Mirror() as other:
        elsewhere = other.url.replace("127.0.0.1", "localhost")
        server = hub.storage if pattern.startswith("/objects/") else hub
        injected = server.inject(method, pattern, Fault.redirect(f"{elsewhere}/x", 307), times=None)
        done = cli(*arguments)
        assert injected.hits
        assert "internal error" not in done.err
        if method != "HEAD":
            # huggingface_hub does not follow these redirects to another host
            assert other.log
        assert not any("Authorization" in request.headers for request in other.log)
        assert not any(alice in str(request) for request in other.log)


@pytest.mark.parametrize("kept", ["in the environment", "in a file"])
def test_a_token_that_a_server_repeats_is_hidden(cli, hub, login, folder, monkeypatch, kept):
    token = "a word that nobody would take for one".replace(" ", "-")
    login("alice")
    hub.tokens[token] = next(iter(hub.tokens.values()))
    monkeypatch.setenv("DETREX_HUB_DEBUG", "1")
    if kept == "in a file":
        monkeypatch.delenv("HF_TOKEN")
        path = Path(constants.HF_TOKEN_PATH)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(token)
    else:
        monkeypatch.setenv("HF_TOKEN", token)
    says = {"X-Error-Message": f"what is {token}?", "Location": f"/?token={token}"}
    hub.inject("*", "*", Fault.status(400, headers=says), times=None)
    done = cli("push", folder)
    assert "what is ***?" in done.err
    assert token not in done.err


@pytest.fixture
def origin(tmp_path):
    """A server whose addresses hold secrets, and a catalogue with one of these addresses."""
    content = tiny.original(tmp_path / "tiny.pth").read_bytes()
    (tmp_path / "tiny.pth").unlink()
    with Mirror() as server:
        plain = server.add("tiny.pth", content)
        url = f"{plain}?X-Amz-Signature={SECRET}&token={SECRET}".replace("://", f"://me:{SECRET}@")
        tiny.catalogue(tmp_path / "tiny.toml", url, content)
        server.secret_url = url
        yield server


ADDRESSES = {
    "catalogue": ("--catalogue", "../tiny.toml"),
    "source": ("--catalogue", "../plain.toml", "--source", "SECRET"),
    "mirror": ("--catalogue", "../plain.toml"),
}


@pytest.mark.parametrize("broken", [False, True], ids=["", "broken"])
@pytest.mark.parametrize("given", ADDRESSES)
def test_addresses_are_shown_without_their_secrets(
    cli,
    login,
    origin,
    everything,
    monkeypatch,
    tmp_path,
    naps,
    given,
    broken,
):
    """In the output and in the files of pull, convert, card and push."""
    login("alice")
    monkeypatch.setenv("DETREX_HUB_DEBUG", "1")
    tiny.catalogue(tmp_path / "plain.toml", f"{origin.url}/other/tiny.pth")
    options = [origin.secret_url if one == "SECRET" else one for one in ADDRESSES[given]]
    if given == "mirror":
        mirror = origin.url.replace("://", f"://me:{SECRET}@")
        monkeypatch.setenv("DETREX_HUB_MIRROR", mirror)
        content = origin.files["tiny.pth"]
        tiny.catalogue(tmp_path / "plain.toml", f"{origin.url}/other/tiny.pth", content)
    if broken:
        origin.inject("GET", "*", Fault.status(503), times=None)
    ended = []
    for arguments in (
        ("pull", "tiny", *options),
        ("convert", "tiny", *options),
        ("card", "tiny", *options[:2]),
        ("info", "tiny", *options[:2]),
        ("info", "tiny", "--json", *options[:2]),
        ("convert-and-push", "tiny", *options),
        ("pull", "tiny", "--json", *options),
    ):
        done = cli(*arguments)
        ended.append(done.code)
        found = everything(done)
        for catalogue in ("tiny.toml", "plain.toml"):
            found = found.replace((tmp_path / catalogue).read_text(), "")
        assert SECRET not in found, (
            arguments,
            [line for line in found.splitlines() if SECRET in line],
        )
    assert ended == ([1, 1, 0, 0, 0, 1, 1] if broken else [0] * 7)
    assert origin.seen("GET")[0].headers["Authorization"]


def test_the_address_of_the_hub_is_shown_without_its_password(
    cli, hub, on_hub, monkeypatch, everything, logs
):
    """It is not logged, written or cached either."""
    hub.tokens[SECRET] = next(iter(hub.tokens.values()))
    address = hub.url.replace("://", f"://me:{SECRET}@")
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("{repo_id}")
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{address}/{''.join(template[1:])}"
    )
    ended = []
    for arguments in (
        ("push", "tiny", "alice/other", "--allow-synthetic", "--dry-run", "--json"),
        ("push", "tiny", "alice/other", "--allow-synthetic", "--json"),
        ("load", "alice/tiny"),
        ("load", "alice/none"),
        ("verify", "alice/tiny", "--no-source"),
    ):
        done = cli(*arguments)
        ended.append(done.code)
        assert SECRET not in everything(done), arguments
    assert ended == [0, 0, 0, 1, 0]
    assert "***@" in logs.text
