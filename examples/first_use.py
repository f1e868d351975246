"""`from_hub` by name with an empty cache and an empty Hub.

An empty Hub and a mirror with the original run on 127.0.0.1. The original has SYNTHETIC numbers:
they are seeded, and have the shapes of the real file. A user's catalogue file gives its address.
"""

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from detrex_hub import catalogue, checkpoints
from detrex_hub.catalogue.models import layout_of, model_of
from detrex_hub.seeded import SyntheticCheckpoint

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.hub_server import LoopbackHub, Mirror

NAME = "r101_v2"
ENTRY = """
[weights.{name}]
architecture = "resnet"
layout = "torchvision"
title = "ResNet-101, SYNTHETIC numbers"
license = "bsd-3-clause"
url = "{url}"
hyper_parameters = {{ depth = 101 }}
facts = {{ image_format = "RGB" }}
"""


def original(path: Path) -> bytes:
    """The content of an original in seeded numbers."""
    entry = catalogue.find_entry(NAME)
    specs, same_as = model_of(entry).original(layout_of(entry))
    numbers = SyntheticCheckpoint(specs, same_as)
    tensors = [
        checkpoints.Tensor(key, spec, partial(numbers.chunks, key)) for key, spec in specs.items()
    ]
    checkpoints.write(path, "pth", tensors, bare=True)
    return path.read_bytes()


def say(*command: str, **environment: str) -> None:
    print(f"\n\033[1m$ {' '.join(command)}\033[0m", flush=True)
    subprocess.run(command, env={**os.environ, **environment}, check=True)  # noqa: S603


def main() -> None:
    load = ("python", "examples/load.py", NAME)
    with tempfile.TemporaryDirectory() as folder, LoopbackHub() as hub, Mirror() as mirror:
        mine = Path(folder) / "mine.toml"
        url = mirror.add("resnet101.pth", original(Path(folder) / "resnet101.pth"))
        mine.write_text(ENTRY.format(name=NAME, url=url))
        environment = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(Path(folder) / "hf-home"),
            "DETREX_HUB_CATALOGUE": str(mine),
            "NO_PROXY": "127.0.0.1",
        }
        say(*load, **environment)
        print("\nAgain, from the cache:")
        say(*load, **environment)
        say("detrex-hub", "cache", **environment)


if __name__ == "__main__":
    main()
