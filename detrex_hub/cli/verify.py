"""`detrex-hub verify`"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from detrex_hub.cli.options import Catalogues, Repo, Revision, Source
from detrex_hub.cli.output import Output, pairs
from detrex_hub.errors import UsageError

if TYPE_CHECKING:
    from detrex_hub.verification import Verification

EXAMPLES = (
    "detrex-hub verify detrex/r101_v2",
    "detrex-hub verify ./r101_v2 --no-source",
    "detrex-hub verify ./mine --source checkpoint.pth",
    "detrex-hub verify detrex/r101_v2 --numerics",
    "detrex-hub verify detrex/r101_v2 --public-key detrex.pem",
    "detrex-hub verify detrex/r101_v2 --identity alice@example.com"
    " --identity-provider https://accounts.google.com",
)


def command(
    out: Output,
    repo: Repo,
    revision: Revision = None,
    no_source: Annotated[
        bool, Option("--no-source", help="Check only the records. Do not repeat the conversion.")
    ] = False,
    source: Source = None,
    numerics: Annotated[
        bool,
        Option(
            "--numerics",
            help="Run the original and the converted weights, and print max |Δ|.",
        ),
    ] = False,
    public_key: Annotated[
        Path | None, Option(metavar="KEY", help="Check the signature of the files with this key.")
    ] = None,
    identity: Annotated[
        str | None,
        Option(metavar="WHO", help="Check that this mail address or workflow signed the files."),
    ] = None,
    identity_provider: Annotated[
        str | None,
        Option(metavar="URL", help="Require this OpenID Connect provider for --identity."),
    ] = None,
    trust_config: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Check --identity without internet, against this trusted root of sigstore.",
        ),
    ] = None,
    catalogue: Catalogues = None,
) -> None:
    """Check a repository's claims and repeat its conversion.

    Recomputes everything that conversion.json claims, then converts the original again and compares
    every file.
    """
    from detrex_hub.verification import verify

    if no_source and source is not None:
        raise UsageError("--source and --no-source cannot be combined")
    with out.progress() as progress:
        found = verify(
            repo,
            revision=revision,
            repeat=not no_source,
            source=source,
            with_numerics=numerics,
            public_key=public_key,
            identity=identity,
            identity_provider=identity_provider,
            trust_config=trust_config,
            extra_catalogues=catalogue or (),
            progress=progress,
        )
    out.show(found.to_json(), _lines(found), bare=[found.repo])


def _lines(found: Verification) -> Iterator[str]:
    shown = {check.name: check.detail for check in found.checks}
    if found.not_repeated is not None:
        shown["not repeated"] = f"the conversion was not repeated: {found.not_repeated}"
    yield from pairs(shown)
    yield found.summary
