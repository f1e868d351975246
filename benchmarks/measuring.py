"""Run commands in turn and report their wall time, peak memory and the bytes that they read."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Measurement:
    """Medians over the runs: seconds of wall time and of all cores' work, peak resident bytes,
    bytes read by system calls (0 if the system does not count them)."""

    seconds: float
    cpu: float
    peak: int
    read: int


@dataclass(frozen=True)
class Command:
    """A program with its arguments; a function that removes its output; extra environment
    variables; the exit code of success."""

    arguments: Sequence[str | os.PathLike[str]]
    before: Callable[[], object] = lambda: None
    env: Mapping[str, str] = field(default_factory=dict)
    code: int = 0


def measure_all(commands: Mapping[str, Command], *, runs: int) -> dict[str, Measurement]:
    """Run each command several times, and return the medians of their measurements.

    The commands take turns, so that other work on the machine slows all of them down equally. A
    first
    turn is not counted: it fills the page cache and Python's cache of bytecode.

    Raises:
        RuntimeError: a command failed; its last line of output is in the message.
    """
    taken: dict[str, list[Measurement]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, command in commands.items():
            one = _once(command)
            if turn > 0:
                taken[name].append(one)
    return {
        name: Measurement(
            statistics.median(one.seconds for one in found),
            statistics.median(one.cpu for one in found),
            int(statistics.median(one.peak for one in found)),
            int(statistics.median(one.read for one in found)),
        )
        for name, found in taken.items()
    }


def measure(command: Command) -> Measurement:
    """Run a command once, and return its measurement."""
    return _once(command)


def _once(command: Command) -> Measurement:
    command.before()
    environment = {**os.environ, **command.env}
    # write bytecode, because an installed package has it
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    start = time.perf_counter()
    process = subprocess.Popen(
        [os.fspath(part) for part in command.arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
    )
    errors: list[bytes] = []
    drain = threading.Thread(target=lambda: errors.append(process.stderr.read()))  # type: ignore[union-attr]
    drain.start()
    if hasattr(os, "waitid"):
        # the system keeps the counters of a process until it is reaped
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    read = _bytes_read(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    drain.join()
    if process.returncode != command.code:
        last = b"".join(errors).decode(errors="replace").strip().splitlines()[-1:]
        raise RuntimeError(f"{' '.join(map(str, command.arguments))} failed: {' '.join(last)}")
    unit = 1 if sys.platform == "darwin" else 1024
    cpu = usage.ru_utime + usage.ru_stime
    return Measurement(seconds, cpu, usage.ru_maxrss * unit, read)


def _bytes_read(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return 0
    return int(dict(line.split(": ") for line in lines)["rchar"])
