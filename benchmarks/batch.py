"""Publish the whole catalogue to a Hub on 127.0.0.1, and count what that costs.

``python -m benchmarks.batch --jobs 1 2 --interrupt 3 --shards 4`` runs ``detrex-hub
convert-and-push --all --synthetic``: with one job, with two, with two and three interruptions, and
as four jobs of the Hub, which are processes of this machine. Each starts with an empty Hub and an
empty cache, and runs a second time, when nothing is left to do. Names limit it to those weights.

The Hub is a process of its own. It keeps the newest weights only, up to 10 GB, since the 117 GB of
the catalogue fit neither memory nor disk. With ``--originals``, each name has an original on
127.0.0.1: a safetensors file with the original's keys, whose numbers are made while it is sent.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.jobs import clear

NAMESPACE = "detrex"
_PART = 64 * 2**20
_MAXRSS = 1 if sys.platform == "darwin" else 1024
# seconds between two looks at the disk
_EVERY = 0.2


@dataclass(frozen=True)
class Count:
    """The counts of the Hub: commits of each repository, bytes of large files that arrived,
    downloads of originals, and the peak memory of its jobs in bytes."""

    commits: Counter[str]
    sent: int
    downloads: int
    jobs_peak: int

    def since(self, before: Count) -> Count:
        return Count(
            self.commits - before.commits,
            self.sent - before.sent,
            self.downloads - before.downloads,
            self.jobs_peak,
        )


@dataclass(frozen=True)
class Cost:
    """The cost of a command: seconds of wall time and of all cores' work, the peaks of its memory
    and of the disk in bytes; its exit code and the rows that it printed."""

    seconds: float
    cpu: float
    memory: int
    disk: int
    code: int
    rows: dict[str, str] = field(repr=False)


class Hub:
    """The Hub's process, and the commands that talk to it.

    Args:
        folder: for everything that is written; ``work`` in it is for what the commands write.
        originals: names whose originals it serves.
    """

    def __init__(self, folder: Path, originals: Sequence[str]) -> None:
        self._connection, theirs = get_context("spawn").Pipe()
        self._process = get_context("spawn").Process(
            target=_serve, args=(folder, originals, theirs), daemon=True
        )
        self._process.start()
        self._folder = folder / "work"
        self.environment: dict[str, str] = self._connection.recv()

    def close(self) -> None:
        self._connection.send(None)
        self._process.join()

    def count(self) -> Count:
        self._connection.send("count")
        found: Count = self._connection.recv()
        return found

    def run(self, *arguments: str, stop: Callable[[], bool] = lambda: False) -> Cost:
        """Run `detrex-hub convert-and-push`, and interrupt it when ``stop`` says so."""
        environment = {**os.environ, **self.environment}
        for name in ("HF_HUB_CACHE", "HF_ASSETS_CACHE", "HF_XET_CACHE"):
            environment.pop(name, None)
        start, stopped = time.perf_counter(), False
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "detrex_hub", "convert-and-push", *arguments],
                env=environment,
                stdout=output,
                # Python in the background of a shell ignores interruptions
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
            ended = threading.Event()
            disk = _Disk(self._folder, ended)
            disk.start()
            while (found := os.wait4(process.pid, os.WNOHANG))[0] == 0:
                if not stopped and stop():
                    process.send_signal(signal.SIGINT)
                    stopped = True
                time.sleep(_EVERY / 4)
            seconds = time.perf_counter() - start
            _, status, usage = found
            process.returncode = os.waitstatus_to_exitcode(status)
            ended.set()
            disk.join()
            output.seek(0)
            rows = [line.split("\t") for line in output.read().decode().splitlines()]
        return Cost(
            seconds,
            usage.ru_utime + usage.ru_stime,
            usage.ru_maxrss * _MAXRSS,
            disk.peak,
            process.returncode,
            # of a single name, other lines are printed
            {row[0]: row[1] for row in rows if len(row) == 3},
        )


class _Disk(threading.Thread):
    """Samples the bytes of all files in a folder."""

    def __init__(self, folder: Path, ended: threading.Event) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self._ended = ended
        self.peak = 0

    def run(self) -> None:
        while not self._ended.wait(_EVERY):
            self.peak = max(self.peak, _bytes_in(self._folder))


def _bytes_in(folder: Path) -> int:
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            # the command may remove it
            with suppress(OSError):
                total += Path(place, name).lstat().st_size
    return total


@contextmanager
def fresh_hub(folder: Path, originals: Sequence[str]) -> Iterator[Hub]:
    """An empty Hub and an empty cache."""
    clear(folder)
    for part in ("work", "storage"):
        (folder / part).mkdir(parents=True)
    hub = Hub(folder, originals)
    try:
        yield hub
    finally:
        hub.close()
        clear(folder)


def _serve(folder: Path, originals: Sequence[str], connection: Connection) -> None:
    # interruptions are for the command alone
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    temporary = folder / "work" / "tmp"
    temporary.mkdir()
    tempfile.tempdir = str(temporary)
    from benchmarks.originals import Originals, catalogue_of
    from tests.hub_server import LoopbackHub
    from tests.hub_server.spooled import SpooledStorage

    storage = SpooledStorage(folder / "storage")
    with LoopbackHub(storage) as hub, Originals(originals) as mirror:
        hub.part_size = _PART
        token = hub.token("alice", "write", organizations=(NAMESPACE,))
        environment = {
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "TMPDIR": str(temporary),
        }
        if originals:
            names = folder / "originals.toml"
            names.write_text(catalogue_of(originals, mirror.url))
            environment["DETREX_HUB_CATALOGUE"] = str(names)
        os.environ.update(environment)
        hub.jobs.environment.update(environment)
        home = str(folder / "work" / "home")
        connection.send({**environment, "HF_HOME": home, "HF_TOKEN": token})
        while connection.recv() is not None:
            commits = {name: len(hub.commits(name)) for name in [*hub.repositories]}
            downloads = sum(one.headers.get("Range") != "bytes=0-0" for one in mirror.seen("GET"))
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * _MAXRSS
            connection.send(Count(Counter(commits), storage.taken, downloads, peak))


class Batches:
    """Publishes names in several ways, and collects a row of figures for each.

    Args:
        folder: for everything that is written; it is emptied.
        names: of the catalogue.
        originals: whether originals are downloaded.
    """

    def __init__(self, folder: Path, names: Sequence[str], *, originals: bool) -> None:
        self._folder = folder
        self._names = names
        self._originals = names if originals else ()
        self._arguments = [*names, "--namespace", NAMESPACE]
        if not originals:
            self._arguments += ["--synthetic", "--allow-synthetic"]
        self.rows: list[tuple[str, ...]] = []
        self.problems: list[str] = []

    def plain(self, jobs: int) -> None:
        """From an empty Hub, and again."""
        with fresh_hub(self._folder, self._originals) as hub:
            self._first(hub, f"`--jobs {jobs}`", "--jobs", str(jobs))
            self._again(hub, "--jobs", str(jobs))

    def shards(self, count: int) -> None:
        """As jobs of the Hub, and again."""
        options = ("--on-jobs", "--shards", str(count))
        with fresh_hub(self._folder, self._originals) as hub:
            self._first(hub, f"`--on-jobs --shards {count}`", *options)
            self._again(hub, *options)

    def interrupted(self, times: int, jobs: int, size: int) -> None:
        """Interrupted at equal parts of the work, then finished.

        Args:
            times: how often.
            jobs: how many names at once.
            size: bytes of all results.
        """
        label = f"`--jobs {jobs}`, interrupted"
        with fresh_hub(self._folder, self._originals) as hub:
            before = hub.count()
            for turn in range(1, times + 1):
                share = size * turn // (times + 1)
                cost = hub.run(
                    *self._arguments,
                    *("--jobs", str(jobs)),
                    stop=lambda share=share: hub.count().sent >= share,
                )
                after = hub.count()
                self._row(f"{label}, run {turn}", cost, after.since(before))
                if cost.code != 130:
                    self._problem(label, f"exit code {cost.code} instead of 130")
                before = after
            cost = hub.run(*self._arguments, "--jobs", str(jobs))
            self._row(f"{label}, finished", cost, hub.count().since(before))
            self._check(label, cost, hub.count())

    def _first(self, hub: Hub, label: str, *options: str) -> None:
        cost = hub.run(*self._arguments, *options)
        count = hub.count()
        self._row(label, cost, count)
        self._check(label, cost, count)

    def _again(self, hub: Hub, *options: str) -> None:
        before = hub.count()
        cost = hub.run(*self._arguments, *options)
        count = hub.count().since(before)
        self._row("again", cost, count)
        if cost.code or set(cost.rows.values()) - {"unchanged"} or count.commits or count.sent:
            self._problem("again", f"not everything is unchanged: {Counter(cost.rows.values())}")

    def _check(self, label: str, cost: Cost, count: Count) -> None:
        """Each name has been published once."""
        wrong = {name: status for name, status in cost.rows.items() if status == "failed"}
        if cost.code or wrong:
            self._problem(label, f"exit code {cost.code}; failed: {', '.join(wrong) or 'none'}")
        expected = Counter(f"{NAMESPACE}/{name}" for name in self._names)
        if count.commits != expected:
            differ = {**(count.commits - expected), **(expected - count.commits)}
            self._problem(label, f"not one commit for each name: {', '.join(differ)}")

    def _row(self, label: str, cost: Cost, count: Count) -> None:
        jobs = "--on-jobs" in label
        self.rows.append(
            (
                label,
                f"{cost.seconds:.0f} s",
                "" if jobs else f"{cost.cpu:.0f} s",
                f"{(count.jobs_peak if jobs else cost.memory) / 2**20:.0f} MiB",
                f"{cost.disk / 1e6:.0f} MB",
                f"{count.downloads}",
                f"{count.commits.total()}",
                f"{count.sent / 1e9:.1f} GB",
            )
        )
        print(_line(self.rows[-1]), file=sys.stderr, flush=True)

    def _problem(self, label: str, what: str) -> None:
        self.problems.append(f"{label}: {what}")
        print(self.problems[-1], file=sys.stderr, flush=True)


_HEAD = ("run", "time", "CPU", "peak memory", "peak disk", "downloads", "commits", "sent")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _chosen(names: Sequence[str], families: Sequence[str]) -> dict[str, int]:
    """The names to publish, with the bytes of their tensors."""
    from detrex_hub import catalogue
    from detrex_hub.catalogue.models import layout_of, model_of
    from detrex_hub.publishing.batch_names import select

    entries = [catalogue.find_entry(one) for one in names or select(families=families)]
    return {
        one.name: sum(spec.nbytes for spec in model_of(one).original(layout_of(one))[0].values())
        for one in entries
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch", description=__doc__)
    parser.add_argument("names", nargs="*", help="only these weights; the catalogue by default")
    parser.add_argument("--only", action="append", metavar="FAMILY", help="only a family")
    parser.add_argument("--jobs", type=int, nargs="*", default=[], help="names at once")
    parser.add_argument("--interrupt", type=int, metavar="TIMES", help="interrupt and continue")
    parser.add_argument("--shards", type=int, metavar="N", help="as N jobs of the Hub")
    parser.add_argument("--originals", action="store_true", help="download originals")
    parser.add_argument("--folder", type=Path, help="where to write; emptied")
    options = parser.parse_args()
    sizes = _chosen(options.names, options.only or ())
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)) / "batch"
        batches = Batches(folder, [*sizes], originals=options.originals)
        runs = options.jobs or ([] if options.interrupt or options.shards else [1])
        for jobs in runs:
            batches.plain(jobs)
        if options.interrupt:
            batches.interrupted(options.interrupt, max(options.jobs or [2]), sum(sizes.values()))
        if options.shards:
            batches.shards(options.shards)
    print(f"{len(sizes)} names with {sum(sizes.values()) / 1e9:.1f} GB of tensors:\n")
    print(_line(_HEAD), _line(["---", *["---:"] * (len(_HEAD) - 1)]), sep="\n")
    for row in batches.rows:
        print(_line(row))
    print(*batches.problems, sep="\n")
    return 1 if batches.problems else 0


if __name__ == "__main__":
    sys.exit(main())
