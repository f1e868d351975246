"""The files of a converted folder, with the digests that the Hub uses."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Collection, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from detrex_hub import card, catalogue, checkpoints
from detrex_hub.catalogue.entry import same_address
from detrex_hub.configs import settings
from detrex_hub.errors import HubError, VerificationError, did_you_mean_path, refuse_special
from detrex_hub.folder_files import find_file
from detrex_hub.own_files import opened
from detrex_hub.records import (
    CARD,
    CONFIG,
    CONVERSION,
    PICTURES,
    SIGNATURE,
    ConversionRecord,
    RepositoryConfig,
    convert_again,
    read_bytes,
)
from detrex_hub.repositories import signing

if TYPE_CHECKING:
    from typing_extensions import Self

_CHUNK = 2**20
# the Hub stores files of up to 10 MB in git itself
_SMALL = 10 * 2**20


class Digest(Struct, frozen=True):
    """The digest of a content: its size in bytes, its sha256, and its id as a blob in git.

    Large files have no ``git_id``, because the Hub stores them by sha256.
    """

    size: int
    sha256: str
    git_id: str | None

    def matches(self, hex_digest: str) -> bool:
        """Whether a digest is this content's sha256 or its git id."""
        return hex_digest in (self.sha256, self.git_id)


class Files(Struct, frozen=True, kw_only=True):
    """Files to push, with a card.

    ``contents`` are the files' paths, or bytes to push instead; ``digests`` are their digests.
    ``signature`` is what the folder has as ``model.sig``.
    """

    folder: Path
    contents: Mapping[str, Path | bytes]
    digests: Mapping[str, Digest]
    signature: bytes | None = None

    def card(self) -> str:
        """The text of the card.

        Raises:
            HubError: it is not text.
            ConfigError: it cannot be read, or is too large.
        """
        content = self.contents[CARD]
        try:
            return (content if isinstance(content, bytes) else read_bytes(content)).decode()
        except UnicodeDecodeError as error:
            raise HubError(f"{self.folder / CARD} is not readable as text: {error}") from None

    def addressed_to(self, repo_id: str) -> Self:
        """The same with a card whose commands name the repository that it is pushed to."""
        return self

    def signed(self, repo_id: str, key: Path | None, there: bytes | None) -> Self:
        """The same with a signature over all of its files.

        Args:
            repo_id: the repository that they are pushed to, for messages.
            key: the private key; None takes the signature of the folder, if it has one.
            there: the signature in the repository, which is kept if the same key signed the same
                files.

        Raises:
            UsageError: the key cannot be used, or the library ``model-signing`` is not installed.
            HubError: the signature of the folder is over other files than those that are pushed.
        """
        digests = {name: digest.sha256 for name, digest in self.digests.items()}
        content = there
        if key is None:
            content = self.signature
            if content is None:
                return self
            self._refuse_signature_of_others(repo_id, content, digests)
        elif there is None or signing.Seal.read(there) != signing.Seal(
            signing.key_of(key), digests
        ):
            content = signing.sign(self.contents, self.folder.resolve().name, key)
        assert content is not None
        return replace(
            self,
            contents={**self.contents, SIGNATURE: content},
            digests={**self.digests, SIGNATURE: digest(content)},
        )

    def _refuse_signature_of_others(
        self, repo_id: str, content: bytes, digests: Mapping[str, str]
    ) -> None:
        place, seal = self.folder / SIGNATURE, signing.Seal.read(content)
        if seal is None:
            raise HubError(f"{place} is no model signature", hint="Remove it, or sign again")
        others = sorted({name for name, _ in seal.files.items() ^ digests.items()})
        if not others:
            return
        if others == [CARD] and seal.files.get(CARD) == digest(self.folder / CARD).sha256:
            raise self._renamed(repo_id, seal)
        raise HubError(
            f"{place} does not cover the files that would be pushed, which differ in "
            f"{', '.join(others)[:200]}",
            hint="Remove it, or sign what is pushed: --sign-key PRIVATE_KEY",
        )

    def _renamed(self, repo_id: str, seal: signing.Seal) -> HubError:
        """The refusal of a signature over a card that the push changes."""
        before, path = read_bytes(self.folder / CARD).decode(), self.folder / CARD
        licensed = card.license_of(before) != card.license_of(self.card())
        written = f"the {'licence' if licensed else f'name {repo_id}'} into {path}"
        what = f"the push writes {written}, and {self.folder / SIGNATURE} covers the card without"
        if seal.key is not None:
            return HubError(f"{what}. Sign again", choices=["--sign-key PRIVATE_KEY"])
        if licensed:
            return HubError(what, hint="Write it into the card, then sign the folder again")
        return HubError(
            what,
            hint="Write the card for that name, then sign the folder again: detrex-hub card "
            f"{shlex.quote(_as_folder(self.folder))} --repo {repo_id} > {shlex.quote(str(path))}",
        )

    def refuse_to_unsign(self, there: Collection[str], name: str) -> None:
        """Refuse to replace signed files with unsigned ones.

        Args:
            there: the names of the files in the repository.
            name: of the repository, for the message.

        Raises:
            HubError: the repository is signed, and these files are not.
        """
        if SIGNATURE in there and SIGNATURE not in self.digests:
            raise unsigned(name)

    def _with_card(self, text: str) -> Self:
        content = text.encode()
        return replace(
            self,
            contents={**self.contents, CARD: content},
            digests={**self.digests, CARD: digest(content)},
        )


