"""Check several config files, and correct them if asked to."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from detrex_hub.checking.config_file import check_config, fix_config
from detrex_hub.checking.examination import NoWeightsError
from detrex_hub.checking.findings import Check, as_error
from detrex_hub.errors import DetrexHubError

if TYPE_CHECKING:
    from detrex_hub.progress import Progress


class CheckedConfig(Struct, frozen=True, kw_only=True):
    """The outcome of one config.

    Attributes:
        path: the config.
        found: what would be loaded; None if nothing could be checked.
        error: why the config is refused; None if it passed, or was skipped.
        notes: the lines that were written into it, or the reason for skipping it.
    """

    path: Path
    found: Check | None = None
    error: DetrexHubError | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any] | None:
        """The check, as the command prints it; None if there is none."""
        return None if self.found is None else self.found.to_json()


def check_configs(
    paths: Sequence[Path],
    checkpoint: str | None = None,
    min_matched: float = 1.0,
    *,
    overrides: Sequence[str] = (),
    target: str | None = None,
    prefix: str | None = None,
    fix: bool = False,
    skip_others: bool = False,
    extra_catalogues: Sequence[Path] = (),
    progress: Progress | None = None,
) -> list[CheckedConfig]:
    """Check config files; a refused one does not stop the others.

    Args:
        paths: the configs, ``.py`` or ``.yaml``.
        checkpoint, min_matched, overrides, target, prefix, extra_catalogues, progress: as for
            `check_config`.
        fix: write corrected lines into a config that does not pass, and check it again.
        skip_others: skip configs that name no weights.

    Returns:
        the outcomes, in the order of ``paths``.
    """
    look = partial(
        check_config,
        checkpoint=checkpoint,
        min_matched=min_matched,
        overrides=overrides,
        target=target,
        prefix=prefix,
        extra_catalogues=extra_catalogues,
        progress=progress,
    )

    options = list(overrides)
    for option, value in (
        ("--checkpoint", checkpoint),
        ("--target", target),
        ("--prefix", prefix),
        *(("--catalogue", str(catalogue)) for catalogue in extra_catalogues),
    ):
        options += [option, value] if value else []

    def one(path: Path) -> CheckedConfig:
        notes: Sequence[str] = ()
        try:
            found = look(path)
            if fix and (checkpoint is not None or not found.passed):
                notes = fix_config(
                    path, found, checkpoint=checkpoint, extra_catalogues=extra_catalogues
                )
                found = look(path)
        except NoWeightsError as error:
            if not skip_others:
                return CheckedConfig(path=path, error=error)
            return CheckedConfig(path=path, notes=(f"{path} names no weights and was skipped",))
        except DetrexHubError as error:
            return CheckedConfig(path=path, error=error, notes=tuple(notes))
        command = None
        if path.suffix == ".py" and not fix:
            command = join(("detrex-hub", "check", str(path), *options, "--fix"))
        error_of = None if found.passed else as_error(found, where=str(path), fix=command)
        return CheckedConfig(path=path, found=found, error=error_of, notes=tuple(notes))

    return [one(path) for path in paths]


def refusal_of(checked: Sequence[CheckedConfig]) -> DetrexHubError | None:
    """The error of configs that were refused: that of the only one, or their number."""
    errors = [one.error for one in checked if one.error is not None]
    if len(errors) > 1:
        return DetrexHubError(f"{len(errors)} of {len(checked)} configs were refused")
    return errors[0] if errors else None
