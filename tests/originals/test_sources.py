"""Original weights are pulled from servers that work, and from servers that misbehave."""

import hashlib
import logging
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import types
from pathlib import Path

import pytest
from huggingface_hub import constants

from detrex_hub import retrying
from detrex_hub.catalogue import CatalogueEntry, Source
from detrex_hub.errors import DetrexHubError, HubError, SourceError, UsageError
from detrex_hub.originals import http_download, sources
from detrex_hub.retrying import asked_pause
from tests.hub_server import Fault, Mirror

# incompressible, and larger than one read
CONTENT = b"PK\x03\x04" + b"".join(hashlib.sha256(bytes([i % 251])).digest() for i in range(9000))
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = CONTENT[::-1]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "assets"
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("DETREX_HUB_MIRROR", raising=False)
    return folder


@pytest.fixture(autouse=True)
def waits(naps):
    """The recorded pauses between attempts, in seconds. The tests do not wait."""
    return naps


@pytest.fixture
def mirror():
    with Mirror() as server:
        yield server
        assert server.errors == []


class RecordedProgress:
    """Records what a progress bar would show."""

    def __init__(self):
        self.stages = []

    def start(self, description, total):
        self.stages.append([description, total, 0, "open"])

    def advance(self, count):
        self.stages[-1][2] += count

    def finish(self):
        self.stages[-1][3] = "closed"


def entry(*urls, **about):
    return CatalogueEntry(
        name="w",
        family="test",
        architecture="resnet",
        title="Weights",
        sources=tuple(
            Source(layout="torchvision", url=url, file=url.rpartition("/")[2], **about)
            for url in urls
        ),
    )


def left(cache):
    """The names of all files in the cache except locks."""
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and path.name != "lock")


def test_a_download_is_checked_kept_and_found_again(mirror, cache):
    url = mirror.add("w.pth", CONTENT)
    progress = RecordedProgress()
    pulled = sources.pull(entry(url, sha256=SHA256, size=len(CONTENT)), progress=progress)
    assert pulled.path.read_bytes() == CONTENT
    assert (pulled.sha256, pulled.size, pulled.url) == (SHA256, len(CONTENT), url)
    assert pulled.pinned_by == "the sha256 in the catalogue"
    assert progress.stages == [["downloading w.pth", len(CONTENT), len(CONTENT), "closed"]]
    assert left(cache) == ["seen.json", "w.pth"]

    mirror.forget()
    assert sources.pull(entry(url, sha256=SHA256)) == sources.pull(entry(url, sha256=SHA256))
    assert mirror.seen() == []


def test_the_digits_in_a_file_name_are_checked(mirror, cache):
    url = mirror.add("w.pth", CONTENT)
    pulled = sources.pull(entry(url, sha256_prefix=SHA256[:8]))
    assert pulled.pinned_by == "the first 8 digits of the sha256, in the catalogue"
    with pytest.raises(SourceError, match=f"has sha256 {SHA256[:8]} instead of 00000000"):
        sources.pull(entry(url.replace("w.pth", "./w.pth"), sha256_prefix="00000000"))
    assert left(cache) == ["seen.json", "w.pth"]


@pytest.mark.parametrize("field", ["sha256", "sha256_prefix"])
@pytest.mark.parametrize("wrong", [0, 7, 8, 15, 16, 63])
def test_every_digit_of_a_digest_is_compared(mirror, cache, field, wrong):
    url = mirror.add("w.pth", CONTENT)
    other = "0" if SHA256[wrong] != "0" else "1"
    digest = SHA256[:wrong] + other + SHA256[wrong + 1 :]
    with pytest.raises(SourceError, match=f"has sha256 {SHA256} instead of {digest}"):
        sources.pull(entry(url, **{field: digest}))
    assert left(cache) == []