class Payload(Files, frozen=True, kw_only=True):
    """A whole converted folder: four files, checked against each other, and the pictures."""

    config: RepositoryConfig
    record: ConversionRecord

    def addressed_to(self, repo_id: str) -> Self:
        """The same with a card whose commands name the repository that it is pushed to.

        Raises:
            HubError: the card is not text.
        """
        return self._with_card(card.addressed(self.card(), self.record.name, repo_id))

    def licensed(self, license: str) -> Self:
        """The same with a card that says the licence.

        Raises:
            HubError: the card is not text.
            UsageError: the licence is unknown to the Hub, or the card says another.
        """
        return self._with_card(card.licensed(self.card(), license))

    def check_license(self, extra_catalogues: Sequence[Path] = ()) -> None:
        """Refuse a card that says another licence than the catalogue does of the same original.

        Args:
            extra_catalogues: catalogue files in addition to the built-in ones.

        Raises:
            HubError: it does, or is not text.
        """
        url = str(self.record.source.url)
        entry = catalogue.look_up(self.record.name, extra_catalogues)
        if entry is None or entry.license is None:
            return
        if not any(same_address(one.url, url) for one in entry.sources):
            return
        said = card.license_of(self.card())
        if said != entry.license:
            raise HubError(
                f"{self.folder / CARD} says the licence {(said or 'none')[:80]!r}, and that of"
                f" {entry.name} is {entry.license}",
                hint=_render_again(self.folder),
            )


def _as_folder(folder: Path) -> str:
    # without the dot a name of the catalogue would be meant
    return str(folder) if folder.is_absolute() else f"./{folder}"


def _render_again(folder: Path) -> str:
    path = _as_folder(folder)
    card = shlex.quote(f"{path}/{CARD}")
    return f"Render the card again: detrex-hub card {shlex.quote(path)} > {card}"


def unsigned(name: str) -> HubError:
    """The refusal to replace signed files with unsigned ones."""
    return HubError(
        f"{name} is signed, and what would be pushed is not", hint="Sign it: --sign-key PRIVATE_KEY"
    )


def instead_of(folder: str) -> str:
    """The remedy for a missing folder: convert the name of the catalogue, or correct the path."""
    from detrex_hub.catalogue import look_up

    again = convert_again(Path(folder).expanduser())
    return again if look_up(Path(folder).name) else did_you_mean_path(folder, again)


def read(folder: Path) -> Payload:
    """Read a converted folder for a push.

    Raises:
        HubError: a file is missing or is not a regular file.
        ConfigError: ``config.json`` or ``conversion.json`` is malformed, or a load would refuse
            it.
        CheckpointError: a load would refuse the weights.
        VerificationError: the weights are not those that ``config.json`` describes.
    """
    if not folder.is_dir():
        refuse_special(folder)
        raise HubError(f"{folder} is not a folder", hint=instead_of(str(folder)))
    config = RepositoryConfig.load(_file(folder, CONFIG))
    settings.accepted(config, where=str(folder / CONFIG))
    names = (config.checkpoint.file, CONFIG, CONVERSION, CARD)
    paths = {name: _file(folder, name) for name in names}
    for name in PICTURES:
        if picture := find_file(folder, name):
            paths[name] = picture
            read_bytes(picture)
    # their sizes are limited, and are checked before the files are hashed
    record = ConversionRecord.load(paths[CONVERSION])
    read_bytes(paths[CARD])
    signature = find_file(folder, SIGNATURE)
    digests = {name: digest(path) for name, path in paths.items()}
    weights = config.checkpoint
    found = digests[weights.file].sha256
    if found != weights.sha256:
        raise VerificationError(
            f"{folder / weights.file} is not the file that {CONFIG} describes: its sha256 is "
            f"{found} instead of {weights.sha256}",
            hint=convert_again(folder, record),
        )
    with checkpoints.open(paths[weights.file], checksums=False) as checkpoint:
        weights.stored_keys(checkpoint, where=str(folder))
    return Payload(
        folder=folder,
        config=config,
        record=record,
        contents=paths,
        digests=digests,
        signature=None if signature is None else read_bytes(signature),
    )


def _file(folder: Path, name: str) -> Path:
    path = find_file(folder, name)
    if path is None:
        raise HubError(f"{folder} has no {name}", hint=convert_again(folder))
    return path


def digest(content: Path | bytes) -> Digest:
    """Hash a file, or bytes.

    Raises:
        HubError: the file cannot be read, or it changed while it was read.
    """
    if isinstance(content, bytes):
        return _digest(BytesIO(content), "the bytes")
    try:
        with opened(content, links=True) as handle, os.fdopen(os.dup(handle), "rb") as file:
            return _digest(file, str(content))
    except OSError as error:
        raise HubError(f"{content} cannot be read: {error.strerror}") from None


def _digest(file: IO[bytes], where: str) -> Digest:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    sha256 = hashlib.sha256()
    # sha1, because git uses it for ids; nothing here relies on it for security
    git = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False) if size <= _SMALL else None
    while chunk := file.read(_CHUNK):
        sha256.update(chunk)
        if git is not None:
            git.update(chunk)
    if file.tell() != size:
        raise HubError(f"{where} changed while it was read", hint="Try again when it is complete")
    return Digest(size, sha256.hexdigest(), git.hexdigest() if git is not None else None)
