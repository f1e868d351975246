"""The files of a converted folder, found without leaving the folder.

A folder may come from a stranger, so no link in it may lead out of it. One kind of folder consists
of links: a snapshot in the Hub's cache, ``models--OWNER--NAME/snapshots/COMMIT``. Its contents are
in ``models--OWNER--NAME/blobs``. huggingface_hub 2 stores shared content of several repositories in
``blobs`` beside ``models--OWNER--NAME``.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path

from detrex_hub.errors import HubError, what_is

_COMMIT = re.compile("[0-9a-f]{40}")

WEIGHTS_SUFFIXES = (
    ".safetensors",
    ".pth",
    ".pt",
    ".ckpt",
    ".bin",
    ".pkl",
    ".tar",
    ".zip",
    ".distcp",
)
"""The endings of checkpoint files. No name of a catalogue ends so."""


def find_file(folder: Path, name: str) -> Path | None:
    """The path of a file in a folder; None if there is no such file. It is not opened.

    Args:
        folder: the folder.
        name: of the file, or its path in the folder.

    Raises:
        HubError: it is a link out of the folder, or not a regular file.
    """
    path = folder / name
    try:
        real = path.resolve()
        mode = real.stat().st_mode
    except FileNotFoundError:
        if not path.is_symlink():
            return None
        raise HubError(f"{path} is a symbolic link to nothing", hint="Remove it") from None
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "its links form a loop"
        raise HubError(f"{path} cannot be read: {reason}") from None
    if not any(real.is_relative_to(place) for place in _places(folder.resolve())):
        raise HubError(
            f"{path} is a symbolic link to a place outside of the repository",
            hint="Put the file itself there",
        )
    if not stat.S_ISREG(mode):
        kind = what_is(path) or "a folder"
        raise HubError(f"{path} is {kind}, not a regular file", hint="Put the file itself there")
    return path


def _places(folder: Path) -> tuple[Path, ...]:
    """The folders that may hold the content of a folder's files."""
    repository = folder.parent.parent
    if (
        _COMMIT.fullmatch(folder.name)
        and folder.parent.name == "snapshots"
        and repository.name.startswith("models--")
    ):
        return folder, repository / "blobs", repository.parent / "blobs"
    return (folder,)
