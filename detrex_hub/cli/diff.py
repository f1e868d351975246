"""`detrex-hub diff`"""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Exit, Option

from detrex_hub.cli.options import Catalogues
from detrex_hub.cli.output import Output
from detrex_hub.errors import DetrexHubError

EXAMPLES = (
    "detrex-hub diff before.pth after.safetensors",
    "detrex-hub diff ./detr_r50 detrex/detr_r50",
    "detrex-hub diff model_final.pth model_final.pth --right-container ema_state",
)


def command(
    out: Output,
    left: Annotated[
        str,
        Argument(
            metavar="A", help="A checkpoint, a folder, owner/name, or a name in the catalogue."
        ),
    ],
    right: Annotated[str, Argument(metavar="B", help="What to compare it with.")],
    left_container: Annotated[
        str | None, Option(metavar="KEY", help="Read A from this dict.")
    ] = None,
    right_container: Annotated[
        str | None, Option(metavar="KEY", help="Read B from this dict.")
    ] = None,
    catalogue: Catalogues = None,
) -> None:
    """Compare two checkpoints of any format, tensor by tensor.

    The exit code is 0 if both hold the same tensors under the same names, 1 if they differ, and 2
    if they cannot be compared.
    """
    from detrex_hub.comparison import diff

    try:
        with out.progress() as progress:
            found = diff(
                left,
                right,
                left_container=left_container,
                right_container=right_container,
                extra_catalogues=catalogue or (),
                progress=progress,
            )
    except DetrexHubError as error:
        error.exit_code = 2
        raise
    out.show(found.to_json(), found.lines())
    if not found.equal:
        raise Exit(1)
