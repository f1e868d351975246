"""The ids of the repositories on this machine: those in the cache and in ``DETREX_HUB_ROOT``. No
request is made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from detrex_hub.own_files import read_small
from detrex_hub.records import CONFIG, MAX_BYTES
from detrex_hub.repositories import names

_OURS = b'"library_name": "detrex"'


def repository_ids() -> list[str]:
    """The sorted ids of converted repositories. Unreadable ones are left out."""
    found: set[str] = set()
    for listed in (_in_root, _in_cache):
        with suppress(OSError):
            found.update(listed())
    return sorted(one for one in found if names.is_repo_id(one))


def _in_root() -> Iterator[str]:
    root = os.environ.get("DETREX_HUB_ROOT")
    if root:
        for config in Path(root).expanduser().glob(f"*/*/{CONFIG}"):
            if _is_ours(config):
                yield "/".join(config.parts[-3:-1])


def _in_cache() -> Iterator[str]:
    from huggingface_hub import constants

    for folder in Path(constants.HF_HUB_CACHE).glob("models--*--*"):
        if any(map(_is_ours, folder.glob(f"snapshots/*/{CONFIG}"))):
            yield folder.name.removeprefix("models--").replace("--", "/")


def _is_ours(config: Path) -> bool:
    """Whether a `config.json` was written by this library."""
    try:
        return _OURS in read_small(config, MAX_BYTES[CONFIG], links=True)
    except OSError:
        return False
