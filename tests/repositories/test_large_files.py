"""No process requests bytes of a large file again that have arrived already."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants, file_download, scan_cache_dir, utils

from detrex_hub.errors import HubError, VerificationError
from detrex_hub.repositories import fetch, hub_download, large_files
from tests.hub_server import Fault
from tests.hub_server.store import Blob

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FIRST = 100_000

FETCH = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # who tests in the background ignores it
from huggingface_hub import constants
from detrex_hub.repositories import fetch
try:
    print(fetch("alice/w", ["config.json", "w.pth"]).files["w.pth"])
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def there(hub):
    """A repository with a large file that is not cached."""
    return hub.put("alice/w", {"w.pth": CONTENT, "config.json": b"{}"})


@pytest.fixture
def cache(hub):
    """The paths of the file in the cache."""
    folder = Path(constants.HF_HUB_CACHE) / "models--alice--w"
    return SimpleNamespace(
        folder=folder,
        part=folder / "blobs" / f"{SHA256}.incomplete",
        blob=folder / "blobs" / SHA256,
    )


@pytest.fixture
def hashed(monkeypatch):
    """The files that were read again to hash them."""
    names, real = [], hub_download.digest

    def note(path):
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(hub_download, "digest", note)
    return names


def fetched(name="w.pth", **options):
    return fetch("alice/w", [name], **options).files[name].read_bytes()


def elsewhere(limit=None, **variables):
    """A separate process that fetches the file."""
    return subprocess.Popen(
        [sys.executable, "-c", FETCH],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,
    )


def when(true):
    while not true():
        threading.Event().wait(0.01)


def size(path):
    return path.stat().st_size if path.exists() else 0


def ranges(hub):
    """The requested ranges of the file, in order."""
    return [request.headers["Range"] for request in hub.storage.seen("GET")]


def leave(cache, content):
    """Write a part of the file, as another process leaves it."""
    cache.part.parent.mkdir(parents=True)
    cache.part.write_bytes(content)


# killed processes


@pytest.mark.parametrize(("by", "code"), [("SIGKILL", -9), ("SIGINT", 130)])
def test_the_next_process_resumes_a_download(hub, there, cache, by, code):
    hub.storage.inject("GET", "*", Fault.stall(FIRST))
    process = elsewhere()
    when(lambda: size(cache.part) == FIRST or process.poll() is not None)
    process.send_signal(signal.Signals[by])
    assert process.wait() == code, process.communicate()
    assert cache.part.read_bytes() == CONTENT[:FIRST]
    assert not cache.blob.exists()

    again = elsewhere()
    said, wrong = again.communicate()
    assert (again.returncode, wrong) == (0, "")
    assert Path(said.strip()).read_bytes() == CONTENT
    assert ranges(hub) == [None, f"bytes={FIRST}-"]
    assert hub.storage.log[-1].status == 206
    assert not cache.part.exists()


def test_a_waiting_process_continues_the_download_of_a_killed_one(hub, there, cache):
    hub.storage.inject("GET", "*", Fault.stall(FIRST))
    first = elsewhere()
    when(lambda: size(cache.part) == FIRST or first.poll() is not None)
    second = elsewhere()
    when(lambda: len(hub.seen("HEAD", "*/w.pth")) == 2 or second.poll() is not None)
    first.kill()
    first.communicate()
    said, wrong = second.communicate()
    assert (second.returncode, wrong) == (0, "")
    assert Path(said.strip()).read_bytes() == CONTENT
    assert ranges(hub) == [None, f"bytes={FIRST}-"]


def test_two_processes_download_once(hub, there):
    processes = [elsewhere() for _ in range(2)]
    said = {process.communicate()[0].strip() for process in processes}
    assert [Path(path).read_bytes() for path in said] == [CONTENT]
    assert ranges(hub) == [None]


def test_the_lock_is_shared_with_huggingface_hub(hub, there, monkeypatch):
    """A process of huggingface_hub and one of ours wait for each other."""
    taken = []

    @contextmanager
    def noted(path):
        before = len(ranges(hub))
        yield
        taken.append((str(path), before, len(ranges(hub))))

    for module in (utils, file_download):
        monkeypatch.setattr(module, "WeakFileLock", noted)
    assert fetched() == CONTENT
    (ours, *seen), (theirs, *rest) = taken
    assert ours == theirs
    assert (seen, rest) == ([0, 1], [1, 1])


def test_without_locks_a_part_of_another_process_is_not_used(hub, there, cache, monkeypatch):
    def begin_anew(*_):
        cache.part.unlink()
        cache.part.write_bytes(b"?" * len(CONTENT))

    monkeypatch.setattr(large_files, "require_space", begin_anew)
    assert fetched() == CONTENT
    assert cache.blob.read_bytes() == CONTENT


def test_a_download_stopped_by_the_file_size_limit_is_resumed(hub, there, cache):
    """The kernel refuses further writes."""
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (FIRST, FIRST))

    process = elsewhere(limit)
    assert "w.pth cannot be stored at " in process.communicate()[1].splitlines()[-1]
    assert cache.part.read_bytes() == CONTENT[:FIRST]
    assert fetched() == CONTENT
    assert ranges(hub) == [None, f"bytes={FIRST}-"]


def test_the_progress_bar_starts_at_the_resumed_byte(hub, there, cache):
    leave(cache, CONTENT[:FIRST])
    process = elsewhere(HF_HUB_DISABLE_PROGRESS_BARS="0", TQDM_POSITION="-1")
    shown = process.communicate()[1]
    assert "w.pth:  33%" in shown
    assert "w.pth: 100%" in shown


# broken networks


def test_a_connection_that_always_breaks_loses_no_bytes(hub, there, cache, naps):
    hub.storage.inject("GET", "*", Fault.cut_during(1000), times=None)
    with pytest.raises(HubError, match=r"was lost|is incomplete"):
        fetched()
    assert ranges(hub) == [None, "bytes=1000-", "bytes=2000-", "bytes=3000-"]
    assert cache.part.read_bytes() == CONTENT[:4000]
    hub.storage.forget()
    assert fetched() == CONTENT
    assert ranges(hub) == ["bytes=4000-"]


def test_a_connection_may_break_any_number_of_times_if_bytes_arrive(hub, naps):
    content = random.Random(1).randbytes(8 * 2**20)
    hub.put("alice/w", {"w.pth": content})
    hub.storage.inject("GET", "*", Fault.cut_during(2**20 + 1), times=None)
    assert fetched() == content
    assert len(ranges(hub)) == 8
    assert naps == [1.0] * 7


@pytest.mark.parametrize("what", ["a page", "an error", "another size"])
def test_a_wrong_answer_keeps_the_received_bytes(hub, there, cache, naps, what):
    leave(cache, CONTENT[:FIRST])
    fault = {
        "a page": Fault.html(),
        "an error": Fault.status(500),
        "another size": Fault.status(200, body=b"w" * 10),
    }[what]
    hub.storage.inject("GET", "*", fault, times=None)
    with pytest.raises(HubError):
        fetched()
    assert cache.part.read_bytes() == CONTENT[:FIRST]
    hub.storage.forget()
    assert fetched() == CONTENT
    assert ranges(hub) == [f"bytes={FIRST}-"]


@pytest.mark.parametrize(
    "fault",
    [Fault.html(), Fault.status(500), Fault.cut_during(0)],
    ids=["a page", "an error", "a cut"],
)
def test_an_answer_without_the_file_leaves_no_part(hub, there, cache, naps, fault):
    hub.storage.inject("GET", "*", fault, times=None)
    with pytest.raises(HubError):
        fetched()
    assert not cache.part.exists()


def test_a_retry_after_of_a_day_is_not_waited_for(hub, there, naps):
    for server in (hub, hub.storage):
        server.inject("GET", "*", Fault.status(429, retry_after=86400), times=None)
    with pytest.raises(HubError, match="limits the rate"):
        fetched()
    assert naps == []


def test_a_server_that_ignores_ranges_is_not_asked_twice(hub, there, cache, naps):
    leave(cache, CONTENT[:FIRST])
    hub.storage.inject("GET", "*", Fault.ignore_range(), times=None)
    assert fetched() == CONTENT
    assert len(ranges(hub)) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(416, headers={"Content-Range": "bytes */300000"}),
        Fault.status(206, headers={"Content-Range": "bytes 7-300000/300000"}),
        Fault.status(206, headers={"Content-Range": "bytes 100000-200000/200001"}),
        Fault.status(206),
    ],
    ids=["none", "another part", "of another file", "of nothing"],
)
def test_after_a_wrong_range_the_whole_file_is_requested(hub, there, cache, naps, fault):
    leave(cache, CONTENT[:FIRST])
    hub.storage.inject("GET", "*", fault)
    assert fetched() == CONTENT
    assert ranges(hub) == [f"bytes={FIRST}-", None]


# damaged parts


def test_a_damaged_part_is_downloaded_again(hub, there, cache):
    leave(cache, b"?" + CONTENT[1:FIRST])
    assert fetched() == CONTENT
    assert ranges(hub) == [f"bytes={FIRST}-", None]


def test_a_file_that_arrives_wrong_twice_is_refused_and_removed(hub, there, cache):
    hub.storage.inject("GET", "*", Fault.corrupt(FIRST), times=None)
    with pytest.raises(VerificationError, match="was downloaded twice"):
        fetched()
    assert len(ranges(hub)) == 2
    assert list(cache.part.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "asked"),
    [(b"", [None]), (CONTENT + b"!", [None]), (CONTENT, []), (CONTENT[::-1], [None])],
    ids=["empty", "longer", "whole", "whole and wrong"],
)
def test_a_part_of_an_impossible_size_is_replaced(hub, there, cache, content, asked):
    leave(cache, content)
    assert fetched() == CONTENT
    assert ranges(hub) == asked
    assert not cache.part.exists()


def test_another_version_has_another_part(hub, there, cache, naps):
    leave(cache, CONTENT[:FIRST])
    hub.put("alice/w", {"w.pth": CONTENT[::-1]})
    assert fetched() == CONTENT[::-1]
    assert ranges(hub) == [None]


def test_a_link_in_place_of_a_part_is_not_followed(hub, there, cache, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"other")
    cache.part.parent.mkdir(parents=True)
    cache.part.symlink_to(other)
    assert fetched() == CONTENT
    assert other.read_bytes() == b"other"


def test_a_hard_link_in_place_of_a_part_is_not_emptied(hub, there, cache, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"precious")
    cache.part.parent.mkdir(parents=True)
    cache.part.hardlink_to(other)
    assert fetched() == CONTENT
    assert other.read_bytes() == b"precious"


def test_a_pipe_in_place_of_a_part_does_not_block(hub, there, cache):
    cache.part.parent.mkdir(parents=True)
    os.mkfifo(cache.part)
    assert fetched() == CONTENT


# the cache


def test_a_download_is_hashed_once_on_arrival(hub, there, cache, hashed):
    leave(cache, CONTENT[:FIRST])
    assert fetched() == CONTENT
    assert fetched(revision=there.id) == CONTENT
    assert hashed == []


def test_a_cache_may_be_a_link(hub, there, hashed, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "link"))
    assert fetched(revision=there.id) == CONTENT
    with hub.quiet():
        assert fetched(revision=there.id) == CONTENT
    assert hashed == []


def test_a_cache_without_links_stores_the_file_once(hub, there, cache, hashed, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.are_symlinks_supported", lambda _: False)
    leave(cache, CONTENT[:FIRST])
    assert fetched() == CONTENT
    assert ranges(hub) == [f"bytes={FIRST}-"]
    assert [path.name for path in cache.folder.rglob("*") if size(path) == len(CONTENT)] == [
        "w.pth"
    ]
    assert hashed == []


def test_bytes_on_disk_are_not_requested_again(hub, there):
    assert fetched() == CONTENT
    hub.log.clear()
    assert fetched() == CONTENT
    assert [request.method for request in hub.log] == ["HEAD"]
    with hub.quiet():
        assert fetched(revision=there.id) == CONTENT


def test_small_files_are_left_to_huggingface_hub(hub, there):
    assert fetched("config.json") == b"{}"
    assert [request.method for request in hub.log] == ["HEAD", "GET"]


def test_a_large_file_that_git_keeps_is_left_to_huggingface_hub(hub, there, cache):
    files = {"w.pth": Blob(CONTENT, large=False)}
    hub.repository("alice/w").commit("main", files, "no LFS", "alice", there.id)
    assert fetched() == CONTENT
    assert SHA256 not in "".join(path.name for path in cache.folder.rglob("*"))


def test_a_file_too_large_for_plain_http_is_left_to_huggingface_hub(hub, there, monkeypatch):
    """It has Xet for such files, and reports if Xet is missing."""
    monkeypatch.setattr(constants, "MAX_HTTP_DOWNLOAD_SIZE", 100)
    with pytest.raises(HubError, match="ValueError"):
        fetched()
    assert ranges(hub) == []


def test_hf_cache_commands_know_parts(hub, there, cache, naps):
    assert fetched("config.json") == b"{}"
    hub.storage.inject("GET", "*", Fault.cut_during(1000), times=None)
    with pytest.raises(HubError):
        fetched()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = scan_cache_dir(constants.HF_HUB_CACHE)
    assert found.warnings == []
    assert [one.file_path for one in found.incomplete_files] == [cache.part]


@pytest.mark.parametrize("what", ["locks", "blobs"])
def test_an_unwritable_cache_is_one_line(hub, there, cache, what):
    place = cache.folder.parent / ".locks" if what == "locks" else cache.folder / "blobs"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"")
    with pytest.raises(HubError, match="cannot be stored at ") as refused:
        fetched()
    assert "\n" not in str(refused.value)


def test_a_lack_of_disk_space_is_reported_first_and_loses_nothing(hub, there, cache, monkeypatch):
    leave(cache, CONTENT[:FIRST])
    room = [len(CONTENT) - FIRST - 1]
    usage = shutil.disk_usage(cache.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=room[0]))
    with pytest.raises(HubError, match=r"w\.pth cannot be stored at .*hub: 0 MiB are needed"):
        fetched()
    assert ranges(hub) == []
    room[0] += 1
    assert fetched() == CONTENT
    assert ranges(hub) == [f"bytes={FIRST}-"]


@pytest.mark.parametrize("lent", [False, True])
def test_a_xet_file_is_downloaded_without_xet(hub, there, cache, monkeypatch, lent):
    """No xet token is requested. A blob that the cache shares is not downloaded."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    hub.xet = True
    shared = cache.folder.parent / "blobs" / SHA256[-1:-3:-1] / SHA256[::-1]
    if lent:
        shared.parent.mkdir(parents=True)
        shared.write_bytes(CONTENT)
        (shared.parent.parent / ".huggingface-shared-blobs").write_text("1\n")
    else:
        leave(cache, CONTENT[:FIRST])
    assert fetched(revision=there.id) == CONTENT
    lends = find_spec("huggingface_hub.utils._shared_blobs") is not None
    assert ranges(hub) == ([f"bytes={FIRST}-"] if not lent else [] if lends else [None])
    assert not hub.seen("GET", "*/xet-read-token/*")


