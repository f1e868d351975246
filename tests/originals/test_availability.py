"""One small request finds out whether a source answers."""

import pytest

from detrex_hub.errors import SourceError
from detrex_hub.originals import sources
from detrex_hub.originals.availability import available
from tests.hub_server import Fault, Mirror
from tests.originals.test_sources import CONTENT, entry


@pytest.fixture
def mirror():
    with Mirror() as server:
        yield server
        assert not server.errors


@pytest.fixture(autouse=True)
def _caches(hub, naps):
    """Every test has its own cache, and no pauses."""


def test_availability_requests_one_byte(mirror):
    url = mirror.add("w.pth", CONTENT)
    found = available(entry(url))
    assert (found.url, found.size, found.cached) == (url, len(CONTENT), False)
    (asked,) = mirror.seen()
    assert asked.headers["Range"] == "bytes=0-0"


def test_a_server_without_ranges_reports_the_size(mirror):
    url = mirror.add("w.pth", CONTENT)
    mirror.inject("GET", "/w.pth", Fault.ignore_range())
    assert available(entry(url)).size == len(CONTENT)


def test_the_next_source_is_asked(mirror):
    url = mirror.add("w.pth", CONTENT)
    assert available(entry(f"{mirror.url}/gone.pth", url)).url == url


def test_the_refusal_names_every_source_with_its_reason(mirror):
    page = mirror.add("page.pth", CONTENT)
    mirror.inject("GET", "/page.pth", Fault.html(), times=None)
    with pytest.raises(SourceError) as refused:
        available(entry(f"{mirror.url}/gone.pth", page))
    assert "gone.pth: answers 404 Not Found" in str(refused.value)
    assert "page.pth: sends an HTML page" in str(refused.value)


def test_a_file_of_another_size_is_refused(mirror):
    from msgspec.structs import replace

    weights = entry(mirror.add("w.pth", CONTENT))
    pinned = replace(weights.sources[0], size=len(CONTENT) + 1)
    with pytest.raises(SourceError, match="damaged or replaced"):
        available(replace(weights, sources=(pinned,)))


def test_a_cached_file_is_not_requested(mirror):
    weights = entry(mirror.add("w.pth", CONTENT))
    sources.pull(weights)
    mirror.log.clear()
    assert available(weights).cached
    assert not mirror.log


def test_a_file_on_the_hub_has_a_digest(hub):
    import hashlib

    hub.put("timm/r50", {"model.safetensors": CONTENT})
    found = available(entry("hf://timm/r50/model.safetensors"))
    assert (found.size, found.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert not hub.seen("GET")
    with pytest.raises(SourceError, match=r"absent\.bin"):
        available(entry("hf://timm/r50/absent.bin"))
