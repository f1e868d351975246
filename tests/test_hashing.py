"""Digests that a thread computes are correct."""

import contextlib
import hashlib
import os
import threading

import pytest

from detrex_hub.hashing import FileSha256, Sha256


def test_a_file_is_hashed_whole(tmp_path):
    data = os.urandom(9 << 20) + b"the rest"
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    assert FileSha256(path).result() == hashlib.sha256(data).hexdigest()


def test_a_file_that_cannot_be_read_raises_when_the_digest_is_asked_for(tmp_path):
    hashing = FileSha256(tmp_path / "absent.pth")
    with pytest.raises(FileNotFoundError):
        hashing.result()


def test_pieces_are_hashed_in_order():
    pieces = [bytes([n]) * 1000 for n in range(200)]
    hashing = Sha256()
    for piece in pieces:
        hashing.update(piece)
    assert hashing.result() == hashing.result() == hashlib.sha256(b"".join(pieces)).hexdigest()


class Endless:
    """A file of a thousand large pieces, longer than any test reads."""

    reads = 0

    def open(self, *_, **how):
        self.how = how
        return contextlib.nullcontext(self)

    def readinto(self, buffer):
        self.reads += 1
        return len(buffer) if self.reads < 1000 else 0


def test_an_unneeded_digest_is_not_finished():
    file = Endless()
    FileSha256(file).stop()
    assert file.reads < 1000


def test_a_file_is_read_without_another_buffer():
    file = Endless()
    FileSha256(file).stop()
    assert file.how == {"buffering": 0}


def test_an_unused_digest_does_not_keep_the_process_alive():
    before = {*threading.enumerate()}
    pieces, file = Sha256(), FileSha256(Endless())
    started = {*threading.enumerate()} - before
    file.stop()
    pieces.result()
    assert len(started) == 2
    assert all(thread.daemon for thread in started)
