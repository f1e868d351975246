"""`detrex-hub convert-and-push`"""

from __future__ import annotations

from detrex_hub.cli import hints, options
from detrex_hub.cli.batch_groups import BatchGroup, JobsGroup
from detrex_hub.cli.batch_output import publish_and_show, show_forecasts
from detrex_hub.cli.groups import ConversionGroup, PushGroup
from detrex_hub.cli.output import Output

EXAMPLES = (
    "detrex-hub convert-and-push r101_v2",
    "detrex-hub convert-and-push r50_v1 r101_v1 --to ./hub",
    "detrex-hub convert-and-push --all --dry-run",
    "detrex-hub convert-and-push --all --jobs 4 --namespace detrex",
    "detrex-hub convert-and-push --only resnet --except r50_v1",
    "detrex-hub convert-and-push --retry-failed",
    "detrex-hub convert-and-push --all --on-jobs --shards 4 --namespace detrex",
    "detrex-hub convert-and-push r101_v2 --to ./hub --synthetic",
)


def command(
    out: Output,
    names: options.Names = None,
    *,
    batch: BatchGroup,
    jobs: JobsGroup,
    push: PushGroup,
    conversion: ConversionGroup,
) -> None:
    """Pull, convert, prove, describe and push: the whole job.

    Published weights that would not change are skipped.
    """
    from detrex_hub.publishing.preflight import preflight

    work = jobs.on(batch.work(names or [], conversion.options(), push.options()))
    if work.conversion.synthetic:
        out.hint(hints.SYNTHETIC)
    with out.progress() as progress:
        forecasts = preflight(
            work.names, work.conversion, work.push, jobs=jobs.here, progress=progress
        )
    if push.dry_run:
        show_forecasts(forecasts, out)
    else:
        publish_and_show(forecasts, work, jobs.jobs, out)
