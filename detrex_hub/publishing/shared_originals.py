"""The originals of a batch. Each is removed when the last name that needs it is done."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterable

from msgspec.structs import replace

from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.originals import sources
from detrex_hub.resolving import KEEP_VARIABLE


class Originals:
    """Removes originals, so that they do not fill the disk.

    Originals that were cached before stay. With ``DETREX_HUB_KEEP_ORIGINALS=1`` all stay.

    Args:
        entries: the weights that the batch converts.
        unfinished: unfinished names of an earlier batch, whose originals are not kept.
    """

    def __init__(self, entries: Iterable[CatalogueEntry], unfinished: Iterable[str] = ()) -> None:
        entries, stopped = [*entries], set(unfinished)
        self._users = Counter(one.url for entry in entries for one in entry.sources)
        self._kept = frozenset(
            path
            for entry in entries
            if entry.name not in stopped
            for path in sources.in_cache(entry) | sources.in_hub_cache(entry)
        )
        self._names = frozenset(entry.name for entry in entries)
        self._lock = threading.Lock()

    def release(self, entry: CatalogueEntry | None) -> None:
        """Remove the originals of an entry that no other name of the batch needs.

        Args:
            entry: None for the user's own file, which stays. Originals of entries that the batch
                does not download stay too.
        """
        if entry is None or entry.name not in self._names:
            return
        with self._lock:
            self._users.subtract(one.url for one in entry.sources)
            unused = tuple(one for one in entry.sources if self._users[one.url] <= 0)
        if os.environ.get(KEEP_VARIABLE) != "1":
            alone = replace(entry, sources=unused)
            sources.remove(alone, keep=self._kept)
            sources.remove_from_hub_cache(alone, keep=self._kept)
