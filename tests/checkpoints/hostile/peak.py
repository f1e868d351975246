"""``python -m tests.checkpoints.hostile.peak FOLDER``: read each bomb in a process of its own, and
print as JSON what became of it and how many bytes of memory that took at most."""

import json
import os
import resource
import sys
from pathlib import Path

from detrex_hub import checkpoints
from detrex_hub.errors import CheckpointError
from tests.checkpoints.hostile.bombs import bombs

# ru_maxrss is in kilobytes but on macOS
_UNIT = 1 if sys.platform == "darwin" else 1024


def highest():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT


def became_of(path):
    try:
        with checkpoints.open(path) as checkpoint:
            for key in checkpoint.specs:
                checkpoint.read(key)
        return "read"
    except CheckpointError as error:
        return str(error)


def main(folder):
    path = folder / "bomb"
    for title, write in bombs().items():
        write(path)
        sys.stdout.flush()
        child = os.fork()
        if not child:
            before = highest()
            said = became_of(path)
            print(json.dumps([title, said, highest() - before]), flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0, title


if __name__ == "__main__":
    main(Path(sys.argv[1]))
