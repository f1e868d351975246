"""Weights of a repository with class heads for other classes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from detrex_hub.architectures import architecture, classes
from detrex_hub.architectures.class_names import read_names
from detrex_hub.architectures.declared import IMAGE_FACTS
from detrex_hub.conversion import execute, prepare
from detrex_hub.errors import ArchitectureError, UsageError
from detrex_hub.local_conversions import locked
from detrex_hub.messages import log
from detrex_hub.originals.conversion_options import ConversionOptions
from detrex_hub.progress import Progress
from detrex_hub.records import CONFIG, to_json
from detrex_hub.repositories import Repository
from detrex_hub.repositories.converted import root
from detrex_hub.strict_json import dump_json

# part of every cache key: raised when the choice of rows changes
_VERSION = 2


class NewClasses(Struct, frozen=True):
    """The classes of a model to be trained.

    Args:
        number: of classes; that of the names by default.
        names: in their order. Classes that the weights know by these names keep their rows.
        seed: the seed of new rows.
    """

    number: int | None = None
    names: tuple[str, ...] | None = None
    seed: int = 0

    @classmethod
    def of(
        cls,
        number: int | None,
        names: Sequence[str] | Path | str | None,
        seed: int = 0,
    ) -> NewClasses | None:
        """The requested classes; None if none are requested.

        Args:
            number: of classes.
            names: their names, or a file that holds them.
            seed: the seed of new rows.

        Raises:
            UsageError: the file holds no names, or names and number contradict each other.
        """
        if isinstance(names, str | Path):
            names = read_names(Path(names))
        if number is None and names is None:
            return None
        if names is not None and number not in (None, len(names)):
            raise UsageError(f"there are {len(names)} names for {number} classes")
        return cls(number, None if names is None else tuple(names), seed)

    @property
    def count(self) -> int:
        """Their number."""
        return len(self.names or ()) if self.number is None else self.number

    def facts(self) -> dict[str, Any]:
        """The classes as facts of a conversion."""
        found: dict[str, Any] = {"num_classes": self.count, "seed": self.seed}
        if self.names is not None:
            found["class_names"] = list(self.names)
        return found


def with_classes(
    repository: Repository, wanted: NewClasses, *, progress: Progress | None = None
) -> Repository:
    """The weights of a repository with class heads for other classes. They are made once and
    cached.

    Args:
        repository: of a detector.
        wanted: the classes.
        progress: reports downloads and copying.

    Raises:
        ArchitectureError: the architecture has no class heads.
        DetrexHubError: the weights could not be fetched or converted.
    """
    described = repository.config
    kind = architecture(described.architecture)
    if "num_classes" not in kind.facts:
        raise ArchitectureError(
            f"{repository.name} is a {kind.name}, which has no class heads",
            hint="Leave num_classes and classes out",
        )
    facts = {**_facts(repository), **wanted.facts()}
    contents = repr((_VERSION, dump_json(to_json(described)), sorted(facts.items())))
    key = hashlib.sha256(contents.encode()).hexdigest()[:16]
    name = f"{Path(repository.address).name}-{wanted.count}-classes"
    folder = root() / key / name
    with locked(folder, name):
        if not (folder / CONFIG).is_file():
            weights = repository.weights(progress)
            options = ConversionOptions(architecture=kind.name, layout="detrex", facts=facts)
            with prepare(weights, options, progress=progress) as planned:
                execute(replace(planned, name=name), folder, progress=progress)
    made = Repository.open(folder)
    for note in made.record.notes:
        log(f"{repository.name}: {note}")
    made.name = repository.name
    return made


def _facts(repository: Repository) -> dict[str, Any]:
    """The facts that a repository states and that shapes do not show. Assumed values are left out:
    the conversion assumes them again."""
    described, assumed = repository.config, repository.record.assumed
    kind = architecture(described.architecture)
    known: dict[str, Any] = {
        name: value
        for name, value in described.hyper_parameters.items()
        if name in kind.facts and name not in classes.FACTS and value is not None
    }
    known |= {name: described.preprocessing[name] for name in IMAGE_FACTS}
    return {name: value for name, value in known.items() if name not in assumed}
