"""Count the bytes that Python reads from files."""

from __future__ import annotations

import builtins
import io
import os
import pathlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def counted(*paths: Path) -> Iterator[Counter[str]]:
    """Count the bytes that are read from files at these paths from now on, by file name. Copies by
    the system do not count."""
    found: Counter[str] = Counter()
    wanted = {os.path.realpath(path) for path in paths}
    real = io.open
    read_at = getattr(os, "pread", None)
    names: dict[int, str] = {}

    class Raw(io.FileIO):
        def readinto(self, buffer: Any) -> int | None:
            length = super().readinto(buffer)
            found[Path(str(self.name)).name] += length or 0
            return length

        def read(self, size: int | None = -1) -> bytes | None:
            if size is None or size < 0:
                return self.readall()
            data = super().read(size)
            found[Path(str(self.name)).name] += len(data or b"")
            return data

        def readall(self) -> bytes | None:
            data = super().readall()
            found[Path(str(self.name)).name] += len(data or b"")
            return data

        def close(self) -> None:
            if not self.closed:
                names.pop(self.fileno(), None)
            super().close()

    def pread(handle: int, nbytes: int, offset: int) -> bytes:
        assert read_at is not None
        data: bytes = read_at(handle, nbytes, offset)
        if handle in names:
            found[names[handle]] += len(data)
        return data

    def opened(file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **named: Any) -> Any:
        if mode != "rb" or isinstance(file, int) or os.path.realpath(file) not in wanted:
            return real(file, mode, buffering, *rest, **named)
        raw = Raw(os.fspath(file))
        names[raw.fileno()] = Path(os.fspath(file)).name
        return raw if buffering == 0 else io.BufferedReader(raw)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", opened)
        patch.setattr(builtins, "open", opened)
        if read_at is not None:
            patch.setattr(os, "pread", pread)
        if accessor := getattr(pathlib, "_NormalAccessor", None):
            # in Python 3.10, pathlib stores `io.open` when it is imported
            patch.setattr(accessor, "open", staticmethod(opened))
        yield found
