"""From detrex's names to those of other software: a file in the layout of the original, or a folder
that transformers opens."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from detrex_hub.architectures.base import Architecture
from detrex_hub.architectures.transformers_layout import LAYOUTS as TRANSFORMERS
from detrex_hub.checkpoints import format_of, written_format
from detrex_hub.errors import UsageError
from detrex_hub.exporting.export_source import find_source
from detrex_hub.exporting.exported import Exported
from detrex_hub.exporting.folder import SOFTWARE, Described, describe_export, write_folder
from detrex_hub.exporting.folder_card import license_of_source
from detrex_hub.exporting.push_and_link import check_push, link_source, push_exported
from detrex_hub.exporting.single_file import write_file
from detrex_hub.repositories import PushOptions

if TYPE_CHECKING:
    from detrex_hub.progress import Progress

__all__ = ["Exported", "export"]


def export(
    what: str | os.PathLike[str],
    to: str | os.PathLike[str] | None = None,
    *,
    layout: str = "original",
    format: str | None = None,
    revision: str | None = None,
    class_names: Sequence[str] | None = None,
    facts: Mapping[str, Any] | None = None,
    extra_catalogues: Sequence[Path] = (),
    push_to: str | None = None,
    push: PushOptions | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write weights in another layout, and compare what was written.

    ``transformers``, ``transformers_no_timm`` and ``timm`` give a folder that the library opens,
    unless ``to`` or ``format`` says that a single file is meant. Heads that were cut to COCO's
    classes go to transformers as they are.

    Args:
        what: a converted folder, ``owner/name`` on the Hub, or a checkpoint in detrex's names.
        to: the file or folder to write, ``./<name>-<layout>`` with the ending of the format where
            none is given.
        layout: ``original``, which is the layout of the architecture's own authors, or the name of
            any layout that it can be written in.
        format: ``pth`` or ``safetensors``; by the file's ending where none is given.
        revision: branch, tag or commit of a repository.
        class_names: names of the classes, for a folder; those of the training or COCO's where none
            are given.
        facts: facts that a folder needs and that nothing else states, such as ``num_heads``.
        extra_catalogues: catalogue files in addition to the built-in ones.
        push_to: the repository, ``owner/name``, that a folder is pushed to as one commit and read
            back. The cards of both repositories then link to each other.
        push: options of the push: ``private``, ``create_pr``, ``dry_run``, ``message``,
            ``allow_synthetic``, and ``license`` where the source's card says none.
        progress: reports downloads and copying.

    Raises:
        MappingError: there is no way back, since rows of class heads were cut away.
        ArchitectureError: the weights are not in detrex's names, or not whole, or the other library
            has no such model.
        UsageError: there is no such layout, or the names are not those of the classes.
        VerificationError: what was written is not what the source holds.
        DetrexHubError: the source cannot be read, or the target cannot be written.

    Example:
        >>> from detrex_hub import export
        >>> export("./r101_v2", "resnet101.pth", layout="torchvision").path
        PosixPath('resnet101.pth')
        >>> export("detrex/detr_r50", "./detr", layout="transformers").path
        PosixPath('detr')
    """
    written_format(to, format)
    source = find_source(
        what, revision, facts=facts, extra_catalogues=extra_catalogues, progress=progress
    )
    if layout in SOFTWARE and format is None and format_of(to) is None:
        target = Path(to) if to is not None else Path(f"{source.name}-{layout}")
        described = describe_export(source, layout, class_names)
        return _export_folder(described, target, push_to, push or PushOptions(), progress)
    if push_to is not None:
        raise UsageError(
            "a single file is not pushed",
            hint="Push a folder instead: --to transformers -o FOLDER --push OWNER/NAME",
        )
    chosen = _layout(source.architecture, layout)
    if class_names is not None:
        raise UsageError(
            "a single file has no place for class names",
            hint="Write a folder instead: --to transformers -o FOLDER",
        )
    target = Path(to) if to is not None else Path(f"{source.name}-{chosen}.{format or 'pth'}")
    return write_file(source, chosen, target, format, progress=progress)


def _export_folder(
    described: Described,
    target: Path,
    repo_id: str | None,
    options: PushOptions,
    progress: Progress | None,
) -> Exported:
    license = license_of_source(described.source) or options.license
    if repo_id is not None:
        check_push(described, repo_id, license, options)
    done = write_folder(described, target, license=license, progress=progress)
    if repo_id is None:
        return done
    pushed = push_exported(described, done, repo_id, license, options, progress=progress)
    note = link_source(described, pushed.repo_id, options, progress=progress)
    return replace(done, pushed=pushed, notes=(*done.notes, *([note] if note else [])))


def _layout(made: Architecture, layout: str) -> str:
    layouts = [name for name in (*made.layouts, *made.also_written) if name != "detrex"]
    if layout in layouts:
        return layout
    if layout == "original" and layouts:
        return layouts[0]
    if layout in made.written_as:
        return made.written_as[layout]
    if layout in TRANSFORMERS:
        # the error says why there is no such model
        made.in_transformers(layout, {})
    if not layouts:
        raise UsageError(
            f"{made.name} can be written only in detrex's own layout",
            hint="Use the weights as they are: its authors trained with detrex",
        )
    raise UsageError(
        f"{made.name} cannot be written in the layout {layout!r}",
        hint=f"Choose one: --to {' or '.join(layouts)}",
    )
