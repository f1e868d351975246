"""`detrex-hub convert-and-push`"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from detrex_hub.cli import options
from detrex_hub.cli.output import Output, table
from detrex_hub.cli.pushed import as_json, as_lines, outcome, warning

if TYPE_CHECKING:
    from detrex_hub.publishing.batch import Published

EXAMPLES = (
    "detrex-hub convert-and-push r101_v2",
    "detrex-hub convert-and-push r50_v1 r101_v1 --to ./hub",
    "detrex-hub convert-and-push --all --jobs 4 --namespace detrex",
    "detrex-hub convert-and-push r101_v2 --to ./hub --synthetic",
)


def command(
    names: options.Names = None,
    all: Annotated[bool, typer.Option("--all", help="Everything in the catalogue.")] = False,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="How many at once.")] = 1,
    namespace: options.Namespace = None,
    to: options.To = None,
    private: options.Private = False,
    create_pr: options.CreatePr = False,
    license: options.License = None,
    allow_synthetic: options.AllowSynthetic = False,
    dry_run: options.DryRun = False,
    source: options.Source = None,
    synthetic: options.Synthetic = False,
    keep_classifier: options.KeepClassifier = False,
    dc5: options.Dc5 = None,
    classes: options.Classes = None,
    fact: options.FactsOption = None,
    catalogue: options.Catalogues = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Pull, convert, prove, describe and push: the whole job."""
    from detrex_hub.catalogue import load
    from detrex_hub.publishing.batch import convert_and_push, convert_and_push_all

    wanted = list(load(catalogue or ())) if all else list(names or ())
    if not wanted or (all and names):
        raise typer.BadParameter("give names or --all")
    if source is not None and len(wanted) != 1:
        raise typer.BadParameter("--source goes with one name")
    out = Output(json=json, quiet=quiet)
    one = partial(
        convert_and_push,
        to=to,
        namespace=namespace,
        private=private,
        create_pr=create_pr,
        license=license,
        allow_synthetic=allow_synthetic,
        dry_run=dry_run,
        source=source,
        synthetic=synthetic,
        extra_catalogues=catalogue or (),
        facts=options.facts(keep_classifier=keep_classifier, dc5=dc5, classes=classes, given=fact),
    )
    done: list[Published] = []
    try:
        with out.progress() as progress:
            for one_done in convert_and_push_all(wanted, one, jobs=jobs, progress=progress):
                done.append(one_done)
    except BaseException:
        # interrupted: what was done is told all the same
        if done:
            _tell(done, wanted, out)
        raise
    if synthetic:
        out.hint("These are seeded numbers in the original's shapes, not the real weights.")
    failed = [one.error for one in done if one.error is not None]
    if len(wanted) == 1 and failed:
        raise failed[0]
    _tell(done, wanted, out)
    if failed:
        raise SystemExit(1)


def _tell(done: list[Published], wanted: list[str], out: Output) -> None:
    """Say what became of the names, in the order in which they were asked for."""
    done = sorted(done, key=lambda one: wanted.index(one.name))
    for one in done:
        if one.result is not None and (told := warning(one.result)):
            out.hint(told)
    document = [
        {"name": one.name, "error": str(one.error)}
        if one.result is None
        else {"name": one.name, **as_json(one.result)}
        for one in done
    ]
    rows = [
        (one.name, "refused", str(one.error))
        if one.result is None
        else (one.name, outcome(one.result), one.result.url)
        for one in done
    ]
    first = done[0].result
    lines = as_lines(first) if first and len(wanted) == 1 else table(("NAME", "", ""), rows)
    out.show(document, lines, bare=(one.result.url for one in done if one.result))
