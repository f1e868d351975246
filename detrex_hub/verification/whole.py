"""Verify a whole repository: its records, its card, its signature and its original."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from detrex_hub import catalogue, numerics
from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.errors import UsageError
from detrex_hub.progress import Progress
from detrex_hub.repositories import signers
from detrex_hub.resolving import resolve
from detrex_hub.verification.claims import Claims, Proven, read_claims
from detrex_hub.verification.consistency import (
    check_bytes,
    check_description,
    check_state_dict,
    computed_by,
    plan_again,
)
from detrex_hub.verification.model_card import check_card, check_pictures
from detrex_hub.verification.repetition import repeated, why_not
from detrex_hub.verification.signed_files import check_signature, require_signature


class Verification(Struct, frozen=True):
    """The result of verifying a repository.

    ``repeated`` says whether the conversion was repeated from the original, and ``not_repeated``
    why not.
    """

    repo: str
    revision: str | None
    checks: tuple[Proven, ...]
    repeated: bool
    not_repeated: str | None = None

    @property
    def summary(self) -> str:
        """One line with the result and its restrictions."""
        last = "is what it claims to be" if self.repeated else "agrees with its own records"
        return "; ".join((f"{self.repo} {last}", *(one.but for one in self.checks if one.but)))

    def to_json(self) -> dict[str, Any]:
        return {
            "repo": self.repo,
            "revision": self.revision,
            "summary": self.summary,
            "verified": [{"name": one.name, "detail": one.detail} for one in self.checks],
            "repeated": self.repeated,
            "not_repeated": self.not_repeated,
        }


def verify(
    repo: str | os.PathLike[str],
    *,
    revision: str | None = None,
    repeat: bool = True,
    source: str | None = None,
    with_numerics: bool = False,
    public_key: str | os.PathLike[str] | None = None,
    identity: str | None = None,
    identity_provider: str | None = None,
    trust_config: str | os.PathLike[str] | None = None,
    extra_catalogues: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Verification:
    """Verify a converted folder or a repository.

    Hashes the weights, reopens them, proves the state dict against its hyper-parameters, plans the
    conversion again from the recorded source tensors, and compares every move, drop and tie and all
    that `config.json` says. Then the original is pulled, the conversion repeated, and every file
    compared. False if only the publisher has the original.

    Args:
        repo: ``owner/name``, ``owner/name@revision`` or a folder.
        revision: branch, tag or commit.
        repeat: repeat the conversion if the original can be downloaded.
        source: a file or URL of the original, if no catalogue names it.
        with_numerics: run the original and the converted weights on the same image as well, which
            needs the library that the original's names belong to.
        public_key: check the signature of the files with this key.
        identity: check that this identity signed the files: a mail address, or the address of a
            workflow. Needs ``identity_provider``.
        identity_provider: the address of the OpenID Connect provider of the identity.
        trust_config: check the identity without internet, against this trusted root or client trust
            configuration of sigstore.
        extra_catalogues: catalogue files of the user.
        progress: reports downloads and copying.

    Raises:
        HubError: the repository or the network fails.
        ConfigError: a record is malformed or forbidden.
        SourceError: the original is needed and cannot be downloaded.
        UsageError: numerics are asked for but not possible, or the options about the signature do
            not fit each other; it says what is missing.
        VerificationError: a claim is not true; the first one found is named.

    Example:
        >>> from detrex_hub import verify
        >>> verify("detrex/r101_v2").repeated
        True
    """
    signer = signers.expected_signer(public_key, identity, identity_provider, trust_config)
    repository = resolve(
        repo,
        revision=revision,
        # a conversion that is made here has no signature
        convert=None if signer is None else False,
        extra_catalogues=extra_catalogues,
        progress=progress,
    )
    if signer is not None:
        require_signature(repository, signer)
    claims = read_claims(repository, progress)
    entry = _entry(claims, extra_catalogues)
    again = plan_again(claims)
    plan = again.plan
    checks = [
        check_bytes(claims),
        check_state_dict(claims),
        Proven(
            "plan",
            f"{len(plan.moves)} moves, {len(plan.dropped)} drops and {len(plan.ties)} ties match "
            f"the mapper{computed_by(plan)}",
        ),
        check_description(claims, entry, again),
    ]
    if claims.card is not None:
        checks.append(check_card(claims, entry))
    if claims.pictures:
        checks.append(check_pictures(claims, entry))
    if claims.signature is not None:
        checks.append(check_signature(claims, claims.signature, signer))
    reason = why_not(claims, entry, source) if repeat else "it was not asked for"
    if with_numerics:
        if reason is not None:
            raise UsageError(f"--numerics needs the original, which is not read: {reason}")
        numerics.check_runnable(again.architecture, claims.record.source.layout)
    if reason is None:
        checks += repeated(claims, entry, source, extra_catalogues, progress, with_numerics)
    return Verification(
        claims.name, claims.revision, tuple(checks), repeated=reason is None, not_repeated=reason
    )


def _entry(claims: Claims, extra: Sequence[Path]) -> CatalogueEntry | None:
    """The catalogue's entry of the recorded name, if it describes these weights."""
    entry = catalogue.look_up(claims.record.name, extra)
    described = claims.described
    if entry is None or not entry.is_of(
        described.architecture, described.hyper_parameters, claims.record.facts
    ):
        return None
    return entry
