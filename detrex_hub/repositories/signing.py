"""Sign the files of a repository, and check such a signature.

The signature is an OpenSSF model signature (https://github.com/ossf/model-signing-spec): a Sigstore
bundle in ``model.sig``, which lists the sha256 of each file. Anybody can check it with the
``model-signing`` library alone, which this module uses for both.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from detrex_hub.errors import UsageError, VerificationError
from detrex_hub.records import SIGNATURE
from detrex_hub.repositories.signers import INSTALL, NEEDS, Signer, library, read_key

# how the library names a file of another content
_CHANGED = re.compile(r"Hash mismatch for \\?'([^'\\]*)")


class Seal(Struct, frozen=True):
    """The content of a signature, before it is checked: an identifier of the key, and the sha256 of
    each file by name. None is the key of a signature that an identity made."""

    key: str | None
    files: Mapping[str, str]

    @property
    def options(self) -> str:
        """The options of ``verify`` that check it."""
        return "--identity WHO --identity-provider URL" if self.key is None else "--public-key KEY"

    @classmethod
    def read(cls, content: bytes) -> Seal | None:
        """Read a ``model.sig``; None if it cannot be read, or lists a file twice."""
        try:
            bundle = json.loads(content)
            payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
            resources = [(one["name"], one["digest"]) for one in payload["predicate"]["resources"]]
            files = dict(resources)
            if len(files) < len(resources) or not all(
                isinstance(text, str) for one in resources for text in one
            ):
                return None
            made_with = bundle["verificationMaterial"]
            # both hold a certificate that names the identity, in newer and in older bundles
            if "certificate" in made_with or "x509CertificateChain" in made_with:
                return cls(None, files)
            return cls(str(made_with["publicKey"]["hint"]), files)
        except (ValueError, LookupError, TypeError, RecursionError):
            return None


def key_of(private_key: Path) -> str:
    """The identifier of the public key that belongs to a private one.

    Args:
        private_key: an elliptic-curve key (P-256, P-384 or P-521) as PEM, without a password.

    Raises:
        UsageError: it is no such key, or the library ``model-signing`` is not installed.
    """
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise UsageError(NEEDS, hint=INSTALL) from None
    try:
        key = serialization.load_pem_private_key(read_key(private_key), None)
    except (ValueError, TypeError) as error:
        # a TypeError says that a password is missing
        why = "has a password" if isinstance(error, TypeError) else "is no private key in PEM"
        raise _no_key(private_key, why) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _no_key(private_key, "is no elliptic-curve key")
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(public).hexdigest()


def _no_key(path: Path, why: str) -> UsageError:
    return UsageError(
        f"the key {path} {why}",
        hint="Make one: openssl ecparam -name prime256v1 -genkey -noout -out key.pem",
    )


def sign(files: Mapping[str, Path | bytes], name: str, private_key: Path) -> bytes:
    """Sign files.

    Args:
        files: their contents by name.
        name: of the model in the signature.
        private_key: as for `key_of`.

    Returns:
        the content of ``model.sig``.

    Raises:
        UsageError: the key cannot be used, or the library ``model-signing`` is not installed.
    """
    key_of(private_key)
    signing, hashing = library("signing"), library("hashing")
    with _laid_out(files, name) as folder:
        signature = folder.parent / SIGNATURE
        config = signing.Config().use_elliptic_key_signer(private_key=private_key)
        config.set_hashing_config(_hashing(hashing)).sign(folder, signature)
        return signature.read_bytes()


def read_seal(signature: bytes, signer: Signer) -> Seal:
    """Read a signature that a signer can have made. Nothing is checked yet.

    Raises:
        VerificationError: it cannot be read, or it was made with a key and the signer is an
            identity, or the other way round.
    """
    seal = Seal.read(signature)
    if seal is None:
        raise VerificationError(f"{SIGNATURE} is no model signature")
    if (seal.key is not None) != signer.has_key:
        made = (
            "by an identity, not with a key" if signer.has_key else "with a key, not by an identity"
        )
        raise VerificationError(f"{SIGNATURE} was made {made}", hint=f"Try: {seal.options}")
    return seal


def checked_seal(files: Mapping[str, Path | bytes], signature: bytes, signer: Signer) -> Seal:
    """Check that a signature was made by a signer, over exactly these files.

    Args:
        files: their contents by name.
        signature: the content of ``model.sig``.
        signer: who is expected to have made it.

    Raises:
        VerificationError: it was made by another signer, or over other files.
    """
    seal = read_seal(signature, signer)
    if seal.files.keys() != files.keys():
        # the library passes over files that a signature says to ignore
        raise VerificationError(
            f"{SIGNATURE} covers {', '.join(sorted(seal.files))[:200] or 'no file'}, and here are "
            f"{', '.join(sorted(files))}"
        )
    config = signer.config.set_hashing_config(_hashing(library("hashing")))
    with _laid_out(files, "model") as folder:
        place = folder.parent / SIGNATURE
        place.write_bytes(signature)
        try:
            config.verify(folder, place)
        except Exception as error:
            # the library raises what it meets in a stranger's file
            raise VerificationError(
                f"{SIGNATURE} is not the signature of these files by {signer.name}: {_why(error)}"
            ) from None
    return seal


def _why(error: Exception) -> str:
    """The library's reason in one line."""
    why = " ".join(str(error).split())
    if changed := _CHANGED.findall(why):
        why = f"{' and '.join(changed)} changed after the signature"
    elif type(error).__name__ == "CertValidationError":
        why = f"no trusted authority made its certificate: {why}"
    return why[:300] or "it was made with another key, or changed afterwards"


def _hashing(hashing: Any) -> Any:
    # the files of a snapshot in the Hub's cache are links, and the signature is one of them
    config = hashing.Config().use_file_serialization(
        allow_symlinks=True, ignore_paths=[Path(SIGNATURE)]
    )
    return config.set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=True).set_allow_symlinks(
        True
    )


@contextmanager
def _laid_out(files: Mapping[str, Path | bytes], name: str) -> Iterator[Path]:
    """A folder that holds these files and no other; large ones as links."""
    with tempfile.TemporaryDirectory(prefix="detrex-hub-") as parent:
        folder = Path(parent) / name
        folder.mkdir()
        for file, content in files.items():
            if isinstance(content, bytes):
                (folder / file).write_bytes(content)
            else:
                (folder / file).symlink_to(content.resolve())
        yield folder
