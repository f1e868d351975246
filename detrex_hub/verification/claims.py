"""The claims of a repository: its files on this machine, with their records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from detrex_hub import __version__
from detrex_hub.configs import settings
from detrex_hub.errors import VerificationError
from detrex_hub.progress import Progress
from detrex_hub.records import (
    CARD,
    CONFIG,
    CONVERSION,
    ConversionRecord,
    RepositoryConfig,
    convert_again,
)
from detrex_hub.repositories import Repository


class Proven(Struct, frozen=True):
    """One claim that was recomputed and is true. ``but`` is a restriction for the summary."""

    name: str
    detail: str
    but: str | None = None


class Claims(Struct, frozen=True):
    """A repository's files on this machine, with parsed records. ``document`` is the JSON of
    ``record`` with unknown fields."""

    name: str
    revision: str | None
    weights: Path
    described: RepositoryConfig
    record: ConversionRecord
    document: Mapping[str, Any]
    card: Path | None
    pictures: Mapping[str, Path]
    signed: Mapping[str, Path]
    signature: Path | None

    def refuse(self, what: str) -> VerificationError:
        return VerificationError(f"{self.name}: {what}", hint=convert_again(self.name, self.record))


def read_claims(repository: Repository, progress: Progress | None) -> Claims:
    """Read the records of a repository, and download its weights."""
    settings.accepted(repository.config, where=f"{repository.name}/{CONFIG}")
    return Claims(
        repository.name,
        repository.commit,
        repository.weights(progress),
        repository.config,
        repository.record,
        repository.document,
        repository.card,
        repository.pictures,
        {
            **{name: repository.file(name) for name in (CONFIG, CONVERSION)},
            **({CARD: repository.card} if repository.card is not None else {}),
            repository.config.checkpoint.file: repository.weights(),
            **repository.pictures,
        },
        repository.signature,
    )


def other_version(claims: Claims) -> str:
    version = claims.record.tool.version
    if version == __version__:
        return ""
    return f" (made by detrex-hub {version[:40]}; this is {__version__})"
