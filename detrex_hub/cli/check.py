"""`detrex-hub check`"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from detrex_hub.cli.options import Catalogues, Prefix
from detrex_hub.cli.output import Output

if TYPE_CHECKING:
    from detrex_hub.checking import Check
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
        Option(metavar="PATH_OR_REPO", help="Use this instead of train.init_checkpoint."),
    ] = None,
    min_matched: Annotated[
        float,
        Option(metavar="SHARE", min=0.0, max=1.0, help="Require that this part is loaded, 0 to 1."),
    ] = 1.0,
    target: Annotated[
        str | None,
        Option(
            metavar="CHECKPOINT_OR_ARCH",
            help="Say what the model holds, if detectron2 is not installed to build it.",
        ),
    ] = None,
    prefix: Prefix = None,
    fix: Annotated[
        bool, Option("--fix", help="Write the corrected lines into CONFIG and keep a copy.")
    ] = False,
    skip_others: Annotated[
        bool, Option("--skip-others", help="Pass over configs that name no weights.")
    ] = False,
    catalogue: Catalogues = None,
) -> None:
    """Show what detectron2 would load into a config's model.

    Replays the matching of names and shapes. No tensor is read.
    """
    from detrex_hub.checking import NoWeightsError, check_config, fix_config, refusal
    from detrex_hub.errors import DetrexHubError

    extra, values = catalogue or (), [one for one in overrides or () if "=" in one]
    configs = [config, *(Path(one) for one in overrides or () if "=" not in one)]

    def look(path: Path) -> Check:
        with out.progress() as progress:
            return check_config(
                path,
                checkpoint,
                min_matched,
                overrides=values,
                target=target,
                prefix=prefix,
                extra_catalogues=extra,
                progress=progress,
            )

    checked: dict[Path, Check] = {}
    refused: list[DetrexHubError] = []
    for path in configs:
        try:
            found = look(path)
            if fix and (checkpoint is not None or not found.passed):
                for line in fix_config(path, found, checkpoint=checkpoint, extra_catalogues=extra):
                    out.hint(line)
                found = look(path)
            checked[path] = found
            if not found.passed:
                raise refusal(found, where=str(path))
        except NoWeightsError as error:
            if not skip_others:
                refused.append(error)
            else:
                out.hint(f"{path} names no weights, and was passed over")
        except DetrexHubError as error:
            refused.append(error)
    documents = [found.to_json() for found in checked.values()]
    if len(configs) == 1 and documents:
        out.show(documents[0], _all_lines(checked, out), bare=_shares(checked))
    elif len(configs) > 1:
        named = [{"config": str(p), **one} for p, one in zip(checked, documents, strict=True)]
        out.show(named, _all_lines(checked, out), bare=_shares(checked))
    if len(refused) > 1:
        for one in refused:
            out.hint(f"Error: {one}")
        raise DetrexHubError(f"{len(refused)} of {len(configs)} configs were refused")
    if refused:
        raise refused[0]


def _shares(checked: dict[Path, Check]) -> list[str]:
    return [f"{found.share:.4f}" for found in checked.values()]


def _all_lines(checked: dict[Path, Check], out: Output) -> Iterator[str]:
    for path, found in checked.items():
        if len(checked) > 1:
            yield f"{path}:"
        yield from _lines(found, out)


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
        yield f"initialised by the model, as no such file holds them: {len(found.absent)} tensors"
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
