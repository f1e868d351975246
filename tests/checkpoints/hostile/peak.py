"""``python -m tests.checkpoints.hostile.peak FOLDER``: read each bomb in a separate process, and
print as JSON the outcome, the peak memory in bytes, the processor time in seconds, and the size of
the file."""

import json
import os
import resource
import sys
from pathlib import Path

from detrex_hub import checkpoints
from detrex_hub.errors import CheckpointError
from tests.checkpoints.hostile.amplifiers import amplifiers
from tests.checkpoints.hostile.bombs import bombs

# ru_maxrss is in kilobytes, except on macOS
_UNIT = 1 if sys.platform == "darwin" else 1024
# seconds of processor time: far more than any file needs, and far less than an attack needs
_LONGEST = 60


def used():
    """Peak memory in bytes, and processor time in seconds, of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_maxrss * _UNIT, usage.ru_utime + usage.ru_stime


def became_of(path):
    try:
        with checkpoints.open(path) as checkpoint:
            for key in checkpoint.specs:
                checkpoint.read(key)
        return "read"
    except CheckpointError as error:
        return str(error)


def apart(work, *arguments):
    """Call a function in a separate process, so that this process stays small."""
    child = os.fork()
    if not child:
        try:
            work(*arguments)
            sys.stdout.flush()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status:
        sys.exit(f"{arguments}: ended with status {status}")


def report(title, path):
    # a signal ends a process that never finishes
    resource.setrlimit(resource.RLIMIT_CPU, (_LONGEST, _LONGEST))
    memory, seconds = used()
    said = became_of(path)
    memory_then, seconds_then = used()
    found = [title, said, memory_then - memory, seconds_then - seconds, path.stat().st_size]
    print(json.dumps(found))


def write(folder):
    files = bombs() | amplifiers()
    for number, make in enumerate(files.values()):
        make(folder / str(number))
    (folder / "titles").write_text(json.dumps([*files]))


def main(folder):
    apart(write, folder)
    for number, title in enumerate(json.loads((folder / "titles").read_text())):
        apart(report, title, folder / str(number))
        (folder / str(number)).unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
