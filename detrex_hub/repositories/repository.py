"""One converted repository: its records, its card and its weights, all of one commit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from detrex_hub.progress import Progress
from detrex_hub.records import (
    CARD,
    CONFIG,
    CONVERSION,
    PICTURES,
    SIGNATURE,
    ConversionRecord,
    RepositoryConfig,
    load_json,
)
from detrex_hub.repositories.fetching import fetch


class Repository:
    """A repository on the Hub, or a folder with its layout.

    Opening it fetches only ``config.json``, by which the Hub counts downloads. All other files are
    fetched on request from the same commit.

    Args:
        name: its name in messages.
        address: ``owner/name`` or the path of a folder.
        commit: the commit of its files; None for a folder.
        config_file: its ``config.json`` on this machine.

    Example:
        >>> repository = Repository.open("detrex/r101_v2")
        >>> repository.config.architecture
        'resnet'
    """

    def __init__(self, name: str, address: str, commit: str | None, config_file: Path) -> None:
        self.name = name
        self.address = address
        self.commit = commit
        self.proven = False
        """Whether this process has written the weights, and compared every byte with the
        original."""
        self._config_file = config_file

    @classmethod
    def open(cls, name: str | os.PathLike[str], revision: str | None = None) -> Repository:
        """Open a repository.

        Args:
            name: ``owner/name`` or ``owner/name@revision`` under ``DETREX_HUB_ROOT`` or on the Hub,
                or the path of a folder. ``hf://`` may stand before it.
            revision: branch, tag or commit.

        Raises:
            HubError: the repository or the network fails.
            UsageError: the name is malformed.
        """
        text = os.fspath(name).removeprefix("hf://")
        fetched = fetch(text, [CONFIG], revision=revision)
        address = text.rpartition("@")[0] or text if fetched.commit else text
        return cls(text, address, fetched.commit, fetched.files[CONFIG])

    @property
    def folder(self) -> Path:
        """The folder on this machine that holds the files of its commit."""
        return self._config_file.parent

    @cached_property
    def config(self) -> RepositoryConfig:
        """The content of `config.json`.

        Raises:
            ConfigError: it is malformed.
        """
        return RepositoryConfig.load(self._config_file, where=f"{self.name}/{CONFIG}")

    @cached_property
    def document(self) -> Mapping[str, Any]:
        """The document `conversion.json`, with fields that this version does not know."""
        found: Mapping[str, Any] = load_json(
            self.file(CONVERSION), where=f"{self.name}/{CONVERSION}"
        )
        return found

    @cached_property
    def record(self) -> ConversionRecord:
        """The content of `conversion.json`.

        Raises:
            HubError: the repository has none.
            ConfigError: it is malformed.
        """
        return ConversionRecord.from_json(self.document, where=f"{self.name}/{CONVERSION}")

    @cached_property
    def card(self) -> Path | None:
        """The model card; None where there is none."""
        fetched = fetch(self.address, [CONFIG], revision=self.commit, optional=[CARD])
        return fetched.files.get(CARD)

    @cached_property
    def pictures(self) -> Mapping[str, Path]:
        """The existing pictures of the card, by file name."""
        fetched = fetch(self.address, [CONFIG], revision=self.commit, optional=PICTURES)
        return {name: fetched.files[name] for name in PICTURES if name in fetched.files}

    @cached_property
    def signature(self) -> Path | None:
        """The signature of its files; None where there is none."""
        fetched = fetch(self.address, [CONFIG], revision=self.commit, optional=[SIGNATURE])
        return fetched.files.get(SIGNATURE)

    def weights(self, progress: Progress | None = None) -> Path:
        """The weights on this machine. They are not yet compared with what the config says.

        Raises:
            HubError: the repository or the network fails.
        """
        return self.file(self.config.checkpoint.file, progress)

    def file(self, name: str, progress: Progress | None = None) -> Path:
        """One of its files on this machine.

        Raises:
            HubError: there is no such file, or the network fails.
        """
        found = fetch(self.address, [name], revision=self.commit, progress=progress)
        return found.files[name]
