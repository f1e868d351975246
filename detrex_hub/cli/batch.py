"""The output of `detrex-hub convert-and-push`, and the options that choose the names of a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from typer import BadParameter, Exit, Option

from detrex_hub.cli import hints, pushed
from detrex_hub.cli.batch_events import batch_events
from detrex_hub.cli.output import Output, human_size

if TYPE_CHECKING:
    from detrex_hub.originals.options import ConversionOptions
    from detrex_hub.publishing.events import Events
    from detrex_hub.publishing.hf_jobs import JobOptions
    from detrex_hub.publishing.outcomes import Forecast, Published
    from detrex_hub.repositories import PushOptions


@dataclass(frozen=True)
class Work:
    """The names to publish, and how."""

    names: list[str]
    conversion: ConversionOptions
    push: PushOptions
    machines: JobOptions | None = None


@dataclass(kw_only=True)
class JobsGroup:
    """Where to do the work."""

    jobs: Annotated[int, Option(metavar="N", min=1, help="Work on N names at once.")] = 1
    on_jobs: Annotated[
        bool, Option("--on-jobs", help="Run on Hugging Face Jobs and follow the logs.")
    ] = False
    flavor: Annotated[str, Option(metavar="NAME", help="Use this Hugging Face Jobs hardware.")] = (
        "cpu-basic"
    )
    shards: Annotated[
        int, Option(metavar="N", min=1, help="Split the names over N jobs on Hugging Face.")
    ] = 1

    @property
    def here(self) -> int | None:
        """The number of names that this machine works on at once."""
        return None if self.on_jobs else self.jobs

    def on(self, work: Work) -> Work:
        """The work with the machines for it.

        Raises:
            UsageError: an option names files of this machine, but other machines do the work.
        """
        if not self.on_jobs:
            return work
        from detrex_hub.publishing.hf_jobs import JobOptions, check_portable

        check_portable(work.conversion, work.push)
        machines = JobOptions(flavor=self.flavor, shards=self.shards, at_once=self.jobs)
        return replace(work, machines=machines)


@dataclass(kw_only=True)
class BatchGroup:
    """Which names to publish."""

    all: Annotated[bool, Option("--all", help="Convert and push the whole catalogue.")] = False
    only: Annotated[
        list[str] | None,
        Option(
            metavar="FAMILY",
            help="Take only this architecture or catalogue file. Repeatable.",
        ),
    ] = None
    but: Annotated[
        list[str] | None,
        Option("--except", metavar="NAME", help="Leave this name out. Repeatable."),
    ] = None
    retry_failed: Annotated[
        bool, Option("--retry-failed", help="Repeat what failed in the last batch.")
    ] = False

    def work(self, names: list[str], conversion: ConversionOptions, push: PushOptions) -> Work:
        """The names, and the options of their conversion and push.

        Raises:
            BadParameter: the options exclude each other.
            UsageError: there is no such family or name, or no batch to repeat.
        """
        chosen = self.all or bool(self.only)
        if sum((bool(names), chosen, self.retry_failed)) != 1:
            raise BadParameter("pass exactly one of: names, --all or --only, --retry-failed")
        if self.but and not chosen:
            raise BadParameter("--except needs --all or --only")
        if conversion.source is not None and len(names) != 1:
            raise BadParameter("--source takes exactly one name")
        if self.retry_failed:
            from detrex_hub.publishing.last_batch import what_failed

            last = what_failed(conversion, push)
            return Work([*last.failed], last.conversion, last.push)
        if chosen:
            from detrex_hub.publishing.selection import select

            names = select(
                families=self.only or (),
                but=self.but or (),
                extra_catalogues=conversion.extra_catalogues,
            )
        return Work(names, conversion, push)


def publish(forecasts: list[Forecast], work: Work, jobs: int, out: Output) -> None:
    """Do what was forecast, and print the outcome of each name.

    Raises:
        DetrexHubError: there is only one name, and it was refused or failed.
        Exit: of several names, some were refused or failed.
    """
    if not forecasts:
        out.hint("nothing to do: no name is left, or nothing failed in the last batch")
    if len(forecasts) > 1:
        for line in (*_table(forecasts, out), _totals(forecasts)):
            out.hint(line)
    done: list[Published] = []
    try:
        with batch_events(out) as events:
            for published in _outcomes(forecasts, work, jobs, events):
                done.append(published)
    finally:
        # finished work is shown after an interruption too
        _show(done, forecasts, out)
    _raise([one.error for one in done], len(forecasts))


def _outcomes(
    forecasts: list[Forecast], work: Work, jobs: int, events: Events
) -> Iterator[Published]:
    """Do the work here, or on Hugging Face Jobs."""
    if work.machines is None:
        from detrex_hub.publishing.batch import publish_all

        return publish_all(forecasts, work.conversion, work.push, jobs=jobs, events=events)
    from detrex_hub.publishing.hf_jobs import publish_on_jobs

    return publish_on_jobs(forecasts, work.conversion, work.push, work.machines, events=events)


def show_forecasts(forecasts: list[Forecast], out: Output) -> None:
    """Print the forecasts.

    Raises:
        DetrexHubError: there is only one name, and it is refused.
        Exit: of several names, some are refused.
    """
    if len(forecasts) != 1 or forecasts[0].refusal is None:
        urls = [one.url for one in forecasts if one.url and one.refusal is None]
        out.show([one.to_json() for one in forecasts], _table(forecasts, out), bare=urls)
        out.hint(_totals(forecasts))
    _raise([one.refusal for one in forecasts], len(forecasts))


def _raise(errors: Sequence[Exception | None], names: int) -> None:
    found = [error for error in errors if error is not None]
    if found:
        raise found[0] if names == 1 else Exit(1)


def _table(forecasts: list[Forecast], out: Output) -> list[str]:
    """One row for each name."""
    rows = [
        (
            one.name,
            one.status,
            human_size(one.size) if one.size else "",
            one.reason or one.url or "",
        )
        for one in forecasts
    ]
    return [*out.table(("NAME", "STATUS", "SIZE", "WHERE, OR WHY"), rows)]


def _totals(forecasts: list[Forecast]) -> str:
    counts = Counter(one.status for one in forecasts)
    said = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    size = sum(one.size for one in forecasts if one.is_work)
    return f"{len(forecasts)} names: {said or 'nothing to do'}; {human_size(size)} to convert"


def _show(done: list[Published], forecasts: list[Forecast], out: Output) -> None:
    """Print the outcomes, in the order of the command line. If there is only one name and it was
    refused, its error says so instead."""
    order = {one.name: number for number, one in enumerate(forecasts)}
    done.sort(key=lambda one: order[one.name])
    if len(done) == 1 == len(forecasts) and done[0].error is not None:
        return
    if forecasts and not done:
        return
    for one in done:
        for line in hints.of_push(one.result):
            out.hint(line)
    result = done[0].result if done else None
    rows = [(one.name, one.status, str(one.error) if one.error else one.url or "") for one in done]
    out.show(
        [one.to_json() for one in done],
        pushed.lines(result)
        if result and len(forecasts) == 1
        else out.table(("NAME", "STATUS", "WHERE, OR WHY"), rows),
        bare=[one.url for one in done if one.url],
    )
