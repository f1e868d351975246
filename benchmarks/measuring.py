"""Run a command and tell its wall time, its peak memory and the bytes that it read."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measurement:
    """Medians over the runs: seconds of wall time, peak resident bytes, bytes read by syscalls."""

    seconds: float
    peak: int
    read: int


def measure(
    command: Sequence[str | os.PathLike[str]],
    *,
    runs: int = 5,
    before: Callable[[], object] = lambda: None,
    env: dict[str, str] | None = None,
) -> Measurement:
    """Medians of a command's cost.

    Args:
        command: program and arguments.
        runs: how often it is run.
        before: called before each run, to remove what the last one left.
        env: environment variables on top of this process's.

    Raises:
        RuntimeError: the command failed; its last line of output is in the message.
    """
    taken = [_once(command, before, env or {}) for _ in range(runs)]
    return Measurement(
        statistics.median(one.seconds for one in taken),
        int(statistics.median(one.peak for one in taken)),
        int(statistics.median(one.read for one in taken)),
    )


def _once(
    command: Sequence[str | os.PathLike[str]], before: Callable[[], object], env: dict[str, str]
) -> Measurement:
    before()
    start = time.perf_counter()
    process = subprocess.Popen(
        [os.fspath(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **env},
    )
    errors: list[bytes] = []
    drain = threading.Thread(target=lambda: errors.append(process.stderr.read()))  # type: ignore[union-attr]
    drain.start()
    # the counters of a process are there until it is reaped
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    seconds = time.perf_counter() - start
    read = _bytes_read(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    drain.join()
    if process.returncode != 0:
        last = b"".join(errors).decode(errors="replace").strip().splitlines()[-1:]
        raise RuntimeError(f"{' '.join(map(str, command))} failed: {' '.join(last)}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Measurement(seconds, usage.ru_maxrss * unit, read)


def _bytes_read(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return 0
    return int(dict(line.split(": ") for line in lines)["rchar"])
