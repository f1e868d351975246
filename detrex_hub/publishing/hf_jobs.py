"""Publish on Hugging Face Jobs: several remote machines, each with a share of the names.

Each job installs this version of detrex-hub, and runs `convert-and-push` for its names. Repeated
pushes are harmless, so the jobs are independent. The rows of a job's log are its output.
"""

from __future__ import annotations

import logging
import queue
import re
import threading
from collections.abc import Iterator, Sequence

from msgspec import Struct, field

from detrex_hub import __version__, kinds
from detrex_hub.errors import DetrexHubError, HubError, UsageError
from detrex_hub.originals.conversion_options import ConversionOptions
from detrex_hub.publishing.batch import with_collection, without_work
from detrex_hub.publishing.events import Events
from detrex_hub.publishing.last_batch import Memory
from detrex_hub.publishing.outcomes import Forecast, Published, Status
from detrex_hub.repositories import PushOptions
from detrex_hub.repositories.client import hub_api, require_token
from detrex_hub.repositories.refusals import plainly

log = logging.getLogger(__name__)

# has uv, which installs detrex-hub
_IMAGE = "ghcr.io/astral-sh/uv:python3.12-bookworm"
# the default would end a job after half an hour
_TIMEOUT = "24h"
_STATUSES: tuple[Status, ...] = ("new", "changed", "unchanged", "refused", "failed")
# the output of the command for a single name
_ALONE = re.compile(r"(created|pushed|unchanged|pull request): (\S+)")
_OF_ALONE: dict[str, Status] = {
    "created": "new",
    "pushed": "changed",
    "unchanged": "unchanged",
    "pull request": "changed",
}


class JobOptions(Struct, frozen=True, kw_only=True):
    """The machines to use.

    Attributes:
        flavor: the hardware of each, such as ``cpu-basic``.
        shards: the number of jobs.
        at_once: the number of names that each job works on at once.
    """

    flavor: str = "cpu-basic"
    shards: int = 1
    at_once: int = 1


class _Shard(Struct, kw_only=True):
    """One job: its names, and their outcomes in its log."""

    number: int
    forecasts: list[Forecast]
    id: str | None = None
    rows: dict[str, tuple[Status, str]] = field(default_factory=dict)
    error: str | None = None
    failure: str | None = None

    def read(self, line: str) -> None:
        """Read a line of the log."""
        cells = line.split("\t")
        names = {one.name for one in self.forecasts}
        if len(cells) == 3 and cells[0] in names and cells[1] in _STATUSES:
            self.rows[cells[0]] = (_STATUSES[_STATUSES.index(cells[1])], cells[2])
        elif line.startswith("Error: "):
            self.error = line.removeprefix("Error: ")
        elif len(names) == 1 and (found := _ALONE.fullmatch(line)):
            self.rows[self.forecasts[0].name] = (_OF_ALONE[found[1]], found[2])

    def outcomes(self) -> Iterator[Published]:
        """The results of its names. A name that the log does not mention has failed."""
        for one in self.forecasts:
            status, said = self.rows.get(one.name, (None, ""))
            if status is None:
                reason = (
                    self.error or self.failure or f"the log of job {self.id} does not mention it"
                )
                yield Published(name=one.name, status="failed", error=DetrexHubError(reason))
            elif status in ("refused", "failed"):
                yield Published(name=one.name, status=status, error=DetrexHubError(said))
            else:
                yield Published(name=one.name, status=status, url=said)

    def submit(self, command: list[str], flavor: str, namespace: str | None) -> None:
        """Start the job. The token is its secret."""
        from huggingface_hub import constants, get_token

        own = constants.HUGGINGFACE_CO_URL_HOME.rstrip("/") != constants.ENDPOINT
        try:
            with plainly("Hugging Face Jobs", writing=True):
                self.id = (
                    hub_api()
                    .run_job(
                        image=_IMAGE,
                        command=command,
                        env={"HF_ENDPOINT": constants.ENDPOINT} if own else {},
                        secrets={"HF_TOKEN": get_token()},
                        flavor=flavor,
                        timeout=_TIMEOUT,
                        namespace=namespace,
                    )
                    .id
                )
        except HubError as error:
            self.failure = str(error)


