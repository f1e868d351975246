"""Options of a push."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct


class PushOptions(Struct, frozen=True, kw_only=True):
    """The options of a push. The defaults push to the Hub, to the logged-in user.

    Attributes:
        namespace: the owner, if the name has none; else ``DETREX_HUB_NAMESPACE``, else the
            logged-in user, or ``detrex`` in a folder.
        to: a folder to push into instead of the Hub, as ``to/owner/name/``.
        private: make a new repository private.
        create_pr: open a pull request instead of committing to the main branch.
        dry_run: check everything and change nothing.
        message: the commit's title.
        allow_synthetic: let a conversion of seeded numbers go to the Hub.
        license: the licence of the weights, an identifier of the Hub, where the card says none.
        collection: the slug of a collection that lists the repository, ``owner/words``. It is
            created if there is none.
        sign_key: a private key that signs the files.
    """

    namespace: str | None = None
    to: Path | None = None
    private: bool = False
    create_pr: bool = False
    dry_run: bool = False
    message: str | None = None
    allow_synthetic: bool = False
    license: str | None = None
    collection: str | None = None
    sign_key: Path | None = None
