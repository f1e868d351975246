"""The command line: every command makes one library call.

Data goes to stdout, progress and hints to stderr. The exit code is 0 for success, 1 for a refused
job, 2 for wrong usage, 130 after an interruption, and 143 after a termination.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import NoReturn

DEBUG_VARIABLE = "DETREX_HUB_DEBUG"


def main() -> NoReturn:
    """Run the command that the process was started with, and end the process."""
    from detrex_hub.cli.failures import end_in_order, run

    end_in_order()
    _print_every_character()
    code = run(sys.argv[1:] or ["--help"])
    for stream in (sys.stdout, sys.stderr):
        # `run` has reported what a failure to write means
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    # the interpreter would wait for running threads, such as an upload, and free every object
    os._exit(code)


def _print_every_character() -> None:
    """Let stdout take what the encoding of the locale lacks: files and pipes get UTF-8, in which
    cards and JSON are read again, and a terminal gets an escape."""
    if isinstance(sys.stdout, TextIOWrapper):
        encoding = None if sys.stdout.isatty() else "utf-8"
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")