def publish_on_jobs(
    forecasts: Sequence[Forecast],
    conversion: ConversionOptions,
    push: PushOptions,
    jobs: JobOptions,
    *,
    events: Events,
) -> Iterator[Published]:
    """Publish the names for which a `preflight` found work on Hugging Face Jobs.

    The token is passed as a secret of the job. Logs are followed, and each line has the number of
    its job. After an interruption the jobs continue, and a message says how to cancel them.

    Args:
        forecasts: of the names.
        conversion, push: the options that the forecasts were made with.
        jobs: the machines to use.
        events: receives the events.

    Yields:
        the outcome of each name; those of a job when it ends.

    Raises:
        UsageError: an option has no meaning on another machine.
        HubError: there is no token.
    """
    check_portable(conversion, push)
    require_token("the Hub")
    memory = Memory(conversion, push)
    push = with_collection(forecasts, push)
    events.planned(forecasts)
    for done in (without_work(one, push) for one in forecasts if not one.is_work):
        memory.finished(done)
        yield done
    work = [one for one in forecasts if one.is_work]
    if not work:
        return
    namespace = work[0].repo_id.partition("/")[0] if work[0].repo_id else None
    shares = cut(work, jobs.shards)
    shards = [_Shard(number=number, forecasts=share) for number, share in enumerate(shares, 1)]
    for shard in shards:
        line = command(
            [one.name for one in shard.forecasts],
            conversion,
            push,
            namespace=namespace,
            at_once=jobs.at_once,
        )
        shard.submit(line, jobs.flavor, namespace)
    try:
        for done in _Shards(shards, namespace, events).results():
            memory.finished(done)
            events.finished(done)
            yield done
    except BaseException:
        ids = [shard.id for shard in shards if shard.id]
        log.warning("the jobs go on; cancel them with: hf jobs cancel %s", " ".join(ids))
        raise


def cut(forecasts: Sequence[Forecast], shards: int) -> list[list[Forecast]]:
    """Divide names into shares with about the same number of bytes.

    Args:
        forecasts: with the sizes of the originals, in bytes.
        shards: the largest number of shares. No share is empty.

    Example:
        >>> sizes = {"a": 5, "b": 4, "c": 1}
        >>> names = [Forecast(name=name, status="new", size=size) for name, size in sizes.items()]
        >>> [[one.name for one in share] for share in cut(names, 2)]
        [['a'], ['b', 'c']]
    """
    shares: list[list[Forecast]] = [[] for _ in range(min(shards, len(forecasts)))]
    sizes = [0] * len(shares)
    for one in sorted(forecasts, key=lambda one: -one.size):
        least = sizes.index(min(sizes))
        shares[least].append(one)
        # a name without a known size counts too
        sizes[least] += max(one.size, 1)
    return shares


def check_portable(conversion: ConversionOptions, push: PushOptions) -> None:
    """Refuse options that have a meaning only on this machine.

    Raises:
        UsageError: there is such an option.
    """
    wrong = {
        "--to": push.to,
        "--catalogue": conversion.extra_catalogues,
        "--source": conversion.source,
        "--sign-key": push.sign_key,
    }
    for option, value in wrong.items():
        if value:
            raise UsageError(
                f"{option} names files of this machine, which a remote job cannot read",
                hint=f"Leave out {option} or --on-jobs",
            )


def command(
    names: Sequence[str],
    conversion: ConversionOptions,
    push: PushOptions,
    *,
    namespace: str | None,
    at_once: int,
) -> list[str]:
    """The command line of a job."""
    flags = {
        "--private": push.private,
        "--create-pr": push.create_pr,
        "--allow-synthetic": push.allow_synthetic,
        "--synthetic": conversion.synthetic,
    }
    values = {
        "--namespace": namespace,
        "--collection": push.collection,
        "--message": push.message,
        "--license": push.license,
        "--jobs": str(at_once),
    }
    return [
        *("uv", "tool", "run", "--from", f"detrex-hub[drive]=={__version__}"),
        *("detrex-hub", "convert-and-push", *names),
        *(text for option, value in values.items() if value for text in (option, value)),
        *(option for option, given in flags.items() if given),
        *(
            text
            for name, value in conversion.facts.items()
            for text in ("--fact", f"{name}={kinds.text(value)}")
        ),
    ]


class _Shards:
    """Remote jobs, and their arriving results."""

    def __init__(self, shards: Sequence[_Shard], namespace: str | None, events: Events) -> None:
        self._shards = shards
        self._namespace = namespace
        self._events = events
        # a line of a log, or None from a job that has ended
        self._arrived: queue.SimpleQueue[tuple[_Shard, str | None]] = queue.SimpleQueue()

    def results(self) -> Iterator[Published]:
        """The results for the names of each job, when the job ends."""
        for shard in self._shards:
            # an interruption does not wait for logs
            threading.Thread(target=self._follow, args=(shard,), daemon=True).start()
        running = len(self._shards)
        while running:
            shard, line = self._arrived.get()
            if line is None:
                running -= 1
                yield from shard.outcomes()
                continue
            shard.read(line)
            self._events.logged(f"[job {shard.number}/{len(self._shards)}] {line}")

    def _follow(self, shard: _Shard) -> None:
        try:
            with plainly(f"job {shard.id}", writing=False):
                self._follow_to_end(shard)
        except Exception as error:
            shard.failure = str(error)
        finally:
            self._arrived.put((shard, None))

    def _follow_to_end(self, shard: _Shard) -> None:
        if shard.id is None:
            return
        where: dict[str, str | None] = {"job_id": shard.id, "namespace": self._namespace}
        for text in hub_api().fetch_job_logs(follow=True, **where):  # type: ignore[arg-type]
            for line in text.splitlines():
                self._arrived.put((shard, line))
        status = hub_api().inspect_job(**where).status  # type: ignore[arg-type]
        if status.stage != "COMPLETED":
            why = f": {status.message}" if status.message else ""
            shard.failure = f"job {shard.id} ended as {status.stage}{why}"
