"""The weights that an export reads: a converted folder, a repository, or a file of detrex's."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from detrex_hub import checkpoints
from detrex_hub.architectures import architecture
from detrex_hub.architectures.base import Architecture
from detrex_hub.architectures.declared import IMAGE_FACTS, as_options, understood
from detrex_hub.checkpoints import Checkpoint
from detrex_hub.errors import UsageError, VerificationError
from detrex_hub.identify import identify, recognised
from detrex_hub.repositories import Repository
from detrex_hub.resolving import resolve

if TYPE_CHECKING:
    from detrex_hub.progress import Progress

# characters that begin the name of a file
_LONGEST_STEM = 96


class ExportSource(Struct, frozen=True, kw_only=True):
    """Weights in detrex's names, with the known data.

    Args:
        name: the beginning of a file's name, without a folder.
        path: the file of the weights.
        architecture: with its hyper-parameters.
        preprocessing: image format, mean and std (0..255).
        facts: stated facts other than hyper-parameters and preprocessing.
        assumed: facts that nothing states, with the assumed values.
        absent: keys of the original that these weights do not hold, with the reasons.
        synthetic: whether they are seeded numbers.
        repository: the repository that holds them; None for a file.
    """

    name: str
    path: Path
    architecture: Architecture
    preprocessing: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)
    assumed: Mapping[str, Any] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    synthetic: bool = False
    repository: Repository | None = None


def find_source(
    what: str | os.PathLike[str],
    revision: str | None = None,
    *,
    facts: Mapping[str, Any] | None = None,
    extra_catalogues: Sequence[Path] = (),
    progress: Progress | None = None,
) -> ExportSource:
    """Find weights in detrex's names.

    Args:
        what: a converted folder, ``owner/name`` on the Hub, or a checkpoint in detrex's names.
        revision: branch, tag or commit of a repository.
        facts: facts that nothing else states, values or texts of a command line.
        extra_catalogues: catalogue files in addition to the built-in ones.
        progress: reports downloads.

    Raises:
        UsageError: the file has other names, or a fact contradicts the known data.
        DetrexHubError: the source cannot be read.
    """
    text = os.fspath(what)
    given = dict(facts or {})
    if Path(text).is_file():
        return _of_file(text, given)
    repository = resolve(
        text, revision=revision, extra_catalogues=extra_catalogues, progress=progress
    )
    config, record = repository.config, repository.record
    kind = architecture(config.architecture)
    found = ExportSource(
        name=_file_stem(record.name),
        path=repository.weights(progress),
        architecture=kind.from_hyper_parameters(config.hyper_parameters),
        preprocessing=config.preprocessing,
        facts=record.facts,
        assumed=record.assumed,
        absent=record.plan.dropped,
        synthetic=config.synthetic,
        repository=repository,
    )
    return _with_facts(found, given) if given else found


def _of_file(text: str, given: dict[str, Any]) -> ExportSource:
    with checkpoints.open(text) as checkpoint:
        known = recognised(checkpoint.specs, name=text, prefix="")
        if known.layout != "detrex":
            raise UsageError(
                f"{text} is {known.architecture.name} ({known.layout}), but only weights with "
                "detrex's names can be exported",
                hint=f"Convert it first: detrex-hub convert {quote(text)}",
            )
        found = identify(checkpoint.specs, known, given=given, metadata=checkpoint.metadata)
    return ExportSource(
        name=_file_stem(Path(text).stem),
        path=Path(text),
        architecture=found.architecture,
        preprocessing=found.preprocessing,
        facts=found.facts,
        assumed=found.assumed,
    )


def _with_facts(source: ExportSource, given: Mapping[str, Any]) -> ExportSource:
    """The same with facts that its records do not state.

    Raises:
        UsageError: a fact is unknown, of another kind, or contradicts the records.
    """
    made = source.architecture
    said = understood(made.declared_facts(), given, where=made.name)
    known = {**made.hyper_parameters(), **source.preprocessing}
    for name, value in said.items():
        before = known.get(name)
        if before is not None and name not in source.assumed and before != value:
            raise UsageError(
                f"{name} of {source.name} is {before}, not {value}",
                hint=f"Leave it out: {as_options({name: value})}",
            )
    hyper_parameters = made.hyper_parameters()
    own = {n: v for n, v in said.items() if n in hyper_parameters}
    body = {f"backbone_{n}": v for n, v in said.items() if n == "dilation" and n not in own}
    if own or body:
        made = type(made).from_hyper_parameters({**hyper_parameters, **own, **body})
    images = {n: v for n, v in said.items() if n in IMAGE_FACTS or n in source.preprocessing}
    return replace(
        source,
        architecture=made,
        preprocessing={**source.preprocessing, **images},
        assumed={n: v for n, v in source.assumed.items() if n not in said},
    )


def _file_stem(name: str) -> str:
    """A recorded name as the beginning of a file's name: letters, digits, dots and dashes, so that
    it is no path to somewhere else, and needs no quotes."""
    return re.sub(r"[^\w.]+", "-", name).strip(".-")[:_LONGEST_STEM] or "weights"


def check_ties(source: ExportSource, checkpoint: Checkpoint) -> None:
    """Check that tensors in a file that are one tensor in the model are equal.

    Raises:
        VerificationError: they differ.
    """
    for group in source.architecture.ties():
        first, *others = [key for key in group if key in checkpoint.specs] or [""]
        for key in others:
            if checkpoint.identity(key) != checkpoint.identity(first) and not (
                checkpoints.same_bytes(checkpoint.chunks(first), checkpoint.chunks(key))
            ):
                raise VerificationError(
                    f"{first} and {key} differ in {source.path.name}, but the model has one "
                    "tensor for both",
                    hint="The checkpoint is from a modified model and cannot be exported",
                )
