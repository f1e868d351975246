"""`detrex-hub verify`"""

from __future__ import annotations

from detrex_hub.cli.options import Json, Quiet, Repo, Revision
from detrex_hub.cli.output import Output, pairs

EXAMPLES = ("detrex-hub verify ./r101_v2", "detrex-hub verify detrex/r101_v2")


def command(
    repo: Repo, revision: Revision = None, json: Json = False, quiet: Quiet = False
) -> None:
    """Recompute everything that conversion.json claims."""
    from detrex_hub.verification import verify

    found = verify(repo, revision=revision)
    document = {
        "repo": found.repo,
        "revision": found.revision,
        "verified": [{"name": check.name, "detail": check.detail} for check in found.checks],
    }
    shown = {check.name: check.detail for check in found.checks}
    Output(json=json, quiet=quiet).show(
        document, [*pairs(shown), f"{found.repo} is what it claims to be"], bare=[found.repo]
    )
