"""Run a command many times, and stop it one step later each time.

``python -m tests.killing ROOT STRIKE EVERY -- ARGUMENTS...`` runs ``detrex-hub ARGUMENTS`` in a
child that is stopped at its n-th step, where n grows by EVERY. A step is a file or folder below
ROOT that is opened, made, renamed or removed, a piece of weights that is written, or a request to a
server. STRIKE is a signal, such as SIGKILL, which allows no cleanup, or the error of the system for
the step, such as ENOSPC. With EVERY = 0 every step fails.

After each child it writes a line of JSON with the step, the exit code and the output on stderr, and
waits for a line on stdin while the test inspects the files. Then a second child runs the command to
its end, and another line reports it. The program ends when a child was not stopped at any step.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

_EVENTS = {
    *("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate"),
    *("os.link", "os.symlink", "shutil.copyfile", "shutil.rmtree", "tempfile.mkdtemp"),
}


EVERYWHERE = -1


class _Steps:
    """Counts the steps of this process, and stops the process before step ``last``."""

    def __init__(
        self, root: str, last: int, strike: Callable[[str], None], *, refused: bool
    ) -> None:
        self.root = root
        self.refused = refused
        self.last = last
        self.strike = strike
        self.taken = 0

    def step(self, name: str) -> None:
        self.taken += 1
        if self.last in (self.taken, EVERYWHERE):
            self.strike(name)

    def audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event not in _EVENTS or (event == "open" and not _writes(arguments)):
            return
        if self.refused and not event.startswith(("os.", "open")):
            return  # not a system call
        if any(isinstance(one, (str, os.PathLike)) and self._below(one) for one in arguments):
            self.step(event)

    def _below(self, path: str | os.PathLike[str]) -> bool:
        return Path(path).absolute().is_relative_to(self.root)


def _writes(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2]
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _install(steps: _Steps) -> None:
    from huggingface_hub.utils import httpx

    from detrex_hub.checkpoints.writing.sink import Sink

    def before(owner: type, name: str, what: str) -> None:
        original = getattr(owner, name)

        def counted(*arguments: object, **options: object) -> object:
            steps.step(what)
            return original(*arguments, **options)

        setattr(owner, name, counted)

    before(Sink, "_put", "a piece of weights")
    before(httpx.Client, "send", "a request")
    before(httpx.Response, "iter_raw", "the body of an answer")
    sys.addaudithook(steps.audit)


def _child(arguments: list[str], root: str, last: int, by: str) -> dict[str, object]:
    """Run the command in a child. Returns the step at which it was stopped, its exit code and
    stderr."""
    from detrex_hub.cli import main

    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as struck:
        refused = by not in signal.Signals.__members__

        def strike(step: str) -> None:
            os.write(struck.fileno(), f"{step} ".encode())
            if not refused:
                os.kill(os.getpid(), signal.Signals[by])
            else:
                number = getattr(errno, by)
                raise OSError(number, os.strerror(number))

        child = os.fork()
        if child == 0:
            code: Any = 99
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                os.dup2(said.fileno(), 2)
                _install(_Steps(root, last, strike, refused=refused))
                sys.argv[1:] = [*arguments, "--quiet"]
                main()
            except SystemExit as end:
                code = end.code
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        struck.seek(0)
        return {"step": struck.read().strip(), "code": code, "said": said.read()}


def _warm_up() -> None:
    """Import and compile once for all children."""
    import huggingface_hub

    from detrex_hub.cli.failures import run
    from detrex_hub.repositories import folders, hub_download, upload  # noqa: F401
    from tests import tiny

    huggingface_hub.HfApi()
    with (
        tempfile.TemporaryDirectory() as folder,
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        entries = tiny.catalogue(Path(folder) / "tiny.toml")
        options = ("--synthetic", "--catalogue", str(entries), "--quiet")
        run(["convert-and-push", tiny.NAME, *options, "--to", folder])
        for command in ("convert", "pull", "push"):
            run([command, "--help"])


def main() -> None:
    root, by, every, _, *arguments = sys.argv[1:]
    # processes in the background of a shell ignore this signal
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _warm_up()

    def tell(found: dict[str, object]) -> None:
        print(json.dumps(found), flush=True)
        sys.stdin.readline()

    last = 1 if int(every) else EVERYWHERE
    while (found := _child(arguments, root, last, by))["step"]:
        tell(found)
        tell(_child(arguments, root, 0, by))
        last += int(every)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
