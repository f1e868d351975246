"""`detrex-hub convert-and-push`"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

from typer import BadParameter, Exit, Option

from detrex_hub.cli import hints, options, pushed
from detrex_hub.cli.groups import ConversionGroup, PushGroup
from detrex_hub.cli.output import Output

if TYPE_CHECKING:
    from detrex_hub.publishing.batch import Published

EXAMPLES = (
    "detrex-hub convert-and-push r101_v2",
    "detrex-hub convert-and-push r50_v1 r101_v1 --to ./hub",
    "detrex-hub convert-and-push --all --jobs 4 --namespace detrex",
    "detrex-hub convert-and-push r101_v2 --to ./hub --synthetic",
)


def command(
    out: Output,
    names: options.Names = None,
    all: Annotated[bool, Option("--all", help="Convert and push the whole catalogue.")] = False,
    jobs: Annotated[int, Option(metavar="N", min=1, help="Work on N names at once.")] = 1,
    *,
    push: PushGroup,
    conversion: ConversionGroup,
) -> None:
    """Pull, convert, prove, describe and push: the whole job."""
    from detrex_hub.publishing.batch import convert_and_push_all
    from detrex_hub.publishing.single import publish

    wanted = _wanted(names or [], conversion, all=all)
    one = partial(publish, conversion=conversion.options(), push=push.options())
    if conversion.synthetic:
        out.hint(hints.SYNTHETIC)
    done: list[Published] = []
    try:
        with out.progress() as progress:
            for published in convert_and_push_all(wanted, one, jobs=jobs, progress=progress):
                done.append(published)
    finally:
        # what was done is shown after an interruption too
        _show(done, wanted, out)
    failed = [one.error for one in done if one.error is not None]
    if failed:
        raise failed[0] if len(wanted) == 1 else Exit(1)


def _wanted(names: list[str], conversion: ConversionGroup, *, all: bool) -> list[str]:
    """The names to publish.

    Raises:
        BadParameter: the options exclude each other.
    """
    from detrex_hub.catalogue import load

    if bool(names) == all:
        raise BadParameter("give names or --all")
    wanted = list(load(conversion.catalogue or ())) if all else names
    if conversion.source is not None and len(wanted) != 1:
        raise BadParameter("--source takes exactly one name")
    return wanted


def _show(done: list[Published], wanted: list[str], out: Output) -> None:
    """Print what became of the names, in the order of the command line. One name that was refused
    is left to its error."""
    done.sort(key=lambda one: wanted.index(one.name))
    if not done or (len(wanted) == 1 and done[0].result is None):
        return
    for one in done:
        for line in hints.of_push(one.result):
            out.hint(line)
    table = out.table(("NAME", "", ""), [_row(one) for one in done])
    result = done[0].result
    out.show(
        [one.to_json() for one in done],
        pushed.lines(result) if result and len(wanted) == 1 else table,
        bare=[one.result.url for one in done if one.result],
    )


def _row(one: Published) -> tuple[str, str, str]:
    if one.result is None:
        return one.name, "refused", str(one.error)
    return one.name, pushed.outcome(one.result), one.result.url
