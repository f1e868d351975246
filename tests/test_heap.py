"""A batch holds little memory, however many names it publishes."""

import ctypes
import subprocess
import sys
import weakref

import pytest

from detrex_hub.errors import DetrexHubError
from detrex_hub.heap import give_back, share_heap
from detrex_hub.originals.conversion_options import ConversionOptions
from detrex_hub.publishing import batch, preflight
from detrex_hub.repositories import PushOptions

# allocates in five threads at once, and prints what glibc knows of its heaps
THREADS = """
import ctypes, threading
from detrex_hub.heap import share_heap
if SHARED: share_heap()
def work():
    kept = [bytearray(100_000) for _ in range(50)]
    barrier.wait()
barrier = threading.Barrier(5)
threads = [threading.Thread(target=work) for _ in range(5)]
for one in threads: one.start()
for one in threads: one.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes = (ctypes.c_int, ctypes.c_void_p)
stream = libc.fdopen(1, b"w")
libc.malloc_info(0, stream)
libc.fflush(None)
"""


def heaps(shared):
    code = THREADS.replace("SHARED", str(shared))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.count("<heap nr=")


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_info"), reason="needs glibc"
)
def test_threads_share_one_heap():
    assert heaps(shared=False) > 1
    assert heaps(shared=True) == 1


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    share_heap()
    give_back()


@pytest.mark.parametrize(("names", "times"), [(["r18_v1"], 0), (["r18_v1", "r34_v1"], 1)])
def test_only_a_batch_shares_its_heap(tmp_path, monkeypatch, names, times):
    shared = []
    monkeypatch.setattr(preflight, "share_heap", lambda: shared.append(True))
    preflight.preflight(names, ConversionOptions(synthetic=True), PushOptions(to=tmp_path))
    assert len(shared) == times


class Cycle:
    def __init__(self):
        self.itself = self


def test_reference_cycles_are_given_back():
    held = weakref.ref(Cycle())
    give_back()
    assert held() is None


def test_a_batch_gives_memory_back_after_each_name(monkeypatch):
    given = []
    monkeypatch.setattr(batch, "give_back", lambda: given.append(True))

    def refused(name, *, progress):
        raise DetrexHubError(name)

    assert len([*batch.convert_and_push_all(["a", "b"], refused)]) == 2
    assert len(given) == 2
