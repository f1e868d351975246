"""Targets of a push: the Hub, or a folder with the same layout. Before any work, a target reports
its files and whether it would accept a push."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from detrex_hub.errors import UsageError
from detrex_hub.folder_files import find_file
from detrex_hub.records import (
    CARD,
    CONFIG,
    CONVERSION,
    PICTURES,
    SIGNATURE,
    WEIGHTS,
    ConversionRecord,
    read_bytes,
)
from detrex_hub.repositories import names
from detrex_hub.repositories.accounts import account
from detrex_hub.repositories.client import Client, Remote, require_token
from detrex_hub.repositories.fetching import fetch
from detrex_hub.repositories.payload import digest
from detrex_hub.repositories.push_options import PushOptions
from detrex_hub.repositories.pushing import FOLDER_NAMESPACE, repo_id_of
from detrex_hub.repositories.upload import check_target, signature_of

# the repository of a trusted publisher's token; see huggingface_hub
OIDC_VARIABLE = "HF_OIDC_RESOURCE"


class Target(Protocol):
    """A place that names are pushed to."""

    def repo_id(self, name: str) -> str:
        """``owner/name``.

        Raises:
            UsageError: the Hub does not allow this name.
        """

    def url(self, repo_id: str) -> str:
        """Its page, or its path."""

    def held(self, repo_id: str) -> Remote | None:
        """The present files of a repository; None if there is no repository.

        Raises:
            HubError: the Hub fails, or a file of the folder cannot be read.
        """

    def record(self, held: Remote) -> ConversionRecord | None:
        """Its `conversion.json`; None if it has none.

        Raises:
            ConfigError: it is malformed.
            HubError: it could not be read.
        """

    def signature(self, held: Remote) -> bytes | None:
        """Its `model.sig`; None if it has none.

        Raises:
            HubError: it could not be read.
        """

    def check(self, held: Remote) -> None:
        """Refuse a repository that would not accept a push.

        Raises:
            HubError: it would refuse.
        """


def target(options: PushOptions) -> Target:
    """The target that the options name.

    Raises:
        UsageError: the options exclude each other.
        HubError: there is no token, or it may not write.
    """
    if options.to is None:
        return _Hub(options)
    if options.private or options.create_pr:
        raise UsageError(
            "--private and --create-pr need a repository, not a folder", hint="Leave them out"
        )
    return _Folder(options, options.to.expanduser())


class _Hub:
    def __init__(self, options: PushOptions) -> None:
        self._options = options
        require_token("the Hub")
        # such a token belongs to one repository, and not to a user
        user = None if os.environ.get(OIDC_VARIABLE) else account()
        self._owner = options.namespace or os.environ.get("DETREX_HUB_NAMESPACE")
        if not self._owner:
            if user is None:
                raise UsageError(
                    "a trusted publisher has no namespace of its own",
                    hint="Name the owner: --namespace OWNER",
                )
            self._owner = user.name
        if user is not None and not options.create_pr:
            user.check_right_to_create(self._owner)

    def repo_id(self, name: str) -> str:
        return names.repo_id(f"{self._owner}/{name}")

    def url(self, repo_id: str) -> str:
        return Client(repo_id).url

    def held(self, repo_id: str) -> Remote | None:
        return Client(repo_id).read()

    def record(self, held: Remote) -> ConversionRecord | None:
        if CONVERSION not in held.files:
            return None
        path = fetch(held.id, [CONVERSION], revision=held.commit).files[CONVERSION]
        return ConversionRecord.load(path, where=f"{held.id}/{CONVERSION}")

    def signature(self, held: Remote) -> bytes | None:
        return signature_of(held)

    def check(self, held: Remote) -> None:
        options = self._options
        check_target(Client(held.id), held, private=options.private, create_pr=options.create_pr)


class _Folder:
    def __init__(self, options: PushOptions, root: Path) -> None:
        self._options = options
        self.root = root

    def repo_id(self, name: str) -> str:
        named = repo_id_of(name, self._options.namespace)
        return named or names.repo_id(f"{FOLDER_NAMESPACE}/{name}")

    def url(self, repo_id: str) -> str:
        return str(self.root / repo_id)

    def held(self, repo_id: str) -> Remote | None:
        folder = self.root / repo_id
        if not folder.exists():
            return None
        found = {
            name: path
            for name in (*WEIGHTS.values(), CONFIG, CONVERSION, CARD, SIGNATURE, *PICTURES)
            if (path := find_file(folder, name)) is not None
        }
        digests = {name: digest(path).sha256 for name, path in found.items()}
        return Remote(repo_id, None, False, digests)

    def record(self, held: Remote) -> ConversionRecord | None:
        path = find_file(self.root / held.id, CONVERSION)
        return None if path is None else ConversionRecord.load(path)

    def signature(self, held: Remote) -> bytes | None:
        path = find_file(self.root / held.id, SIGNATURE)
        return None if path is None else read_bytes(path)

    def check(self, held: Remote) -> None:
        return None
