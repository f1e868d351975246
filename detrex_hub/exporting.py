"""Back from detrex's names to the layout of the original, wherever the rules have inverses."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detrex_hub import checkpoints
from detrex_hub.architectures import architecture
from detrex_hub.architectures.base import Architecture
from detrex_hub.checkpoints import Checkpoint, Tensor, written_format
from detrex_hub.computing import carried_out
from detrex_hub.conversion import reporting
from detrex_hub.errors import ConfigError, UsageError, VerificationError
from detrex_hub.identify import identify, recognised
from detrex_hub.mapping import ConversionPlan
from detrex_hub.records import CONVERSION
from detrex_hub.resolving import resolve
from detrex_hub.staging import publish_file, staging_folder

if TYPE_CHECKING:
    from detrex_hub.progress import Progress

_STEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,95}")


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export left on disk.

    ``absent`` are keys that the original's file held and this one cannot hold, since they were
    dropped, with the reasons.
    """

    path: Path
    sha256: str
    size: int
    architecture: Architecture
    layout: str
    plan: ConversionPlan
    absent: Mapping[str, str]
    synthetic: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "architecture": self.architecture.name,
            "layout": self.layout,
            "path": str(self.path),
            "sha256": self.sha256,
            "size": self.size,
            "tensors": len(self.plan.specs),
            "absent": dict(self.absent),
            "synthetic": self.synthetic,
        }


@dataclass(frozen=True, kw_only=True)
class _Source:
    name: str
    path: Path
    architecture: Architecture
    absent: Mapping[str, str]
    synthetic: bool


def export(
    what: str | os.PathLike[str],
    to: str | os.PathLike[str] | None = None,
    *,
    layout: str = "original",
    format: str | None = None,
    revision: str | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write weights in the original's names and wrapping, and compare what was written.

    Args:
        what: a converted folder, ``owner/name`` on the Hub, or a checkpoint in detrex's names.
        to: the file to write, ``./<name>-<layout>.pth`` where none is given.
        layout: ``original``, which is the layout of the architecture's own authors, or the name of
            any layout that it can be converted from.
        format: ``pth`` or ``safetensors``; by the file's ending where none is given.
        revision: branch, tag or commit of a repository.
        progress: reports downloads and copying.

    Raises:
        MappingError: there is no way back, since rows of class heads were cut away.
        ArchitectureError: the weights are not in detrex's names, or not whole.
        VerificationError: what was written is not what the source holds.
        DetrexHubError: the source cannot be read, or the target cannot be written.

    Example:
        >>> from detrex_hub import export
        >>> export("./r101_v2", "resnet101.pth", layout="torchvision").path
        PosixPath('resnet101.pth')
    """
    source = _look_up(what, revision, progress)
    chosen = _layout(source.architecture, layout)
    target = Path(to) if to is not None else Path(f"{source.name}-{chosen}.{format or 'pth'}")
    kind = written_format(target, format)
    if kind == "pkl":
        raise UsageError("the originals have no pickles of arrays", hint="Write a .pth instead")
    if target.is_dir():
        raise UsageError(f"{target} is a folder", hint="Name a file with -o")
    if target.exists() and target.samefile(source.path):
        raise UsageError(f"{target} is where the weights come from", hint="Name another with -o")
    with checkpoints.open(source.path) as checkpoint:
        plan = source.architecture.plan_export(checkpoint.specs, chosen)
        _check_ties(source, checkpoint)
        tensors = [
            Tensor(key, move.spec, partial(carried_out, move, checkpoint))
            for key, move in plan.moves.items()
        ]
        with staging_folder(target.absolute(), option="-o") as staging:
            staged = staging / target.name
            sha256 = checkpoints.write(
                staged,
                kind,
                reporting(tensors, progress, f"exporting {source.name}") if progress else tensors,
                metadata={"format": "pt"} if kind == "safetensors" else None,
                ties=plan.ties,
                bare=kind == "pth" and not source.architecture.layouts[chosen].wrapped,
            )
            _compare(staged, tensors)
            size = staged.stat().st_size
            publish_file(staged, target.absolute())
    return Exported(
        path=target,
        sha256=sha256,
        size=size,
        architecture=source.architecture,
        layout=chosen,
        plan=plan,
        absent=source.absent,
        synthetic=source.synthetic,
    )


def _look_up(
    what: str | os.PathLike[str], revision: str | None, progress: Progress | None
) -> _Source:
    text = os.fspath(what)
    if Path(text).is_file():
        with checkpoints.open(text) as checkpoint:
            found = recognised(checkpoint.specs, name=text, prefix="")
            if found.layout != "detrex":
                raise UsageError(
                    f"{text} is {found.architecture.name} ({found.layout}), and only weights in "
                    "detrex's names are written back",
                    hint=f"Convert it first: detrex-hub convert {text}",
                )
            made = identify(checkpoint.specs, found, metadata=checkpoint.metadata).architecture
        return _Source(
            name=Path(text).stem, path=Path(text), architecture=made, absent={}, synthetic=False
        )
    repository = resolve(text, revision=revision, progress=progress)
    config, record = repository.config, repository.record
    return _Source(
        name=_file_stem(record.name, text),
        path=repository.weights(progress),
        architecture=architecture(config.architecture).from_hyper_parameters(
            config.hyper_parameters
        ),
        absent=record.plan.dropped,
        synthetic=config.synthetic,
    )


def _file_stem(name: str, what: str) -> str:
    """A recorded name as the beginning of a file's name.

    Raises:
        ConfigError: it could be a path to somewhere else.
    """
    if not _STEM.fullmatch(name):
        raise ConfigError(f"{what}/{CONVERSION}: the name {name[:80]!r} is not a file name")
    return name


def _layout(made: Architecture, layout: str) -> str:
    layouts = [name for name in made.layouts if name != "detrex"]
    if layout in layouts:
        return layout
    if layout == "original" and layouts:
        return layouts[0]
    if not layouts:
        raise UsageError(
            f"{made.name} has no layout but detrex's own to be written in",
            hint="Use the weights as they are: its authors trained with detrex",
        )
    raise UsageError(
        f"{made.name} has no layout {layout!r} to be written in",
        hint=f"Choose one: --to {' or '.join(layouts)}",
    )


def _check_ties(source: _Source, checkpoint: Checkpoint) -> None:
    """Copies in a file of what is one tensor in the model must be equal."""
    for group in source.architecture.ties():
        first, *others = [key for key in group if key in checkpoint.specs] or [""]
        for key in others:
            if checkpoint.identity(key) != checkpoint.identity(first) and not (
                checkpoints.same_bytes(checkpoint.chunks(first), checkpoint.chunks(key))
            ):
                raise VerificationError(
                    f"{first} and {key} differ in {source.path.name}, and the model holds one "
                    "tensor for both",
                    hint="The checkpoint comes from a changed model and cannot be exported",
                )


def _compare(path: Path, tensors: list[Tensor]) -> None:
    with checkpoints.open(path) as written:
        other = checkpoints.first_other(written, tensors)
    if other is not None:
        raise VerificationError(
            f"{other} differs from the source after it was written",
            hint="Check disk and memory of this machine, then export again",
        )
