"""Find the conversions of this machine, and the one with certain weights.

If a conversion is published later, it has the same bytes, which are then neither downloaded nor
stored a second time.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from detrex_hub.errors import ConfigError
from detrex_hub.hashing import FileSha256
from detrex_hub.records import CONFIG, RepositoryConfig
from detrex_hub.staging import copy_file, publish_file, staging_folder


def root() -> Path:
    """The folder that holds all of them, as ``<key>/<name>/``."""
    from huggingface_hub import constants

    return Path(constants.HF_ASSETS_CACHE) / "detrex-hub" / "converted"


def weights(sha256: str) -> Path | None:
    """The weights of a conversion whose ``config.json`` states this sha256."""
    for described in root().glob(f"*/*/{CONFIG}"):
        with suppress(ConfigError, OSError):
            stored = RepositoryConfig.load(described).checkpoint
            path = described.with_name(stored.file)
            if stored.sha256 == sha256 and path.is_file() and not path.is_symlink():
                return path
    return None


def placed(sha256: str, target: Path) -> bool:
    """Hard-link a conversion's weights, or copy them if the target is on another disk.

    Args:
        sha256: of the weights. They are hashed before the target exists.
        target: the new path.

    Returns:
        whether the weights are at the target; False if no conversion has them.

    Raises:
        UnwritableError: the place cannot be written to, or the disk is full.
    """
    path = weights(sha256)
    if path is None:
        return False
    with staging_folder(target, option=None) as staging:
        staged = staging / target.name
        try:
            os.link(path, staged)
        except OSError:
            copy_file(path, staged)
        if FileSha256(staged).result() != sha256:
            return False
        publish_file(staged, target)
    return True