@pytest.mark.parametrize("moved", [False, True])
def test_the_token_is_sent_only_to_the_hub(hub, login, moved):
    token = login("alice")
    hub.create("alice/w", private=True)
    hub.put("alice/w", {"w.pth": CONTENT})
    if moved:
        hub.move("alice/w", "alice/x")
    assert fetched() == CONTENT
    assert {request.token for request in hub.log} == {token}
    assert ranges(hub) == [None]
    assert not any("Authorization" in request.headers for request in hub.storage.log)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("private", "alice/w does not exist on .*, or is private"),
        ("gated", "alice/w is gated"),
        ("no such file", "alice/w has no file none.pth"),
        ("no such revision", "alice/w has no revision 'v2'"),
    ],
)
def test_refusals_of_the_hub_keep_their_messages(hub, there, cache, what, said):
    repository = hub.repository("alice/w")
    repository.private, repository.gated = what == "private", what == "gated"
    name = "none.pth" if what == "no such file" else "w.pth"
    with pytest.raises(HubError, match=said):
        fetched(name, revision="v2" if what == "no such revision" else None)
    assert ranges(hub) == []
    # huggingface_hub remembers missing files
    assert (cache.folder / ".no_exist").exists() == (what == "no such file")


@pytest.mark.parametrize(
    ("module", "name", "value", "said"),
    [
        (constants, "HF_HUB_OFFLINE", True, "HF_HUB_OFFLINE"),
        (hub_download, "_has_address", lambda _: False, "cannot be reached"),
    ],
)
def test_offline_nothing_is_requested(hub, there, monkeypatch, module, name, value, said):
    monkeypatch.setattr(module, name, value)
    with hub.quiet(), pytest.raises(HubError, match=said):
        fetched(revision=there.id)
