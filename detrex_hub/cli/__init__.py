"""The command line: every command is a thin skin over one library call.

Data goes to stdout, progress and hints to stderr. Exit code 0, 1 for a refused job, 2 for wrong
usage, 130 when interrupted, 143 when terminated.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from contextlib import suppress

DEBUG_VARIABLE = "DETREX_HUB_DEBUG"


def main() -> None:
    """Run the command that the process was started with, and end the process."""
    from detrex_hub.cli.failures import INTERRUPTED, TERMINATED, end_in_order, run

    # what is imported stays: to look for garbage in it again and again is 3 % of a conversion
    gc.set_threshold(50_000, 20, 100)
    # what hashes and compares needs the interpreter for moments: it would wait longer than it works
    sys.setswitchinterval(0.0005)
    end_in_order()
    code = run(sys.argv[1:] or ["--help"])
    if code in (INTERRUPTED, TERMINATED) and threading.active_count() > 1:
        # whatever still runs, such as an upload, would be waited for
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code)
    # the interpreter's last search for garbage would walk through all that the system takes back
    gc.freeze()
    sys.exit(code)
