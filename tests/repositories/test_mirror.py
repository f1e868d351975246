"""The mirror for other tests works, and so do its faults."""

import http.client
from urllib.parse import urlsplit

import pytest

from tests.hub_server import Fault, Mirror

CONTENT = bytes(range(256)) * 8


@pytest.fixture
def mirror():
    with Mirror() as server:
        server.add("dir/r18.pth", CONTENT)
        yield server
        assert not server.errors


def get(mirror, path="/dir/r18.pth", method="GET", **headers):
    connection = http.client.HTTPConnection(urlsplit(mirror.url).netloc, timeout=5)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=named)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_the_mirror_serves_a_file(mirror):
    response, body = get(mirror)
    assert (response.status, body) == (200, CONTENT)
    response, body = get(mirror, method="HEAD")
    assert (response.status, body, response.headers["Content-Length"]) == (200, b"", "2048")
    assert get(mirror, "/absent")[0].status == 404


def test_the_mirror_answers_ranges(mirror):
    response, body = get(mirror, Range="bytes=100-")
    assert (response.status, body) == (206, CONTENT[100:])
    assert response.headers["Content-Range"] == "bytes 100-2047/2048"
    assert get(mirror, Range="bytes=5-9")[1] == CONTENT[5:10]
    assert get(mirror, Range="bytes=-4")[1] == CONTENT[-4:]
    assert get(mirror, Range="bytes=2048-")[0].status == 416


def test_if_range_returns_the_whole_changed_file(mirror):
    etag = get(mirror)[0].headers["ETag"]
    assert get(mirror, Range="bytes=100-", If_Range=etag)[0].status == 206
    mirror.add("dir/r18.pth", CONTENT[::-1])
    response, body = get(mirror, Range="bytes=100-", If_Range=etag)
    assert (response.status, body) == (200, CONTENT[::-1])


def test_a_fault_occurs_as_often_as_configured(mirror):
    fault = mirror.inject("GET", "/dir/*", Fault.status(503, retry_after=7), times=2, skip=1)
    assert [get(mirror)[0].status for _ in range(4)] == [200, 503, 503, 200]
    assert fault.hits == 2
    assert [request.status for request in mirror.seen("GET", "*.pth")] == [200, 503, 503, 200]


@pytest.mark.parametrize("fault", [Fault.cut_before(), Fault.lose_answer()])
def test_a_stalled_server_does_not_answer(mirror, fault):
    mirror.inject("GET", "*", fault)
    with pytest.raises(ConnectionError):
        get(mirror)


def test_answers_can_be_damaged(mirror):
    mirror.inject("GET", "*", Fault.cut_during(after=10))
    with pytest.raises(http.client.IncompleteRead) as caught:
        get(mirror)
    assert caught.value.partial == CONTENT[:10]
    mirror.inject("GET", "*", Fault.truncate(to=10))
    assert get(mirror)[1] == CONTENT[:10]
    mirror.inject("GET", "*", Fault.corrupt(at=3))
    assert get(mirror)[1] == CONTENT[:3] + b"\xfc" + CONTENT[4:]
    mirror.inject("GET", "*", Fault.html())
    response, body = get(mirror)
    assert (response.status, body[:14]) == (200, b"<!DOCTYPE html")
    mirror.inject("GET", "*", Fault.ignore_range())
    response, body = get(mirror, Range="bytes=100-")
    assert (response.status, body) == (200, CONTENT)
    mirror.inject("GET", "*", Fault.slow(pieces=3, pause=0.001))
    assert get(mirror)[1] == CONTENT
    mirror.inject("GET", "*", Fault.redirect("/elsewhere"))
    assert get(mirror)[0].headers["Location"] == "/elsewhere"
