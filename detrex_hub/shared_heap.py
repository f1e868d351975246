"""One heap for all threads."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# of glibc's malloc.h
_M_ARENA_MAX = -8


def share_heap() -> None:
    """Let the threads that start from now on share one heap.

    glibc gives threads heaps of their own and keeps in each what is freed there. In a batch of
    hundreds of names that is 10 MiB and more. Other C libraries do nothing here.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
