"""The standard library's `dataclass`, which takes effect when a class is made for the first time.

It writes and compiles six functions for every class. For all architectures together, of which most
commands make one or two, that takes longer than to read the names and shapes of a checkpoint.
"""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(**options):
        def wait(cls):
            _waiting[cls] = options
            return cls

        return wait


__all__ = ["complete", "dataclass"]

_waiting: dict[type, dict[str, Any]] = {}
_completing = threading.Lock()


def complete(cls: type) -> None:
    """Make a class, and those that it inherits from, the dataclasses that they were declared as."""
    if cls not in _waiting:
        return
    with _completing:
        for one in reversed(cls.__mro__):
            if one in _waiting:
                dataclasses.dataclass(**_waiting[one])(one)
                # not before: another thread makes instances of what waits no more
                del _waiting[one]
