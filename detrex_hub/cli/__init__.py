"""The command line: every command makes one library call.

Data goes to stdout, progress and hints to stderr. The exit code is 0 for success, 1 for a refused
job, 2 for wrong usage, 130 after an interruption, and 143 after a termination.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

DEBUG_VARIABLE = "DETREX_HUB_DEBUG"


def main() -> None:
    """Run the command that the process was started with, and end the process."""
    from detrex_hub.cli.failures import INTERRUPTED, TERMINATED, end_in_order, run

    end_in_order()
    code = run(sys.argv[1:] or ["--help"])
    if code in (INTERRUPTED, TERMINATED) and threading.active_count() > 1:
        # the interpreter would wait for running threads, such as an upload
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code)
    sys.exit(code)
