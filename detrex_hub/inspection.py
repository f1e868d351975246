"""Describe a checkpoint or a catalogue entry without converting it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field, to_builtins

from detrex_hub import catalogue, checkpoints
from detrex_hub.architectures import architecture
from detrex_hub.architectures.declared import IMAGE_FACTS, Fact
from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.catalogue.models import model_of
from detrex_hub.errors import (
    ArchitectureError,
    ConfigError,
    MappingError,
    no_file,
    suggesting,
)
from detrex_hub.identify import identify, offer_backbone, recognised
from detrex_hub.mapping.fold import fold_keys
from detrex_hub.originals import snapshots
from detrex_hub.redaction import public_url
from detrex_hub.specs import TensorSpec

if TYPE_CHECKING:
    from detrex_hub.progress import Progress


class Inspection(Struct, frozen=True, kw_only=True):
    """The contents of a checkpoint and, if its keys show it, its architecture.

    ``wrapper`` was removed from the keys, such as ``module.``; ``others`` are further dicts of
    tensors in the file, with their number of tensors; ``runs`` are the keys folded, with the number
    of keys in each; ``placeholders`` are globals of the pickle that were made inert. ``prefix``
    stands before the keys of the architecture, and ``outside`` is how many keys lack it.
    ``refusal`` says why the architecture is None.
    """

    file: str
    format: str
    size: int
    container: str | None
    wrapper: str
    others: Mapping[str, int]
    metadata: tuple[str, ...]
    placeholders: tuple[str, ...]
    specs: Mapping[str, TensorSpec]
    runs: Mapping[str, int]
    architecture: str | None = None
    layout: str | None = None
    because: tuple[str, ...] = ()
    prefix: str = ""
    outside: int = 0
    hyper_parameters: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    assumed: Mapping[str, Any] = field(default_factory=dict)
    refusal: ArchitectureError | MappingError | None = None

    @property
    def averaged(self) -> tuple[str, ...]:
        """The names of the averaged weights among ``others``."""
        return tuple(name for name in self.others if checkpoints.is_averaged(name))

    @property
    def parameters(self) -> int:
        return sum(spec.numel for spec in self.specs.values())

    @property
    def nbytes(self) -> int:
        return sum(spec.nbytes for spec in self.specs.values())

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "format": self.format,
            "size": self.size,
            "container": self.container,
            "wrapper": self.wrapper,
            "others": dict(self.others),
            "averaged": list(self.averaged),
            "metadata": list(self.metadata),
            "placeholders": list(self.placeholders),
            "tensors": {key: [spec.dtype, list(spec.shape)] for key, spec in self.specs.items()},
            "parameters": self.parameters,
            "bytes": self.nbytes,
            "architecture": self.architecture,
            "layout": self.layout,
            "because": list(self.because),
            "prefix": self.prefix,
            "outside": self.outside,
            "hyper_parameters": dict(self.hyper_parameters),
            "overrides": dict(self.overrides),
            "assumed": dict(self.assumed),
            "refusal": self.refusal and str(self.refusal),
            # the name that it has if nothing could be read
            "error": self.refusal and str(self.refusal),
        }


def inspect(
    what: str | os.PathLike[str],
    *,
    container: str | None = None,
    prefix: str | None = None,
    revision: str | None = None,
    extra_catalogues: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Inspection:
    """Describe a checkpoint. No tensor is read, and no code in a pickle is run.

    Args:
        what: a file, a folder with weights, or ``owner/name`` on the Hub.
        container: the dict in the file that holds the weights, if there are several.
        prefix: the prefix of the weights' keys, such as ``backbone.``; found by trying by default.
        revision: branch, tag or commit of a repository.
        extra_catalogues: catalogue files in addition to the built-in ones.
        progress: reports downloads.

    Raises:
        CheckpointError: the file cannot be read.
        HubError: the repository or the network fails.
        UsageError: there is no such file.

    Example:
        >>> from detrex_hub import inspect
        >>> found = inspect("resnet101-cd907fc2.pth")
        >>> found.architecture, found.layout
        ('resnet', 'torchvision')
    """
    command = f"detrex-hub convert {quote(os.fspath(what))}"
    if container is not None:
        command += f" --container {quote(container)}"
    path = find_weights(
        what, revision=revision, extra_catalogues=extra_catalogues, progress=progress
    )
    with suggesting(command), checkpoints.open(path, container=container) as checkpoint:
        metadata = checkpoint.metadata | snapshots.documents(path)
        specs = dict(checkpoint.specs)
        found: dict[str, Any] = {}
        try:
            known = recognised(specs, name=what, prefix=prefix)
            found |= {
                "architecture": known.architecture.name,
                "layout": known.layout,
                "because": known.because,
                "prefix": known.prefix,
                "outside": known.outside,
            }
            whole = identify(specs, known, metadata=metadata)
            _ = whole.plan
            found |= {
                "hyper_parameters": whole.architecture.hyper_parameters(),
                "overrides": whole.overrides.lazy,
                "assumed": whole.assumed,
            }
        except (ArchitectureError, MappingError) as error:
            if prefix is None and error.hint is None:
                offer_backbone(error, specs)
            error.complete(command, "See what is known: detrex-hub list")
            found["refusal"] = error
        return Inspection(
            file=path.name,
            format=checkpoint.format,
            size=sum(file.stat().st_size for file in checkpoint.files),
            container=checkpoint.container,
            wrapper=checkpoint.wrapper,
            others={
                name: count
                for name, count in checkpoint.containers.items()
                if name != (checkpoint.container or "")
            },
            metadata=tuple(str(name) for name in metadata),
            placeholders=tuple(checkpoint.placeholders),
            specs=specs,
            runs={one.target: one.tensors for one in fold_keys(specs)},
            **found,
        )


def describe_entry(entry: CatalogueEntry) -> dict[str, Any]:
    """The catalogue's data on weights, the overrides for a config, and the facts that a conversion
    of them takes."""
    known: dict[str, Any] = to_builtins(entry)
    for source in known["sources"]:
        source["url"] = public_url(source["url"])
    overrides: dict[str, Any] = {"lazy": {}, "yacs": {}}
    kind = architecture(entry.architecture)
    declared: Mapping[str, Fact] = {**IMAGE_FACTS, **kind.facts}
    if entry.hyper_parameters:
        made = model_of(entry)
        declared = made.declared_facts()
        wanted = made.overrides(made.preprocessing(entry.facts))
        overrides = {"lazy": wanted.lazy, "yacs": wanted.yacs}
    takes = {
        name: {"meaning": fact.meaning, "values": fact.kind.meaning}
        for name, fact in declared.items()
    }
    return known | {"takes": takes, "overrides": overrides, "pinned": list(entry.pinned)}


def find_weights(
    what: str | os.PathLike[str],
    *,
    revision: str | None = None,
    extra_catalogues: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Path:
    """The weights in a file, a folder, or a repository ``owner/name`` on the Hub.

    Raises:
        HubError: the repository or the network fails.
        UsageError: there is no such file.
    """
    text = os.fspath(what)
    path = Path(text)
    if path.is_file():
        return path
    bare = text.removeprefix("hf://").partition("@")[0]
    if path.is_dir():
        if catalogue.look_up(text, extra_catalogues) is None and not snapshots.is_converted(path):
            return snapshots.in_folder(path).weights
    elif not snapshots.is_on_hub(text) and ("/" in bare or Path(bare).suffix):
        raise no_file(text, "See the known names: detrex-hub list")
    # most calls name a file, which does not need the code that finds and converts repositories
    from detrex_hub.resolving import resolve

    repository = resolve(
        text, revision=revision, extra_catalogues=extra_catalogues, progress=progress
    )
    try:
        return repository.weights(progress)
    except ConfigError:
        # a repository of another project
        return snapshots.on_hub(text, revision, progress).weights
