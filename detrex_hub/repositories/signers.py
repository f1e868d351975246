"""Who is expected to have signed a repository: the holder of a key, or an identity.

An identity is the name of a person or a workflow at an OpenID Connect provider. Sigstore's
certificate authority writes the name and the provider into a certificate that is valid for minutes,
and sigstore's log records when it was used. There is no key to keep. A trusted root lists the
authorities and the logs that are believed.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from detrex_hub.errors import HubError, UsageError
from detrex_hub.own_files import read_small

if TYPE_CHECKING:
    from model_signing.verifying import Config

NEEDS = "signatures need the library model-signing"
INSTALL = "Install it: pip install 'detrex-hub[sign]'"
# bytes of a key
_LARGEST_KEY = 2**16
# bytes of a trust configuration; that of the public sigstore instance has 12 kB
_LARGEST_TRUST = 2**20
# https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_trustroot.proto
_CONFIGURATION = "application/vnd.dev.sigstore.clienttrustconfig"
_ROOT = "application/vnd.dev.sigstore.trustedroot"
_SERVICES = "application/vnd.dev.sigstore.signingconfig.v0.2+json"
_GITHUB = "https://token.actions.githubusercontent.com"


class Signer(Struct, frozen=True):
    """Who is expected to have signed.

    Args:
        name: for messages.
        has_key: whether the signer has a key. If not, the signer is an identity.
        config: of the library, which checks signatures.
    """

    name: str
    has_key: bool
    config: Config


def library(module: str) -> Any:
    """A module of the library ``model-signing``.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return import_module(f"model_signing.{module}")
    except ImportError:
        raise UsageError(NEEDS, hint=INSTALL) from None


def key_holder(public_key: Path) -> Signer:
    """The holder of the private key that belongs to a public one.

    Args:
        public_key: as PEM.

    Raises:
        UsageError: it cannot be read, or the library is not installed.
    """
    config = library("verifying").Config()
    read_key(public_key)
    try:
        config = config.use_elliptic_key_verifier(public_key=public_key)
    except Exception:
        # of the library for keys, which has several for a key of another kind
        raise UsageError(
            f"{public_key} is no elliptic-curve public key in PEM",
            hint="Make it from the private key: openssl ec -in key.pem -pubout -out key.pub",
        ) from None
    return Signer(f"the key {public_key}", True, config)


def read_key(path: Path) -> bytes:
    """The content of the file of a key.

    Raises:
        UsageError: it cannot be read, is not a regular file, or is too large.
    """
    try:
        return read_small(path, _LARGEST_KEY, links=True)
    except OSError as error:
        raise UsageError(f"the key {path} cannot be read: {error.strerror}") from None


def identity(name: str, provider: str, trust: Path | None = None) -> Signer:
    """A person or a workflow.

    Args:
        name: a mail address, or the address of a workflow.
        provider: the address of the OpenID Connect provider that vouches for the name.
        trust: a trusted root or a client trust configuration of sigstore, as JSON. None downloads
            the trusted root of the public sigstore instance.

    Raises:
        UsageError: the trust configuration cannot be read, or the library is not installed.
        HubError: the trusted root could not be downloaded.
    """
    config = library("verifying").Config()
    with _trust_configuration(trust) as path:
        try:
            config = config.use_sigstore_verifier(
                identity=name, oidc_issuer=provider, trust_config=path
            )
        except Exception as error:
            # of the libraries for networks, certificates and JSON that this one uses
            why = " ".join(str(error).split())[:200]
            if trust is not None:
                raise _no_trust(trust, why) from None
            raise HubError(
                f"the trusted root of sigstore could not be downloaded: {why}",
                hint="Without internet, pass a copy: --trust-config trusted_root.json",
            ) from None
    return Signer(f"{name} at {provider}", False, config)


@contextmanager
def _trust_configuration(path: Path | None) -> Iterator[Path | None]:
    """The file as the library reads it: a trusted root becomes a configuration."""
    if path is None:
        yield None
        return
    try:
        document = json.loads(read_small(path, _LARGEST_TRUST, links=True))
        kind = str(document["mediaType"])
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, RecursionError):
        raise _no_trust(path, "it is no JSON document with a mediaType") from None
    if kind.startswith(_ROOT):
        # the services are for signing, and a configuration without them is malformed
        document = {
            "mediaType": f"{_CONFIGURATION}.v0.1+json",
            "trustedRoot": document,
            "signingConfig": {"mediaType": _SERVICES},
        }
    elif not kind.startswith(_CONFIGURATION):
        raise _no_trust(path, f"its mediaType is {kind[:80]}")
    with tempfile.TemporaryDirectory(prefix="detrex-hub-") as folder:
        made = Path(folder) / "trust.json"
        made.write_text(json.dumps(document), encoding="utf-8")
        yield made


def _no_trust(path: Path, why: str) -> UsageError:
    return UsageError(
        f"{path} is no trust configuration of sigstore: {why}",
        hint="Pass the trusted_root.json of a sigstore instance",
    )


def expected_signer(
    public_key: str | os.PathLike[str] | None,
    name: str | None,
    provider: str | None,
    trust: str | os.PathLike[str] | None,
) -> Signer | None:
    """Who is expected to have signed; None if a signature is not to be checked.

    Args:
        public_key: as for `key_holder`.
        name: as for `identity`, like the two below.
        provider: of the identity.
        trust: the trust configuration.

    Raises:
        UsageError: the arguments say two signers or half of one, a file cannot be read, or the
            library ``model-signing`` is not installed.
        HubError: sigstore's trusted root could not be downloaded.
    """
    if name is None:
        for given, option in ((provider, "--identity-provider"), (trust, "--trust-config")):
            if given is not None:
                raise UsageError(
                    f"{option} needs --identity",
                    hint="Say who signed: --identity alice@example.com",
                )
        return None if public_key is None else key_holder(Path(public_key))
    if public_key is not None:
        raise UsageError(
            "--public-key and --identity cannot be combined",
            hint="A signature is made with a key or by an identity",
        )
    if provider is None:
        raise UsageError(
            "--identity needs --identity-provider",
            hint=f"For a workflow on GitHub: --identity-provider {_GITHUB}",
        )
    return identity(name, provider, None if trust is None else Path(trust))
