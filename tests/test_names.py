"""Two things do not share a name if they mean different things."""

from collections import Counter
from pathlib import Path

import detrex_hub
from detrex_hub.cli.app import COMMANDS

ROOT = Path(detrex_hub.__file__).parent

SHARED_MODULES = {
    "__init__",
    "__main__",
    "safetensors",  # one format: a reader, and a writer
}


def named_after_its_subject(path):
    """A command, or the numbers of one architecture."""
    if path.parts[0] == "cli":
        return path.stem.replace("_", "-") in COMMANDS
    return path.parts[0] == "numerics" and (ROOT / "architectures" / path.name).exists()


def test_two_modules_do_not_share_a_name():
    paths = [path.relative_to(ROOT) for path in ROOT.rglob("*.py")]
    paths = [path for path in paths if not named_after_its_subject(path)]
    packages = [path.parent.name for path in paths if path.name == "__init__.py"]
    counts = Counter([*(path.stem for path in paths), *packages])
    assert {name for name, count in counts.items() if count > 1} <= SHARED_MODULES
