"""Sign the files of a repository, and check such a signature.

The signature is an OpenSSF model signature (https://github.com/ossf/model-signing-spec): a Sigstore
bundle in ``model.sig``, which lists the sha256 of each file. Anybody can check it with the
``model-signing`` library alone, which this module uses for both.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detrex_hub.errors import UsageError, VerificationError
from detrex_hub.own_files import read_small
from detrex_hub.records import SIGNATURE

# bytes of a key
_LARGEST_KEY = 2**16
_NEEDS = "signatures need the library model-signing"
_INSTALL = "Install it: pip install 'detrex-hub[sign]'"


@dataclass(frozen=True)
class Seal:
    """The content of a signature, before it is checked: an identifier of the key, and the sha256 of
    each file by name."""

    key: str
    files: Mapping[str, str]

    @classmethod
    def read(cls, content: bytes) -> Seal | None:
        """Read a ``model.sig``; None if it cannot be read."""
        try:
            bundle = json.loads(content)
            payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
            files = {one["name"]: one["digest"] for one in payload["predicate"]["resources"]}
            return cls(str(bundle["verificationMaterial"]["publicKey"]["hint"]), files)
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
        raise UsageError(_NEEDS, hint=_INSTALL) from None
    try:
        content = read_small(private_key, _LARGEST_KEY, links=True)
        key = serialization.load_pem_private_key(content, None)
    except OSError as error:
        raise UsageError(f"the key {private_key} cannot be read: {error.strerror}") from None
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
    signing, hashing = _library("signing"), _library("hashing")
    with _laid_out(files, name) as folder:
        signature = folder.parent / SIGNATURE
        config = signing.Config().use_elliptic_key_signer(private_key=private_key)
        config.set_hashing_config(_hashing(hashing)).sign(folder, signature)
        return signature.read_bytes()


def check(files: Mapping[str, Path | bytes], signature: bytes, public_key: Path) -> Seal:
    """Check that a signature was made with a key, over exactly these files.

    Args:
        files: their contents by name.
        signature: the content of ``model.sig``.
        public_key: the public key as PEM.

    Raises:
        VerificationError: it was made with another key, or over other files.
        UsageError: the key cannot be read, or the library ``model-signing`` is not installed.
    """
    verifying, hashing = _library("verifying"), _library("hashing")
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except (OSError, ValueError, AttributeError):
        raise UsageError(f"{public_key} is no public key in PEM") from None
    seal = Seal.read(signature)
    if seal is None:
        raise VerificationError(f"{SIGNATURE} is no model signature")
    if seal.files.keys() != files.keys():
        # the library passes over files that a signature says to ignore
        raise VerificationError(
            f"{SIGNATURE} covers {', '.join(sorted(seal.files))[:200] or 'no file'}, and here are "
            f"{', '.join(sorted(files))}"
        )
    with _laid_out(files, "model") as folder:
        place = folder.parent / SIGNATURE
        place.write_bytes(signature)
        try:
            config.set_hashing_config(_hashing(hashing)).verify(folder, place)
        except Exception as error:
            # the library raises what it meets in a stranger's file
            why = " ".join(str(error).split())[:200]
            raise VerificationError(
                f"{SIGNATURE} is not the signature of these files with the key {public_key}: {why}"
            ) from None
    return seal


def _hashing(hashing: Any) -> Any:
    # the files of a snapshot in the Hub's cache are links, and the signature lies among them
    config = hashing.Config().use_file_serialization(
        allow_symlinks=True, ignore_paths=[Path(SIGNATURE)]
    )
    return config.set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=True).set_allow_symlinks(
        True
    )


def _library(module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"model_signing.{module}")
    except ImportError:
        raise UsageError(_NEEDS, hint=_INSTALL) from None


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
