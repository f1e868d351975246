"""The Hub of the benchmarks, whose storage keeps the newest files only."""

from __future__ import annotations

import hashlib

import pytest
from huggingface_hub.utils import httpx

from tests.hub_server.spooled import SpooledStorage

FILES = [bytes([number]) * 1000 for number in range(3)]


@pytest.fixture
def storage(tmp_path):
    with SpooledStorage(tmp_path, most=2000) as storage:
        yield storage
    assert not storage.errors


def digest(content):
    return hashlib.sha256(content).hexdigest()


def send(storage, oid, content, part=None):
    path = f"/objects/{oid}" if part is None else f"/objects/{oid}/{part}"
    assert httpx.put(storage.signed(path), content=content).status_code == 200


def test_the_newest_files_are_kept_and_all_digests(storage):
    for content in FILES:
        send(storage, digest(content), content)
    answers = [httpx.get(storage.signed(f"/objects/{digest(content)}")) for content in FILES]
    assert [answer.status_code for answer in answers] == [410, 200, 200]
    assert [answer.content for answer in answers[1:]] == FILES[1:]
    for content in FILES:
        stored = storage.objects[digest(content)]
        assert (stored.sha256, stored.size) == (digest(content), 1000)
    assert storage.taken == 3000


def test_parts_are_hashed_in_order_and_may_be_sent_again(storage):
    oid = digest(b"".join(FILES))
    for number in (1, 2, 1, 2, 3):
        send(storage, oid, FILES[number - 1], number)
    assert storage.finish(oid, 3)
    assert (storage.objects[oid].sha256, storage.objects[oid].size) == (oid, 3000)
    assert httpx.get(storage.signed(f"/objects/{oid}")).content == b"".join(FILES)
    assert not storage.finish(oid, 4)


def test_other_content_than_announced_shows(storage):
    send(storage, digest(FILES[0]), FILES[1])
    assert storage.objects[digest(FILES[0])].sha256 == digest(FILES[1])
