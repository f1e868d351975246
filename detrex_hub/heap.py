"""Keep the memory of a long batch small. This works with glibc; elsewhere, nothing is done."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

# of glibc's malloc.h
_M_ARENA_MAX = -8


def share_heap() -> None:
    """Let the threads that start from now on share one heap.

    glibc gives threads heaps of their own and keeps in each what is freed there. In a batch of
    hundreds of names that is 10 MiB and more.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Give memory that is free, or that only reference cycles hold, back to the system."""
    gc.collect()
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
