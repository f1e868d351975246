"""Compare a card and its pictures with the records."""

from __future__ import annotations

import os
import re
from typing import Any

from detrex_hub import card, checkpoints
from detrex_hub.architectures import architecture
from detrex_hub.card.yaml_metadata import read_metadata
from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.catalogue.licenses import HUB_LICENSES
from detrex_hub.conversion import filters_of
from detrex_hub.records import CARD, FILTERS, read_bytes
from detrex_hub.repositories import names
from detrex_hub.verification.claims import Claims, Proven


def check_card(claims: Claims, entry: CatalogueEntry | None) -> Proven:
    """Check that the card's metadata has the catalogue's licence and origin. The publisher may
    edit the text; an edited text is reported."""
    assert claims.card is not None
    where = f"{claims.name}/{CARD}"
    try:
        text = read_bytes(claims.card, where=where).decode()
    except UnicodeDecodeError as error:
        raise claims.refuse(f"{CARD} cannot be read as text: {error}") from None
    made = card.render(claims.described, claims.record, entry, pictures=claims.pictures)
    says, should = (read_metadata(one, where=where) for one in (text, made))
    for name in _PROMISES if entry is not None else ():
        if name == "base_model" and name not in says:
            continue  # a card of an earlier version names it for fewer weights
        # if the licence is unknown, the publisher states it
        if says.get(name) != should.get(name) and (name != "license" or "license" in should):
            raise claims.refuse(
                f"{CARD} says {name} {str(says.get(name))[:80]!r}, but these weights have "
                f"{should.get(name)!r}"
            )
    licence = f"{CARD} says the licence {str(says.get('license'))[:80]}"
    if text in _unedited(claims, made, text, says.get("license")):
        return Proven("card", f"{licence}, and matches the records")
    if entry is not None:
        return Proven("card", f"{licence}; its text was edited by hand", but=_EDITED)
    return Proven(
        "card",
        f"{licence}; its text was edited by hand, or made with another catalogue",
        but=f"{_EDITED} without a catalogue",
    )


def check_pictures(claims: Claims, entry: CatalogueEntry | None) -> Proven:
    """Draw the filters again from the weights, and the plot from the catalogue."""
    config, record = claims.described, claims.record
    drawn = card.pictures_of(config, record, entry)
    if FILTERS in claims.pictures:
        kind = architecture(config.architecture)
        order = str(config.preprocessing.get("image_format"))
        made = None
        if not config.synthetic:
            with checkpoints.open(claims.weights, checksums=False) as weights:
                made = filters_of(weights, kind, order)
        if made is None or read_bytes(claims.pictures[FILTERS]) != made:
            raise claims.refuse(f"{FILTERS} does not show the first layer of these weights")
        drawn[FILTERS] = made
    others = [name for name, path in claims.pictures.items() if read_bytes(path) != drawn.get(name)]
    same = " and ".join(name for name in claims.pictures if name not in others)
    if others:
        detail = f"{', '.join(others)} was made with another catalogue"
        return Proven(
            "pictures",
            f"{same} shows these weights; {detail}" if same else detail,
            but=f"its {others[0]} is not the one that the catalogue gives",
        )
    return Proven("pictures", f"{same}, drawn again: the same bytes")


_EDITED = "its card does not match the records"


# metadata that the Hub shows beside a repository's name and that users rely on
_PROMISES = ("license", "license_name", "license_link", "library_name", "base_model")


def _unedited(claims: Claims, made: str, text: str, license: Any) -> set[str]:
    """The cards that a push can make from one card: addressed to the repository, with the
    publisher's licence, and with a link to an export."""
    cards = {made, *(card.addressed(made, claims.record.name, one) for one in _ids(claims.name))}
    if license in HUB_LICENSES and card.license_of(made) is None:
        cards |= {card.licensed(one, license) for one in cards}
    exported = card.linked_to(text)
    if exported is not None and names.is_repo_id(exported):
        cards |= {card.linked(one, exported) for one in cards}
    return cards


def _ids(name: str) -> list[str]:
    """The possible names of the repository in its card: its id, or the end of a folder's path."""
    last = name.partition("@")[0].replace(os.sep, "/").rstrip("/").split("/")[-2:]
    return ["/".join(last)] if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", "/".join(last), re.A) else []
