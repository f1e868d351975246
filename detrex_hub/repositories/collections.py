"""Collections on the Hub, which list pushed repositories."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from detrex_hub.errors import HubError, UsageError
from detrex_hub.repositories.client import hub_api
from detrex_hub.repositories.refusals import plainly
from detrex_hub.retrying import patiently

if TYPE_CHECKING:
    from huggingface_hub import Collection

_SLUG = re.compile(r"(?P<owner>[A-Za-z0-9][\w.-]{0,95})/(?P<title>[a-z0-9][a-z0-9-]{0,119})", re.A)
# the id that the Hub appends to the words of a title
_ID = re.compile(r"-[0-9a-f]{24}$")


def check_slug(slug: str) -> None:
    """
    Raises:
        UsageError: it is not the slug of a collection.
    """
    if not _SLUG.fullmatch(slug):
        raise UsageError(
            f"{slug[:120]!r} is not the slug of a collection",
            hint="Write OWNER/WORDS-IN-LOWER-CASE, with or without the id behind it",
        )


def add_to_collection(slug: str, repo_id: str, *, private: bool = False) -> str:
    """Put a repository into a collection, which is created if there is none.

    Args:
        slug: ``owner/words``, or ``owner/words-<id>`` as the Hub shows it.
        repo_id: the repository. If it is listed already, nothing is done.
        private: whether a new collection is private.

    Returns:
        the slug with its id.

    Raises:
        UsageError: the slug is malformed.
        HubError: the Hub refuses, or no collection has this id.
    """
    opened = open_collection(slug, private=private)
    with plainly(slug, writing=True):
        whole = patiently(lambda: hub_api().get_collection(opened))
        if not any(one.item_type == "model" and one.item_id == repo_id for one in whole.items):
            patiently(
                lambda: hub_api().add_collection_item(
                    whole.slug, item_id=repo_id, item_type="model", exists_ok=True
                )
            )
    return str(whole.slug)


def open_collection(slug: str, *, private: bool = False) -> str:
    """Find a collection, and create it if there is none.

    Several pushes at the same time would each create one. A batch therefore opens the collection
    once, and passes the slug with its id to each push.

    Args:
        slug: ``owner/words``, or ``owner/words-<id>`` as the Hub shows it.
        private: whether a new collection is private.

    Returns:
        the slug with its id.

    Raises:
        UsageError: the slug is malformed.
        HubError: the Hub refuses, or no collection has this id.
    """
    check_slug(slug)
    with plainly(slug, writing=True):
        found = _find(slug)
        if found is None:
            _refuse_id(slug)
            found = _create(slug, private=private)
    return str(found.slug)


def check_collection(slug: str) -> None:
    """Look for the collection of a slug that has an id. One without an id can be created.

    Raises:
        HubError: no collection has this id, or the Hub refuses.
    """
    if _ID.search(slug):
        with plainly(slug, writing=True):
            if _find(slug) is None:
                _refuse_id(slug)


def _find(slug: str) -> Collection | None:
    """The collection of a slug. A slug without an id means the owner's collection with these words.

    Raises:
        HubError: several have these words.
    """
    owner = slug.partition("/")[0]
    listed = patiently(lambda: list(hub_api().list_collections(owner=owner)))
    fitting = [one for one in listed if slug in (one.slug, _ID.sub("", one.slug))]
    if len(fitting) > 1:
        raise HubError(
            f"{owner} has {len(fitting)} collections that are called {slug}",
            hint=f"Name one with its id: {' or '.join(one.slug for one in fitting[:4])}",
        )
    return fitting[0] if fitting else None


def _refuse_id(slug: str) -> None:
    if _ID.search(slug):
        raise HubError(
            f"there is no collection {slug}, or none that the token opens",
            hint=f"Leave the id out to create one: --collection {_ID.sub('', slug)}",
        )


def _create(slug: str, *, private: bool) -> Collection:
    owner, _, words = slug.partition("/")
    title = words.replace("-", " ")
    title = title[:1].upper() + title[1:]
    return patiently(
        lambda: hub_api().create_collection(title, namespace=owner, private=private, exists_ok=True)
    )
