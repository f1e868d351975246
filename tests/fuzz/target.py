"""One fuzz run: damaged bytes are read completely, or refused with the package's error."""

import json
import random
import re

from detrex_hub import checkpoints
from detrex_hub.checkpoints import pickle_machine
from detrex_hub.errors import CheckpointError
from tests.fuzz.mutations import mutated
from tests.fuzz.seeds import seeds

# a pickle of a few hundred bytes needs no more, and a run that uses it all ends quickly
_BUDGET = 4 << 20
_LONGEST_MESSAGE = 2000


def run(reader, runs, folder, *, seed=0):
    """Damage valid files `runs` times, the same way for the same seed.

    Returns:
        how many of them could still be read.
    """
    whole = seeds(reader, folder)
    path = folder / "fuzzed"
    read = 0
    budget, pickle_machine.BUDGET = pickle_machine.BUDGET, _BUDGET
    try:
        for number in range(seed, seed + runs):
            source = random.Random(number)
            data = mutated(source.choice(whole), whole, reader, source)
            path.write_bytes(data)
            try:
                # with checksums hardly any damaged index would be interpreted
                read += attempt(path, checksums=number % 4 == 0)
            except Exception as error:
                kept = folder / f"{reader}-{number}"
                kept.write_bytes(data)
                raise AssertionError(
                    f"{reader}, seed {number}: {error!r}; the file is {kept}"
                ) from error
    finally:
        pickle_machine.BUDGET = budget
    return read


def attempt(path, *, checksums):
    """Whether a file can be read. A refusal is one line, and plain values are JSON."""
    try:
        with checkpoints.open(path, checksums=checksums) as checkpoint:
            for key, spec in checkpoint.specs.items():
                given = sum(len(piece) for piece in checkpoint.chunks(key))
                assert given == spec.nbytes, key
                checkpoint.identity(key)
            said = [checkpoint.metadata, checkpoint.others, checkpoint.containers]
            json.dumps([said, checkpoint.placeholders]).encode()
            assert not re.search(r" object at 0x", str(said))
        return True
    except CheckpointError as error:
        assert str(error).isprintable(), str(error)
        assert len(str(error)) < _LONGEST_MESSAGE
        return False
