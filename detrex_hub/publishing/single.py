"""Push one set of weights: convert it first, or push the output of a conversion or a training
run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from detrex_hub.conversion import execute, prepare
from detrex_hub.errors import UsageError
from detrex_hub.originals import snapshots
from detrex_hub.originals.conversion_options import ConversionOptions
from detrex_hub.publishing import training_run
from detrex_hub.publishing.training_run import TrainingRun
from detrex_hub.repositories import PushOptions, PushResult, push_folder
from detrex_hub.staging import scratch_folder

if TYPE_CHECKING:
    from detrex_hub.progress import Progress


def convert_and_push(
    name: str | os.PathLike[str],
    repo_id: str | None = None,
    *,
    architecture: str | None = None,
    layout: str | None = None,
    facts: Mapping[str, Any] | None = None,
    container: str | None = None,
    prefix: str | None = None,
    dtype: str | None = None,
    ema: bool = False,
    revision: str | None = None,
    source: str | None = None,
    synthetic: bool = False,
    extra_catalogues: Sequence[Path] = (),
    namespace: str | None = None,
    to: str | os.PathLike[str] | None = None,
    private: bool = False,
    create_pr: bool = False,
    dry_run: bool = False,
    message: str | None = None,
    allow_synthetic: bool = False,
    license: str | None = None,
    sign_key: str | os.PathLike[str] | None = None,
    collection: str | None = None,
    progress: Progress | None = None,
) -> PushResult:
    """Convert weights and push them. No other files are left.

    Args:
        name: a catalogue name, a checkpoint, a folder with weights, or ``owner/name``.
        repo_id: ``owner/name`` or ``name``; the name of the weights by default.
        architecture, layout, facts, container, prefix, dtype, ema, revision, source,
        synthetic, extra_catalogues: as for `convert`.
        namespace, to, private, create_pr, dry_run, message, allow_synthetic, license, sign_key,
        collection: as for `push`.
        progress: reports downloads, copying and uploads.

    Raises:
        DetrexHubError: as `convert` and `push` do; nothing was pushed.

    Example:
        >>> from detrex_hub import convert_and_push
        >>> convert_and_push("r101_v2", to="./hub").url
        'hub/detrex/r101_v2'
    """
    return publish(
        name,
        repo_id,
        conversion=ConversionOptions(
            architecture=architecture,
            layout=layout,
            facts=facts or {},
            container=container,
            prefix=prefix,
            dtype=dtype,
            ema=ema,
            revision=revision,
            source=source,
            synthetic=synthetic,
            extra_catalogues=tuple(extra_catalogues),
        ),
        push=PushOptions(
            namespace=namespace,
            to=None if to is None else Path(to),
            private=private,
            create_pr=create_pr,
            dry_run=dry_run,
            message=message,
            allow_synthetic=allow_synthetic,
            license=license,
            sign_key=None if sign_key is None else Path(sign_key),
            collection=collection,
        ),
        progress=progress,
    )


def publish(
    name: str | os.PathLike[str],
    repo_id: str | None = None,
    *,
    conversion: ConversionOptions,
    push: PushOptions,
    progress: Progress | None = None,
) -> PushResult:
    """Convert weights and push them. See `convert_and_push`."""
    with (
        prepare(name, conversion, progress=progress, hashed=True) as planned,
        scratch_folder() as scratch,
    ):
        done = execute(planned, scratch / planned.name, progress=progress)
        assert done.folder is not None
        if progress is not None:
            # the last point at which an interruption changes nothing for others
            progress.advance(0)
        result = push_folder(
            done.folder,
            repo_id,
            push,
            extra_catalogues=conversion.extra_catalogues,
            progress=progress,
        )
        # notes on the catalogue's weights are on their cards, and a batch would print all of them
        return replace(result, notes=planned.notes if planned.entry is None else ())


def push_any(
    what: str | os.PathLike[str],
    repo_id: str | None,
    options: PushOptions,
    run: TrainingRun,
    *,
    extra_catalogues: Sequence[Path] = (),
    progress: Progress | None = None,
) -> PushResult:
    """Push a converted folder, a name in the catalogue, a training checkpoint, or the output folder
    of a training.

    Args:
        what: a folder that `convert` made, a catalogue name, a file, or an output folder, whose
            newest checkpoint is taken, with the config and the metrics beside it.
        repo_id: ``owner/name`` or ``name``; the name of the folder or config by default.
        options: the options of the push.
        run: the config and the metrics of a training checkpoint.
        extra_catalogues: catalogue files in addition to the built-in ones.
        progress: reports downloads, copying and uploads.

    Raises:
        UsageError: a checkpoint comes without its config, or a folder with one.
        DetrexHubError: as `push_trained` and `push` do; nothing was pushed.
    """
    path = Path(what)
    if path.is_file():
        return push_trained(
            what, repo_id, options, run, extra_catalogues=extra_catalogues, progress=progress
        )
    if path.is_dir() and training_run.is_output(path) and not snapshots.is_converted(path):
        run = training_run.beside(path, run)
        weights = snapshots.in_folder(path).weights
        return push_trained(
            weights, repo_id, options, run, extra_catalogues=extra_catalogues, progress=progress
        )
    if run != TrainingRun():
        raise UsageError(
            "--config, --metrics, --ema and --fact need a checkpoint",
            hint=f"Leave them out: detrex-hub push {os.fspath(what)}",
        )
    from detrex_hub.resolving import folder_of

    return push_folder(
        folder_of(os.fspath(what), extra_catalogues=extra_catalogues, progress=progress),
        repo_id,
        options,
        extra_catalogues=extra_catalogues,
        progress=progress,
    )


def push_trained(
    checkpoint: str | os.PathLike[str],
    repo_id: str | None,
    options: PushOptions,
    run: TrainingRun,
    *,
    extra_catalogues: Sequence[Path] = (),
    progress: Progress | None = None,
) -> PushResult:
    """Push the weights of a training run with detrex, with a card that has the config's overrides
    and the measured accuracy.

    Args:
        checkpoint: a file of detectron2's checkpointer.
        repo_id: ``owner/name`` or ``name``; the config's name by default.
        options: the options of the push.
        run: the config and metrics of the run.
        extra_catalogues: catalogue files in addition to the built-in ones.
        progress: reports copying and uploads.

    Raises:
        DetrexHubError: as `training_run.prepared`, `execute` and `push` do; nothing was pushed.
    """
    name = repo_id.rpartition("/")[2] if repo_id else None
    with (
        training_run.prepared(
            checkpoint,
            run,
            name=name,
            license=options.license,
            extra_catalogues=extra_catalogues,
        ) as planned,
        scratch_folder() as scratch,
    ):
        done = execute(planned, scratch / planned.name, progress=progress)
        assert done.folder is not None
        result = push_folder(
            done.folder,
            repo_id or planned.name,
            options,
            extra_catalogues=extra_catalogues,
            progress=progress,
        )
        return replace(result, notes=planned.notes)
