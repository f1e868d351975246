"""Check the signature over the files of a repository."""

from __future__ import annotations

from pathlib import Path

from detrex_hub.errors import VerificationError
from detrex_hub.records import SIGNATURE, read_bytes
from detrex_hub.repositories import Repository, signers, signing
from detrex_hub.verification.claims import Claims, Proven


def require_signature(repository: Repository, signer: signers.Signer) -> None:
    """Refuse a repository without a signature of such a signer, before its weights are downloaded.

    Raises:
        VerificationError: it has no signature, or one of another kind.
    """
    if repository.signature is None:
        raise VerificationError(
            f"{repository.name} has no {SIGNATURE}: it is not signed",
            hint="Leave out the options about the signature to check the rest",
        )
    where = f"{repository.name}/{SIGNATURE}"
    signing.read_seal(read_bytes(repository.signature, where=where), signer)


def check_signature(claims: Claims, signature: Path, signer: signers.Signer | None) -> Proven:
    """Check the signature over all files of the repository, or say that it was not checked."""
    content = read_bytes(signature, where=f"{claims.name}/{SIGNATURE}")
    if signer is None:
        seal = signing.Seal.read(content)
        check = "" if seal is None else f". Check it: {seal.options}"
        return Proven(
            "signature", f"{SIGNATURE} is there{check}", but="its signature was not checked"
        )
    seal = signing.checked_seal(claims.signed, content, signer)
    return Proven("signature", f"{len(seal.files)} files are signed by {signer.name}")
