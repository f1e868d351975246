"""Digests that are computed beside other work are those of the bytes."""

import hashlib
import os
import sys
import threading

import pytest

from detrex_hub.hashing import FileSha256, Sha256


@pytest.mark.parametrize("yielding", [False, True])
def test_a_file_is_hashed_whole(tmp_path, yielding):
    data = os.urandom(9 << 20) + b"the rest"
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    assert FileSha256(path, yielding=yielding).result() == hashlib.sha256(data).hexdigest()


@pytest.mark.skipif(sys.platform != "linux", reason="priorities are those of processes")
@pytest.mark.parametrize("yielding", [False, True])
def test_the_thread_that_hashes_yields_and_no_other(tmp_path, monkeypatch, yielding):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"1234")
    seen = []
    real = hashlib.sha256

    class Recorded:
        def __init__(self):
            self._digest = real()

        def update(self, piece):
            seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            self._digest.update(piece)

        def hexdigest(self):
            return self._digest.hexdigest()

    monkeypatch.setattr(hashlib, "sha256", Recorded)
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert FileSha256(path, yielding=yielding).result() == real(b"1234").hexdigest()
    assert seen == [19 if yielding else before]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


def test_what_cannot_be_read_is_told_when_it_is_asked_for(tmp_path):
    hashing = FileSha256(tmp_path / "absent.pth", yielding=True)
    with pytest.raises(FileNotFoundError):
        hashing.result()


def test_pieces_are_hashed_in_their_order():
    pieces = [bytes([n]) * 1000 for n in range(200)]
    hashing = Sha256()
    for piece in pieces:
        hashing.update(piece)
    assert hashing.result() == hashing.result() == hashlib.sha256(b"".join(pieces)).hexdigest()
