"""`detrex-hub inspect`"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from detrex_hub.cli.options import Catalogues, Container, Prefix, Revision
from detrex_hub.cli.output import Output, human_size, pairs
from detrex_hub.errors import DetrexHubError

if TYPE_CHECKING:
    from detrex_hub.inspection import Inspection

EXAMPLES = (
    "detrex-hub inspect my.pth",
    "detrex-hub inspect my.pth --keys",
    "detrex-hub inspect detrex/r101_v2",
    "detrex-hub inspect model_final.pth --container ema_state",
)


def command(
    out: Output,
    what: Annotated[
        str,
        Argument(
            metavar="FILE_OR_REPO",
            help="A checkpoint, a folder, owner/name, or a name in the catalogue.",
        ),
    ],
    container: Container = None,
    prefix: Prefix = None,
    revision: Revision = None,
    keys: Annotated[bool, Option("--keys", help="Print every key instead of patterns.")] = False,
    catalogue: Catalogues = None,
) -> None:
    """Show what a checkpoint is, from its index alone."""
    from detrex_hub.inspection import inspect

    try:
        with out.progress() as progress:
            found = inspect(
                what,
                container=container,
                prefix=prefix,
                revision=revision,
                extra_catalogues=catalogue or (),
                progress=progress,
            )
    except DetrexHubError as error:
        if out.json:
            out.show({"file": what, "error": str(error)}, ())
        raise
    out.show(found.to_json(), _lines(found, every_key=keys), bare=[found.architecture or "unknown"])


def _lines(found: Inspection, *, every_key: bool) -> Iterator[str]:
    weights = f"{len(found.specs)} tensors, {found.parameters:,} parameters"
    return pairs(
        {
            "file": f"{found.file}, {found.format}, {human_size(found.size)}",
            "weights": f"{weights}, {human_size(found.nbytes)}"
            + (f", under {found.container!r}" if found.container else "")
            + (f", without {found.wrapper!r} in the keys" if found.wrapper else ""),
            "other dicts": [
                f"{name or 'top level'}: {count} tensors (--container {shlex.quote(name)}"
                + (", or convert with --ema)" if name in found.averaged else ")")
                for name, count in found.others.items()
            ],
            "beside them": ", ".join(found.metadata),
            "made inert": ", ".join(found.placeholders),
            "architecture": found.architecture and f"{found.architecture} ({found.layout})",
            "because of": list(found.because),
            "below": found.prefix
            and f"{found.prefix} ({found.outside} of {len(found.specs)} tensors are outside)",
            "not convertible": found.refusal and str(found.refusal),
            "hyper-parameters": [
                f"{name} = {value}"
                for name, value in found.hyper_parameters.items()
                if value is not None
            ],
            "overrides": [f"{path} = {value!r}" for path, value in found.overrides.items()],
            "assumed": [f"{name} = {value}" for name, value in found.assumed.items()],
            "keys": [f"{key}  {spec}" for key, spec in found.specs.items()]
            if every_key
            else [f"{key}  x{count}" if count > 1 else key for key, count in found.runs.items()],
        }
    )