def test_an_original_without_a_digest_is_pinned_when_first_seen(mirror):
    url = mirror.add("w.pth", CONTENT)
    first = sources.pull(entry(url))
    assert first.pinned_by == "the sha256 seen first"
    assert sources.pull(entry(url)).pinned_by == first.pinned_by

    first.path.unlink()
    mirror.add("w.pth", OTHER)
    with pytest.raises(SourceError, match="when first seen") as refused:
        sources.pull(entry(url))
    pin = Path(str(refused.value).split("remove ")[1].split(". ")[0])
    pin.unlink()
    assert sources.pull(entry(url)).path.read_bytes() == OTHER


def test_a_damaged_file_in_the_cache_is_replaced(mirror):
    url = mirror.add("w.pth", CONTENT)
    path = sources.pull(entry(url)).path
    path.write_bytes(CONTENT[:-1] + b"\0")
    assert sources.pull(entry(url)).path.read_bytes() == CONTENT


def test_every_flipped_byte_is_found(mirror, cache):
    url = mirror.add("w.pth", CONTENT)
    mirror.inject("GET", "/w.pth", Fault.corrupt(at=len(CONTENT) // 2), times=None)
    with pytest.raises(SourceError, match="damaged or replaced"):
        sources.pull(entry(url, sha256=SHA256))
    assert left(cache) == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.html(), "sends an HTML page instead of the file"),
        (Fault.status(200, body=b'{"message": "quota"}'), "sends a JSON message instead"),
        (
            Fault.status(200, headers={"Content-Type": "text/plain"}, body=b"\n<HTML>login</HTML>"),
            "sends an HTML page instead",
        ),
        (
            Fault.status(200, headers={"Content-Type": "text/plain"}, body=b'{"error": 1}'),
            "sends a JSON message instead",
        ),
        (
            Fault.status(200, headers={"Content-Type": "x"}, body=b"<?xml?><Error>no</Error>"),
            "sends an XML message instead",
        ),
        (Fault.status(200, headers={"Content-Type": "x"}, body=b""), "sends an empty file"),
        (Fault.status(401), "answers 401 Unauthorized"),
        (Fault.status(403), "answers 403 Forbidden"),
        (Fault.status(404), "answers 404 Not Found"),
        (Fault.redirect("ftp://host/w.pth"), "redirects in circles, or to a forbidden address"),
        (Fault.redirect("/w.pth"), "redirects in circles, or to a forbidden address"),
        (
            Fault.status(200, headers={"Content-Type": "x", "Content-Encoding": "gzip"}),
            "sends the file compressed",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_response_is_refused_in_one_line(mirror, cache, waits, fault, reason):
    url = mirror.add("w.pth", CONTENT)
    mirror.inject("GET", "*", fault, times=None)
    with pytest.raises(SourceError, match=reason) as refused:
        sources.pull(entry(url))
    assert "\n" not in str(refused.value)
    assert "detrex-hub convert w --source FILE_OR_URL" in str(refused.value)
    assert waits == []
    assert left(cache) == []


def test_an_error_page_keeps_the_bytes_of_an_interrupted_download(mirror, cache):
    url = mirror.add("w.pth", CONTENT)
    mirror.inject("GET", "*", Fault.cut_during(100_000), times=1)
    mirror.inject("GET", "*", Fault.html(), times=1)
    with pytest.raises(SourceError, match="HTML"):
        sources.pull(entry(url))
    assert sources.pull(entry(url)).path.read_bytes() == CONTENT
    assert mirror.seen("GET")[-1].headers["Range"] == "bytes=100000-"


def test_a_short_file_is_refused(mirror):
    url = mirror.add("w.pth", CONTENT)
    mirror.inject("GET", "*", Fault.truncate(1000), times=None)
    with pytest.raises(SourceError, match=f"1000 bytes instead of {len(CONTENT)}"):
        sources.pull(entry(url, size=len(CONTENT)))
    with pytest.raises(SourceError, match="instead of"):
        sources.pull(entry(url, sha256_prefix=SHA256[:8]))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_temporary_fault_is_retried(mirror, waits, status):
    url = mirror.add("w.pth", CONTENT)
    mirror.inject("GET", "*", Fault.status(status), times=2)
    assert sources.pull(entry(url)).sha256 == SHA256
    assert waits == [1, 2]


def test_a_permanent_fault_is_tried_four_times(mirror, waits):
    url = mirror.add("w.pth", CONTENT)
    mirror.inject("GET", "*", Fault.status(503), times=None)
    with pytest.raises(SourceError, match=r"503 Service Unavailable \(4 times\)"):
        sources.pull(entry(url))
    assert len(mirror.seen("GET")) == 4
    assert waits == [1, 2, 4]


@pytest.mark.parametrize(
    ("retry_after", "date", "waited"),
    [
        ("7", None, 7.0),
        ("0", None, 0.0),
        ("60", None, 60.0),
        # by the server's clock, not by ours
        ("Wed, 21 Oct 2015 07:28:09 GMT", "Wed, 21 Oct 2015 07:28:00 GMT", 9.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None, 0.0),
        ("soon", None, 1.0),
        ("-3", None, 1.0),
    ],
)
def test_retry_after_is_respected_within_reason(mirror, waits, retry_after, date, waited):
    url = mirror.add("w.pth", CONTENT)
    headers = {"Date": date} if date else {}
    fault = Fault.status(429, retry_after=retry_after, headers=headers)
    mirror.inject("GET", "*", fault)
    # the server always sends its own date, so this calls the parser directly
    if date:
        assert asked_pause(429, {"retry-after": retry_after, "date": date}) == waited
        return
    sources.pull(entry(url))
    assert waits == [waited]


@pytest.mark.parametrize("cut", [1, 70_000, len(CONTENT) - 1])
def test_a_cut_connection_is_resumed(mirror, cut):
    url = mirror.add("w.pth", CONTENT)
    mirror.inject("GET", "*", Fault.cut_during(cut))
    progress = RecordedProgress()
    assert sources.pull(entry(url, sha256=SHA256), progress=progress).sha256 == SHA256
    assert mirror.seen("GET")[1].headers["Range"] == f"bytes={cut}-"
    assert progress.stages[-1] == ["downloading w.pth", len(CONTENT), len(CONTENT), "closed"]


def test_connections_cut_before_any_answer_are_retried(mirror):
    url = mirror.add("w.pth", CONTENT)
    mirror.inject("GET", "*", Fault.cut_before())
    assert sources.pull(entry(url)).sha256 == SHA256


def test_a_download_without_progress_ends(mirror, cache):
    url = mirror.add("w.pth", CONTENT)
    mirror.inject("GET", "*", Fault.cut_during(1000), times=None)
    with pytest.raises(SourceError, match=r"breaks off \(4 times\)"):
        sources.pull(entry(url))
    mirror.forget()
    sources.pull(entry(url))
    assert mirror.seen("GET")[0].headers["Range"] == "bytes=4000-"


def test_a_server_without_validators_starts_over_and_ends(mirror, monkeypatch):
    url = mirror.add("w.pth", CONTENT)
    anonymous = type(mirror).answer

    def answer(self, request):
        response = anonymous(self, request)
        response.headers.pop("ETag", None)
        return response

    monkeypatch.setattr(type(mirror), "answer", answer)
    # repeatedly more bytes than the threshold for progress
    monkeypatch.setattr(retrying, "_PROGRESS", 1000)
    mirror.inject("GET", "*", Fault.cut_during(100_000), times=None)
    with pytest.raises(SourceError, match="breaks off"):
        sources.pull(entry(url))
    assert all("Range" not in request.headers for request in mirror.seen("GET"))
    assert len(mirror.seen("GET")) == 4


def test_a_server_that_ignores_ranges_sends_the_whole_file(mirror):
    url = mirror.add("w.pth", CONTENT)
    mirror.inject("GET", "*", Fault.cut_during(100_000), times=1)
    mirror.inject("GET", "*", Fault.ignore_range(), times=1)
    assert sources.pull(entry(url, sha256=SHA256)).path.read_bytes() == CONTENT


def interrupt(mirror, url, **about):
    """Put a part of the file into the cache, as a killed process leaves it."""
    mirror.inject("GET", "*", Fault.cut_during(100_000), times=1)
    mirror.inject("GET", "*", Fault.status(404), times=1)
    with pytest.raises(SourceError):
        sources.pull(entry(url, **about))
    mirror.forget()


def test_a_file_that_changed_between_attempts_starts_over(mirror):
    url = mirror.add("w.pth", CONTENT)
    interrupt(mirror, url)
    mirror.add("w.pth", OTHER)
    assert sources.pull(entry(url)).path.read_bytes() == OTHER
    assert len(mirror.seen("GET")) == 1


@pytest.mark.parametrize("etag", ["of the new file", "none", "of the old file"])
def test_a_resumed_download_of_another_file_is_found(mirror, monkeypatch, etag):
    """The server ignores If-Range. The ETag, the size or finally the sha256 shows the
    difference."""
    url = mirror.add("w.pth", CONTENT)
    interrupt(mirror, url)
    plain = type(mirror).answer
    old_etag = plain(mirror, types.SimpleNamespace(method="GET", path="/w.pth", headers={}))

    def answer(self, request):
        del request.headers["If-Range"]
        response = plain(self, request)
        if "Range" in request.headers and etag != "of the new file":
            response.headers.pop("ETag")
            if etag == "of the old file":
                response.headers["ETag"] = old_etag.headers["ETag"]
        return response

    monkeypatch.setattr(type(mirror), "answer", answer)
    new = OTHER if etag == "of the old file" else OTHER + b"more"
    mirror.add("w.pth", new)
    digest = hashlib.sha256(new).hexdigest()
    assert sources.pull(entry(url, sha256=digest)).path.read_bytes() == new


def test_a_complete_part_is_used(mirror, cache):
    url = mirror.add("w.pth", CONTENT)
    interrupt(mirror, url)
    part = next(cache.rglob("*.part"))
    part.write_bytes(CONTENT)
    assert sources.pull(entry(url, sha256=SHA256)).sha256 == SHA256
    assert mirror.seen("GET")[0].status == 416


@pytest.mark.parametrize("rest", [b"", CONTENT + b"too much"], ids=["empty", "too long"])
def test_a_part_that_cannot_be_resumed_starts_over(mirror, cache, rest):
    url = mirror.add("w.pth", CONTENT)
    interrupt(mirror, url)
    next(cache.rglob("*.part")).write_bytes(rest)
    assert sources.pull(entry(url, sha256=SHA256)).sha256 == SHA256


@pytest.mark.parametrize("record", [b"", b"[]", b"{}", b'{"url": 1}'])
def test_a_damaged_record_of_a_part_starts_over(mirror, cache, record):
    url = mirror.add("w.pth", CONTENT)
    interrupt(mirror, url)
    next(cache.rglob("*.part.json")).write_bytes(record)
    assert sources.pull(entry(url)).sha256 == SHA256
    assert "Range" not in mirror.seen("GET")[0].headers


def test_a_damaged_part_is_found_and_downloaded_again(mirror, cache):
    url = mirror.add("w.pth", CONTENT)
    interrupt(mirror, url, sha256=SHA256)
    part = next(cache.rglob("*.part"))
    part.write_bytes(b"PK" + bytes(part.stat().st_size - 2))
    assert sources.pull(entry(url, sha256=SHA256)).path.read_bytes() == CONTENT
    assert [request.headers["Range"] for request in mirror.seen("GET")] == ["bytes=100000-", None]


PULL = """
    import sys
    from huggingface_hub import constants
    constants.HF_ASSETS_CACHE = sys.argv[2]
    from detrex_hub.originals import sources
    from detrex_hub.catalogue import CatalogueEntry, Source
    source = Source(layout="torchvision", url=sys.argv[1], file="w.pth")
    entry = CatalogueEntry(
        name="w", family="test", architecture="resnet", title="W", sources=(source,)
    )
    print(sources.pull(entry).sha256)
"""


def pull_elsewhere(url, cache):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PULL), url, str(cache)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_killed_download_is_resumed_by_the_next_process(mirror, cache):
    url = mirror.add("w.pth", CONTENT)
    mirror.inject("GET", "*", Fault.slow(pieces=1000, pause=0.02))
    process = pull_elsewhere(url, cache)
    while not (parts := [path for path in cache.rglob("*.part") if path.stat().st_size]):
        assert process.poll() is None
        threading.Event().wait(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(cache.rglob("w.pth"))
    size = parts[0].stat().st_size
    assert 0 < size < len(CONTENT)

    mirror.forget()
    assert sources.pull(entry(url)).path.read_bytes() == CONTENT
    assert mirror.seen("GET")[0].headers["Range"] == f"bytes={size}-"


def test_two_processes_download_once(mirror, cache):
    url = mirror.add("w.pth", CONTENT)
    processes = [pull_elsewhere(url, cache) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in processes] == [SHA256, SHA256]
    assert len(mirror.seen("GET")) == 1


def test_the_next_source_is_asked(mirror):
    bad, good = mirror.add("bad.pth", OTHER), mirror.add("good.pth", CONTENT)
    weights = CatalogueEntry(
        name="w",
        family="test",
        architecture="resnet",
        title="W",
        sources=(
            Source(layout="torchvision", url=bad, file="bad.pth", sha256=SHA256),
            Source(layout="timm", url=good, file="good.pth", sha256=SHA256),
        ),
    )
    pulled = sources.pull(weights)
    assert (pulled.url, pulled.source.layout) == (good, "timm")


def test_the_error_lists_all_reasons(mirror):
    one, other = f"{mirror.url}/a/none.pth", mirror.add("page.pth", b"<html>")
    with pytest.raises(SourceError) as refused:
        sources.pull(entry(one, other))
    assert f"{one}: answers 404 Not Found; {other}: sends an HTML page" in str(refused.value)


def test_the_mirror_is_asked_first(mirror, monkeypatch):
    with Mirror() as near:
        near.add("weights/w.pth", CONTENT)
        url = mirror.add("w.pth", CONTENT)
        monkeypatch.setenv("DETREX_HUB_MIRROR", f"{near.url}/weights/")
        pulled = sources.pull(entry(url, sha256=SHA256))
        assert mirror.seen() == []
        # a digest proves these bytes, so the record names the source and not the mirror
        assert pulled.url == url


def test_a_mirror_without_a_known_digest_is_named(mirror, monkeypatch):
    with Mirror() as near:
        near.add("w.pth", CONTENT)
        monkeypatch.setenv("DETREX_HUB_MIRROR", near.url)
        url = mirror.add("w.pth", CONTENT)
        assert sources.pull(entry(url)).url == f"{near.url}/w.pth"
        assert sources.pull(entry(url)).url == f"{near.url}/w.pth"


@pytest.mark.parametrize("content", [None, OTHER, b"<html>"], ids=["absent", "wrong", "page"])
def test_a_mirror_without_the_file_costs_one_attempt(mirror, monkeypatch, content):
    with Mirror() as near:
        if content is not None:
            near.add("w.pth", content)
        monkeypatch.setenv("DETREX_HUB_MIRROR", near.url)
        url = mirror.add("w.pth", CONTENT)
        assert sources.pull(entry(url, sha256_prefix=SHA256[:8])).sha256 == SHA256
        assert len(near.seen("GET")) == 1


@pytest.mark.parametrize("form", ["path", "url"])
def test_a_file_of_the_user_is_read_in_place(mirror, tmp_path, form):
    file = tmp_path / "mine at home.pth"
    file.write_bytes(OTHER)
    given = str(file) if form == "path" else file.as_uri()
    pulled = sources.pull(entry(f"{mirror.url}/w.pth", sha256=SHA256), source=given)
    assert (pulled.path, pulled.sha256) == (file, hashlib.sha256(OTHER).hexdigest())
    assert pulled.url == "file:///mine%20at%20home.pth"
    assert pulled.pinned_by == "nothing: a file of the user's"
    assert mirror.seen() == []


def test_an_address_of_the_user_is_downloaded(mirror):
    url = mirror.add("elsewhere/mine.pth", OTHER)
    pulled = sources.pull(entry(f"{mirror.url}/w.pth", sha256=SHA256), source=url)
    assert pulled.path.read_bytes() == OTHER
    assert (pulled.url, pulled.pinned_by) == (url, "the sha256 seen first")


@pytest.mark.parametrize(
    "given",
    ["none.pth", "file:///none.pth", "ftp://host/w.pth", "https://", "https://[", "hf://timm/r50"],
)
def test_a_malformed_source_is_refused(given):
    with pytest.raises(UsageError) as refused:
        sources.pull(entry("https://origin.invalid/w.pth"), source=given)
    assert "\n" not in str(refused.value)


def test_a_page_saved_as_a_file_is_refused(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(SourceError, match="HTML"):
        sources.pull(entry("https://origin.invalid/w.pth"), source=str(tmp_path / "w.pth"))


@pytest.mark.parametrize("to", ["copy.pth", "folder", "new/folder/copy.pth"])
def test_a_copy_is_put_at_the_wanted_path(mirror, tmp_path, to):
    (tmp_path / "folder").mkdir()
    url = mirror.add("w.pth", CONTENT)
    pulled = sources.pull(entry(url), to=tmp_path / to)
    assert pulled.path == tmp_path / (f"{to}/w.pth" if to == "folder" else to)
    assert pulled.path.read_bytes() == CONTENT
    assert [path.name for path in pulled.path.parent.iterdir() if path.is_file()] == [
        pulled.path.name
    ]
    assert sources.pull(entry(url)).path != pulled.path


def test_secrets_in_addresses_are_not_shown(mirror, cache, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    mirror.add("w.pth", CONTENT)
    login = "://me:hush@"  # pragma: allowlist secret
    secret = f"{mirror.url}/w.pth?token=hush".replace("://", login)
    pulled = sources.pull(entry("https://origin.invalid/w.pth"), source=secret)
    assert mirror.seen("GET")[0].query == {"token": "hush"}
    assert mirror.seen("GET")[0].headers["Authorization"].startswith("Basic ")
    assert pulled.url == f"{mirror.url}/w.pth"

    mirror.inject("GET", "*", Fault.status(404))
    with pytest.raises(SourceError) as refused:
        sources.pull(entry("https://origin.invalid/w.pth"), source=f"{secret}2")
    interrupted = f"{secret}3"
    mirror.inject("GET", "*", Fault.cut_during(100_000))
    mirror.inject("GET", "*", Fault.redirect(f"{mirror.url}/none?token=hush"))
    with pytest.raises(SourceError):
        sources.pull(entry("https://origin.invalid/w.pth"), source=interrupted)
    assert list(cache.rglob("*.part"))

    kept = "".join(p.read_text() for p in cache.rglob("*.json")) + "".join(
        str(path) for path in cache.rglob("*")
    )
    output = capsys.readouterr()
    for text in (str(refused.value), caplog.text, output.out, output.err, kept):
        assert "hush" not in text


def test_a_redirect_to_another_host_gets_no_password(mirror):
    with Mirror() as other:
        url = other.add("w.pth", CONTENT).replace("127.0.0.1", "localhost")
        mirror.inject("GET", "*", Fault.redirect(url))
        given = f"{mirror.url}/w.pth".replace("://", "://me:hush@")  # pragma: allowlist secret
        assert sources.pull(entry("https://origin.invalid/w.pth"), source=given).sha256 == SHA256
        assert "Authorization" in mirror.seen("GET")[0].headers
        assert "Authorization" not in other.seen("GET")[0].headers


def test_a_redirect_away_from_https_is_refused():
    def hop(scheme):
        return types.SimpleNamespace(url=types.SimpleNamespace(scheme=scheme), history=[])

    response = hop("http")
    response.history = [hop("https")]
    with pytest.raises(SourceError, match="from https to http"):
        http_download._refuse_downgrade(response)
    response.history = [hop("http")]
    http_download._refuse_downgrade(response)


def test_offline_only_a_cached_original_is_used(mirror, monkeypatch):
    url = mirror.add("w.pth", CONTENT)
    sources.pull(entry(url))
    mirror.forget()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert sources.pull(entry(url)).sha256 == SHA256
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE"):
        sources.pull(entry(mirror.add("v.pth", CONTENT)))
    assert mirror.seen() == []


def test_without_a_network_the_refusal_is_one_line(waits, monkeypatch):
    def resolve(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SourceError, match="no such host, or no network"):
        sources.pull(entry("https://origin.invalid/w.pth"))
    assert waits == []


def test_a_server_that_does_not_listen_is_one_line(waits):
    with Mirror() as gone:
        url = f"{gone.url}/w.pth"
    with pytest.raises(SourceError, match=r"cannot be reached.*\(4 times\)"):
        sources.pull(entry(url))
    assert len(waits) == 3


def test_a_cache_that_cannot_be_written_is_one_line(mirror, cache):
    cache.write_bytes(b"a file, not a folder")
    with pytest.raises(DetrexHubError, match=r"the cache .* cannot be written") as refused:
        sources.pull(entry(mirror.add("w.pth", CONTENT), mirror.add("v.pth", CONTENT)))
    assert "HF_HOME" in str(refused.value)
    assert str(refused.value).count("cannot be written") == 1


def test_a_full_disk_is_one_line(mirror, cache, monkeypatch):
    url = mirror.add("w.pth", CONTENT)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1000))
    with pytest.raises(DetrexHubError, match="0 MiB are needed and 0 MiB are free"):
        sources.pull(entry(url))
    monkeypatch.undo()
    assert not list(cache.rglob("w.pth"))


def test_a_download_works_without_file_locks(mirror, cache, monkeypatch):
    def refuse(*_, **__):
        raise NotImplementedError

    monkeypatch.setattr(sources.FileLock, "acquire", refuse)
    assert sources.pull(entry(mirror.add("w.pth", CONTENT))).path.read_bytes() == CONTENT
    assert left(cache) == ["seen.json", "w.pth"]


def test_a_source_on_the_hub_is_downloaded(tmp_path, monkeypatch):
    file = tmp_path / "model.safetensors"
    file.write_bytes(CONTENT)
    asked = []

    def fetch(repo, filenames, *, revision=None, progress=None):
        asked.append((repo, *filenames, revision))
        return types.SimpleNamespace(commit="c0ffee", files={filenames[0]: file})

    monkeypatch.setattr("detrex_hub.repositories.fetch", fetch)
    pulled = sources.pull(entry("hf://timm/resnet50.tv_in1k@v1/model.safetensors"))
    assert asked == [("timm/resnet50.tv_in1k", "model.safetensors", "v1")]
    assert (pulled.path, pulled.sha256) == (file, SHA256)
    assert pulled.url == "hf://timm/resnet50.tv_in1k@c0ffee/model.safetensors"
    assert pulled.pinned_by == "the sha256 that the Hub reports"
    with pytest.raises(SourceError, match="instead of"):
        sources.pull(entry("hf://timm/r50/model.safetensors", sha256="0" * 64))
    pinned = entry("hf://timm/r50/model.safetensors", sha256=SHA256, commit="a" * 40)
    assert sources.pull(pinned).pinned_by == "the sha256 in the catalogue"
    assert asked[-1] == ("timm/r50", "model.safetensors", "a" * 40)


def test_a_hub_that_refuses_is_one_source_of_several(mirror, monkeypatch):
    def fetch(*_, **__):
        raise HubError("the Hub says no", hint="Log in")

    monkeypatch.setattr("detrex_hub.repositories.fetch", fetch)
    url = mirror.add("w.pth", CONTENT)
    assert sources.pull(entry("hf://timm/r50/w.safetensors", url)).url == url
    with pytest.raises(SourceError, match=r"hf://timm/r50/w.safetensors: the Hub says no"):
        sources.pull(entry("hf://timm/r50/w.safetensors"))


def test_a_drive_folder_without_a_file_is_refused():
    with pytest.raises(SourceError) as refused:
        sources.pull(entry("gdrive-folder://1ByfbyCZL8o6zOKqH6dQFCsVQ8dgRXfUU/R50.pth"))
    assert "R50.pth lies in" in str(refused.value)
    assert "https://drive.google.com/drive/folders/1ByfbyCZL8o6zOKqH6dQFCsVQ8dgRXfUU" in str(
        refused.value
    )
    assert "--source FILE" in str(refused.value)


DRIVE = "gdrive://1nDWZWHuRwtwGden77NLM9JoWe-YisJnA"


@pytest.fixture
def drive(monkeypatch):
    """A stand-in for gdown, which only works with Google. ``does`` is the function that it
    calls."""
    exceptions = types.ModuleType("gdown.exceptions")
    exceptions.DownloadError = type("DownloadError", (Exception,), {})
    exceptions.FileURLRetrievalError = type("FileURLRetrievalError", (Exception,), {})
    gdown = types.ModuleType("gdown")
    gdown.exceptions = exceptions
    gdown.asked = []

    def download(*, id, output, progress, **options):
        gdown.asked.append((id, options))
        gdown.does(Path(output), progress)

    gdown.download = download
    monkeypatch.setitem(sys.modules, "gdown", gdown)
    monkeypatch.setitem(sys.modules, "gdown.exceptions", exceptions)
    return gdown


def test_a_file_on_drive_is_downloaded(drive, cache):
    def give(output, progress):
        progress(1000, len(CONTENT))
        progress(len(CONTENT), len(CONTENT))
        output.write_bytes(CONTENT)

    drive.does = give
    progress = RecordedProgress()
    weights = entry(DRIVE)
    pulled = sources.pull(weights, progress=progress)
    assert pulled.path.read_bytes() == CONTENT
    assert pulled.url == DRIVE
    assert drive.asked == [
        (DRIVE.partition("://")[2], {"quiet": True, "use_cookies": False, "resume": True})
    ]
    assert progress.stages[0][1:] == [len(CONTENT), len(CONTENT), "closed"]
    sources.pull(weights)
    assert len(drive.asked) == 1
    assert len(left(cache)) == 2


def raising(error):
    def raise_it(*_):
        raise error

    return raise_it


def test_drive_refusals_are_one_clear_line(drive):
    retrieval = drive.exceptions.FileURLRetrievalError("Too many users\n\n\thave viewed\n")
    for does, reason in (
        (raising(retrieval), "quota for today is used up"),
        (raising(drive.exceptions.DownloadError("short\nread")), "run the command again to resume"),
        (raising(OSError("Max retries exceeded with url")), "cannot be reached"),
        (lambda output, _: output.write_bytes(b"<!DOCTYPE html>"), "HTML page"),
    ):
        drive.does = does
        with pytest.raises(SourceError, match=reason) as refused:
            sources.pull(entry(DRIVE))
        assert "\n" not in str(refused.value)
        assert "--source FILE" in str(refused.value)


def test_a_short_file_from_drive_is_refused(drive, cache):
    def give(output, progress):
        progress(1000, len(CONTENT))
        output.write_bytes(CONTENT[:1000])

    drive.does = give
    with pytest.raises(SourceError, match=f"1000 bytes long instead of {len(CONTENT)}"):
        sources.pull(entry(DRIVE))
    assert left(cache) == []


def test_drive_without_gdown_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(SourceError, match=r"pip install 'detrex-hub\[drive\]'"):
        sources.pull(entry(DRIVE))
