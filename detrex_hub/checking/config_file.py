"""Check a config file, and write what the weights need into it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from difflib import unified_diff
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from detrex_hub.checking.checkpointer import is_repository, variable_notes
from detrex_hub.checking.examination import NoWeightsError, examine, init_checkpoint
from detrex_hub.checking.findings import HEURISTICS, Check, from_hub_call
from detrex_hub.checking.model_keys import target_keys
from detrex_hub.configs import assignments
from detrex_hub.configs.lazy import has_detectron2, load_config, missing_config
from detrex_hub.errors import ConfigError
from detrex_hub.progress import Progress
from detrex_hub.staging import publish_file, staging_folder


def check_config(
    path: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str] | None = None,
    min_matched: float = 1.0,
    *,
    overrides: Sequence[str] = (),
    target: str | None = None,
    prefix: str | None = None,
    extra_catalogues: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Check:
    """As `examine`, of a config file.

    Args:
        path: the config, ``.py`` or ``.yaml``.
        overrides: ``path=value``, as on the training script's command line.
        target: what the model holds, see `target_keys`; with it detectron2 is not needed, and
            where that is not installed, of a ``.py`` no more than ``train.init_checkpoint`` is
            read.
        prefix: as for `examine`.
        extra_catalogues: catalogue files in addition to the built-in ones.
        progress: reports the download of a repository's weights.
    """
    cfg = None
    if target is None or has_detectron2() or Path(path).suffix != ".py":
        cfg = load_config(path, overrides)
    if checkpoint is None:
        checkpoint = init_checkpoint(cfg) if cfg is not None else _written(Path(path))
    keys = None
    if target is not None:
        keys = target_keys(target, os.fspath(checkpoint), extra_catalogues=extra_catalogues)
    return examine(
        cfg,
        checkpoint,
        min_matched,
        target=keys,
        prefix=prefix,
        extra_catalogues=extra_catalogues,
        progress=progress,
    )


def _written(path: Path) -> str:
    name = assignments.assigned(_read(path).text, "train.init_checkpoint")
    if not isinstance(name, str) or not name:
        raise NoWeightsError(
            f"{path} itself does not set train.init_checkpoint to a text",
            hint="Pass --checkpoint PATH",
        )
    return name


def _read(path: Path) -> assignments.ConfigText:
    try:
        return assignments.read(path)
    except FileNotFoundError:
        raise missing_config(path) from None


def fix_config(
    path: str | os.PathLike[str],
    found: Check,
    *,
    checkpoint: str | None = None,
    extra_catalogues: Sequence[Path] = (),
) -> list[str]:
    """Fix the problems of a config that a check found. The old file is kept as ``NAME.orig``.

    Args:
        path: the config, a ``.py``.
        found: its check.
        checkpoint: the checkpoint to start from, if it is not the config's.
        extra_catalogues: catalogue files in addition to the built-in ones.

    Returns:
        the change, as lines of a unified diff, and a line about the variable that the training
        needs if a name is only in ``extra_catalogues``; none if nothing can be fixed.

    Raises:
        ConfigError: the config cannot be read or written.
    """
    path = Path(path)
    if path.suffix != ".py":
        raise ConfigError(
            f"{path} is not a Python file, and --fix edits only those",
            hint="Pass its values on the training script's command line",
        )
    before = _read(path)
    values = _corrections(before.text, found, checkpoint, extra_catalogues)
    after = replace(
        before, text=assignments.corrected(before.text, values) if values else before.text
    )
    if after == before:
        return []
    content = after.encode()
    # a link stays a link
    path = path.resolve()
    with staging_folder(path, option=None) as staging:
        kept = _unused(path.with_name(f"{path.name}.orig"))
        copied = staging / kept.name
        # not copied from the file, which another process may have fixed by now
        copied.write_bytes(before.encode())
        shutil.copystat(path, copied)
        publish_file(copied, kept)
        written = staging / path.name
        written.write_bytes(content)
        shutil.copymode(path, written)
        publish_file(written, path)
    lines = unified_diff(
        before.text.splitlines(),
        after.text.splitlines(),
        str(kept),
        str(path),
        lineterm="",
        n=0,
    )
    repo = _repository(found, checkpoint, extra_catalogues)
    return [*lines, *(variable_notes(repo, extra_catalogues) if repo is not None else ())]


def _corrections(
    text: str, found: Check, checkpoint: str | None, extra: Sequence[Path]
) -> dict[str, Any]:
    """Path of the config -> the value to write there."""
    if found.conflict is not None:
        # no value of the config changes that
        return {}
    if (repo := _repository(found, checkpoint, extra)) is not None:
        # `from_hub` sets all other values
        call = from_hub_call(repo, dataloader="dataloader" in assignments.defined(text))
        return {
            "train.init_checkpoint": assignments.Expression(call, "from detrex_hub import from_hub")
        }
    values: dict[str, Any] = {one.path: one.wanted for one in found.differences}
    if found.suffixes_help:
        values["train.init_checkpoint"] = f"{found.checkpoint}{HEURISTICS}"
    elif checkpoint is not None:
        values["train.init_checkpoint"] = found.checkpoint
    return values


def _repository(found: Check, checkpoint: str | None, extra: Sequence[Path]) -> str | None:
    """The name for `from_hub` in the config; None if the weights are a file."""
    path, _, query = found.checkpoint.partition("?")
    if checkpoint is not None and not query and is_repository(path, extra):
        return path.removeprefix("hf://")
    if checkpoint is None and found.entry is not None and found.share < found.min_matched:
        return f"detrex/{found.entry}"
    return None


def _unused(path: Path) -> Path:
    found, number = path, 1
    while found.exists():
        found, number = path.with_name(f"{path.name}.{number}"), number + 1
    return found
