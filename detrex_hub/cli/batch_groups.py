"""The options that choose the names of a batch, and the machines that work on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Struct
from msgspec.structs import replace
from typer import BadParameter, Option

if TYPE_CHECKING:
    from detrex_hub.originals.conversion_options import ConversionOptions
    from detrex_hub.publishing.hf_jobs import JobOptions
    from detrex_hub.repositories import PushOptions


class Work(Struct, frozen=True):
    """The names to publish, and how."""

    names: list[str]
    conversion: ConversionOptions
    push: PushOptions
    machines: JobOptions | None = None


class JobsGroup(Struct, kw_only=True):
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


class BatchGroup(Struct, kw_only=True):
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
            from detrex_hub.publishing.batch_names import select

            names = select(
                families=self.only or (),
                but=self.but or (),
                extra_catalogues=conversion.extra_catalogues,
            )
        return Work(names, conversion, push)
