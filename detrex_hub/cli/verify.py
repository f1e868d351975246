"""`detrex-hub verify`"""

from __future__ import annotations

from typing import Annotated

from typer import Option

from detrex_hub.cli.options import Catalogues, Json, Quiet, Repo, Revision, Source
from detrex_hub.cli.output import Output, pairs

EXAMPLES = (
    "detrex-hub verify detrex/r101_v2",
    "detrex-hub verify ./r101_v2 --no-source",
    "detrex-hub verify ./mine --source checkpoint.pth",
    "detrex-hub verify detrex/r101_v2 --numerics",
)


def command(
    repo: Repo,
    revision: Revision = None,
    no_source: Annotated[
        bool, Option("--no-source", help="Check the records only; do not repeat the conversion.")
    ] = False,
    source: Source = None,
    numerics: Annotated[
        bool,
        Option(
            "--numerics",
            help="Run the original and the converted weights, and print max |Δ|.",
        ),
    ] = False,
    catalogue: Catalogues = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Recompute all that conversion.json claims, and repeat the conversion from the original."""
    from detrex_hub.errors import UsageError
    from detrex_hub.verification import verify

    if no_source and source is not None:
        raise UsageError("--source and --no-source exclude each other")
    output = Output(json=json, quiet=quiet)
    with output.progress() as progress:
        found = verify(
            repo,
            revision=revision,
            repeat=not no_source,
            source=source,
            with_numerics=numerics,
            extra_catalogues=catalogue or (),
            progress=progress,
        )
    document = {
        "repo": found.repo,
        "revision": found.revision,
        "verified": [{"name": check.name, "detail": check.detail} for check in found.checks],
        "repeated": found.repeated,
        "not_repeated": found.not_repeated,
    }
    shown = {check.name: check.detail for check in found.checks}
    if found.not_repeated is not None:
        shown["not repeated"] = f"the conversion was not repeated: {found.not_repeated}"
    last = "is what it claims to be" if found.repeated else "agrees with its own records"
    output.show(document, [*pairs(shown), f"{found.repo} {last}"], bare=[found.repo])
