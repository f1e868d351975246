"""An unpublished name, from an empty cache to a checkpoint that detectron2 reads.

The Hub and the server of the originals run on 127.0.0.1. A second name of the same file is
published on this Hub, and the first name is not.
"""

from __future__ import annotations

import hashlib
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks import files
from benchmarks.jobs import Measurements, clear, hub, peer
from benchmarks.measuring import Command, measure, measure_all

SCRIPT = "curl + the tutorial's script"
FIRST_USE = "from_hub, first use"
CACHED, PUBLISHED = "from_hub, cached", "from_hub, cached and published"

_UNPUBLISHED, _PUBLISHED = "bench_converted_here", "bench_published"
_ENTRY = """
[weights.{name}]
architecture = "resnet"
layout = "torchvision"
title = "A ResNet-{depth} of seeded numbers"
license = "bsd-3-clause"
url = "{url}"
sha256 = "{sha256}"
hyper_parameters = {{ depth = {depth} }}
facts = {{ image_format = "RGB" }}
"""


def first_uses(folder: Path, runs: int, depth: int) -> Measurements:
    """Measure the first use of a name and its peers: the download alone, the usual script. Then
    measure cached loads, of a published and of an unpublished name."""
    source = files.made("resnet", folder / f"resnet{depth}.pth", depth)
    home, fetched, single = folder / "hf-home", folder / "fetched.pth", folder / "out.pkl"
    with source.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    with _servers(source.parent) as (url, endpoint, token):
        address = f"{url}/{source.name}"
        names = folder / "bench.toml"
        names.write_text(
            "".join(
                _ENTRY.format(name=name, depth=depth, url=address, sha256=sha256)
                for name in (_UNPUBLISHED, _PUBLISHED)
            )
        )
        environment = {
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_TOKEN": token,
            "DETREX_HUB_CATALOGUE": str(names),
            "NO_PROXY": "127.0.0.1",
        }
        target = f"detrex/{_PUBLISHED}"
        made = folder / "made"
        measure(hub("convert", source, "-o", made, "--quiet", before=lambda: clear(made)))
        push = ("push", made, target, "--license", "bsd-3-clause", "--quiet")
        measure(hub(*push, env=environment))
        script = (sys.executable, "-m", "benchmarks.peers", "tutorial", fetched, single)
        by_hand = (
            f"curl -sfo {shlex.quote(str(fetched))} {address} && {shlex.join(map(str, script))}"
        )
        found = measure_all(
            {
                SCRIPT: Command(("sh", "-c", by_hand), before=lambda: clear(fetched, single)),
                FIRST_USE: peer(
                    "from_hub", _UNPUBLISHED, before=lambda: clear(home), env=environment
                ),
                CACHED: peer("from_hub", _UNPUBLISHED, env=environment),
                f"{PUBLISHED}, first": peer("from_hub", target, env=environment),
                PUBLISHED: peer("from_hub", target, env=environment),
                "its imports alone": peer("import_loading"),
            },
            runs=runs,
        )
    clear(home, fetched, single, made, names)
    return found


@contextmanager
def _servers(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Start a plain file server and the tests' Hub in another process, because a process inherits
    the peak memory of the one that starts it. Yields their addresses, and a token for the Hub."""
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_serve, args=(folder, theirs), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def _serve(folder: Path, connection: Connection) -> None:
    from tests.hub_server import LoopbackHub

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return None

    files_of = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    with LoopbackHub() as loopback:
        token = loopback.token("alice", "write", organizations=("detrex",))
        connection.send((f"http://127.0.0.1:{files_of.server_port}", loopback.url, token))
        files_of.serve_forever()
