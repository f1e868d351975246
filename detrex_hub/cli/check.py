"""`detrex-hub check`"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from detrex_hub.cli.options import Catalogues, Prefix
from detrex_hub.cli.output import Output

if TYPE_CHECKING:
    from detrex_hub.checking import Check
    from detrex_hub.checking.several import CheckedConfig
    from detrex_hub.configs.settings import Setting

EXAMPLES = (
    "detrex-hub check projects/dino/configs/dino-swin/dino_swin_tiny_224_4scale_12ep.py",
    "detrex-hub check configs/my_dino.py --checkpoint detrex/r101_v2 --fix",
    "detrex-hub check configs/my_dino.py model.num_queries=300 --json",
    "detrex-hub check config.yaml --checkpoint r101.pth --target r101_v2",
    "detrex-hub check projects/dino/configs/dino-swin/dino_swin_tiny_224_4scale_12ep.py "
    "configs/my_dino.py --skip-others",
)


def command(
    out: Output,
    config: Annotated[Path, Argument(metavar="CONFIG", help="A LazyConfig, .py or .yaml.")],
    overrides: Annotated[
        list[str] | None,
        Argument(
            metavar="[CONFIG | PATH=VALUE]...",
            help="More configs, and config values as on the command line of the training script.",
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        Option(
            metavar="PATH_OR_REPO", help="Use this checkpoint instead of train.init_checkpoint."
        ),
    ] = None,
    min_matched: Annotated[
        float,
        Option(
            metavar="SHARE", min=0.0, max=1.0, help="Require that this share is loaded, 0 to 1."
        ),
    ] = 1.0,
    target: Annotated[
        str | None,
        Option(
            metavar="CHECKPOINT_OR_ARCH",
            help=(
                "Describe the model by a checkpoint or architecture if detectron2 is not installed."
            ),
        ),
    ] = None,
    prefix: Prefix = None,
    fix: Annotated[
        bool, Option("--fix", help="Write the corrected lines into CONFIG and keep a copy.")
    ] = False,
    skip_others: Annotated[
        bool, Option("--skip-others", help="Skip configs that name no weights.")
    ] = False,
    catalogue: Catalogues = None,
) -> None:
    """Show what detectron2 would load into a config's model.

    Replays the matching of names and shapes, and reads no tensor.
    """
    from detrex_hub.checking.several import check_configs, refusal_of

    # names of configs may contain a "="
    values = [one for one in overrides or () if "=" in one and not Path(one).is_file()]
    configs = [config, *(Path(one) for one in overrides or () if one not in values)]
    with out.progress() as progress, warnings.catch_warnings():
        if not sys.warnoptions:
            # the modules that a config imports warn about their own code
            warnings.simplefilter("ignore")
        checked = check_configs(
            configs,
            checkpoint,
            min_matched,
            overrides=values,
            target=target,
            prefix=prefix,
            fix=fix,
            skip_others=skip_others,
            extra_catalogues=catalogue or (),
            progress=progress,
        )
    _show(checked, out)
    if (error := refusal_of(checked)) is not None:
        raise error


def _show(checked: list[CheckedConfig], out: Output) -> None:
    """Print the checks. The error of a single config is raised at the end of the command."""
    errors = [one.error for one in checked if one.error is not None]
    for line in (note for one in checked for note in one.notes):
        out.hint(line)
    found = [(one.path, one.found) for one in checked if one.found is not None]
    if len(checked) > 1:
        documents = [
            {
                "config": str(one.path),
                "error": None if one.error is None else str(one.error),
                **(one.to_json() or {}),
            }
            for one in checked
            if one.found is not None or one.error is not None
        ]
        bare = [f"{path}\t{check.share:.4f}" for path, check in found]
        out.show(documents, _all_lines(found, out), bare=bare)
    elif found:
        ((_, check),) = found
        out.show(check.to_json(), _lines(check, out), bare=[f"{check.share:.4f}"])
    if len(errors) > 1:
        for error in errors:
            out.problem(f"Error: {error}")


def _all_lines(found: list[tuple[Path, Check]], out: Output) -> Iterator[str]:
    for path, check in found:
        if len(found) > 1:
            yield f"{path}:"
        yield from _lines(check, out)


def _lines(found: Check, out: Output) -> Iterator[str]:
    how = "names matched by suffix" if found.heuristics else "exact names"
    yield f"{found.checkpoint} ({found.what + ', ' if found.what else ''}{how})"
    yield from out.table(
        ("module", "loaded", "missing", "wrong shape", "unexpected", "doubtful"),
        [
            (
                one.name,
                str(one.loaded),
                str(one.missing),
                str(one.wrong_shape),
                str(one.unexpected),
                str(one.doubtful),
            )
            for one in found.match.modules()
        ],
    )
    if found.settings:
        yield ""
        yield from out.table(
            ("setting", "config", "weights", ""),
            [(one.path, str(one.before), str(one.wanted), _verdict(one)) for one in found.settings],
        )
    for key, (file, model) in found.match.wrong_shape.items():
        yield f"wrong shape: {key} is {list(file)} in the file and {list(model)} in the model"
    for key in found.match.doubtful:
        yield f"doubtful: {found.match.loaded[key]} of the file is loaded into {key}"
    if found.absent:
        yield (
            "initialised by the model, because such files never contain them: "
            f"{len(found.absent)} tensors"
        )
    for note in found.notes:
        yield f"note: {note}"
    if found.passed:
        yield found.summary()


def _verdict(setting: Setting) -> str:
    if not setting.has_place:
        return "no place"
    if not setting.differs:
        return "fits"
    return "assumed" if setting.assumed else "differs"
