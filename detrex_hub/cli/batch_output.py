"""The output of `detrex-hub convert-and-push`: forecasts before the work, outcomes after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from typer import Exit

from detrex_hub.cli import hints
from detrex_hub.cli.batch_events import batch_events
from detrex_hub.cli.output import Output, human_size
from detrex_hub.cli.push_lines import push_lines

if TYPE_CHECKING:
    from detrex_hub.cli.batch_groups import Work
    from detrex_hub.publishing.events import Events
    from detrex_hub.publishing.outcomes import Forecast, Published


def publish_and_show(forecasts: list[Forecast], work: Work, jobs: int, out: Output) -> None:
    """Do what was forecast, and print the outcome of each name.

    Raises:
        DetrexHubError: there is only one name, and it was refused or failed.
        Exit: of several names, some were refused or failed.
    """
    if not forecasts:
        out.hint("nothing to do: no name is left, or nothing failed in the last batch")
    if len(forecasts) > 1:
        for line in _table(forecasts, out):
            out.hint(line)
        out.event(_totals(forecasts))
    done: list[Published] = []
    try:
        with batch_events(out, len(forecasts)) as events:
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
    names = "1 name" if len(forecasts) == 1 else f"{len(forecasts)} names"
    return f"{names}: {said or 'nothing to do'}; {human_size(size)} to convert"


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
        push_lines(result)
        if result and len(forecasts) == 1
        else out.table(("NAME", "STATUS", "WHERE, OR WHY"), rows),
        bare=[one.url for one in done if one.url],
    )
