"""`detrex-hub load`"""

from __future__ import annotations

from typing import Annotated

from typer import Option

from detrex_hub.cli.options import Catalogues, ClassesFrom, NumClasses, Repo, Revision, Seed
from detrex_hub.cli.output import Output

EXAMPLES = (
    "detrex-hub load detrex/r101_v2",
    "detrex-hub load ./hub/detrex/r101_v2 --json",
    "detrex-hub load r101_v2 --check",
    "detrex-hub load dino_r50_4scale_12ep --num-classes 5",
    'python tools/train_net.py … train.init_checkpoint="$(detrex-hub load -q detrex/r101_v2)"',
)


def command(
    out: Output,
    repo: Repo,
    revision: Revision = None,
    prefix: Annotated[
        str | None,
        Option(metavar="PREFIX", help="Add PREFIX to every key, such as 'backbone.'."),
    ] = None,
    num_classes: NumClasses = None,
    classes_from: ClassesFrom = None,
    seed: Seed = None,
    no_convert: Annotated[
        bool,
        Option("--no-convert", help="Do not convert names that are not published."),
    ] = False,
    keep_original: Annotated[
        bool, Option("--keep-original", help="Keep the original after converting it.")
    ] = False,
    check: Annotated[
        bool, Option("--check", help="Read the whole cached .pth. Write it again if it is damaged.")
    ] = False,
    catalogue: Catalogues = None,
) -> None:
    """Fetch weights as a .pth for detectron2; print its path.

    A path or hf:// does not change a config. Set the values that the weights need with
    from_hub(..., model=model) or apply_overrides(cfg, repo). --json lists these values.
    """
    from detrex_hub.fine_tuning import NewClasses
    from detrex_hub.loading import load

    with out.progress() as progress:
        loaded = load(
            repo,
            revision=revision,
            prefix=prefix,
            check=check,
            classes=NewClasses.of(num_classes, classes_from, seed or 0),
            convert=False if no_convert else None,
            keep_original=keep_original or None,
            extra_catalogues=catalogue or (),
            progress=progress,
        )
    out.show(loaded.to_json(), [loaded.path], bare=[loaded.path])
