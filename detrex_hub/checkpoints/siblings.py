"""Further files of a checkpoint, in the folder of the file that names them."""

from __future__ import annotations

import re
from pathlib import Path

from detrex_hub.checkpoints.files import File, shown
from detrex_hub.errors import HubError
from detrex_hub.folder_files import find_file

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+\-]*")


def check_name(file: File, name: str) -> None:
    """Refuse a name that could lead to another folder.

    Raises:
        CheckpointError: the name could do so.
    """
    if not _NAME.fullmatch(name) or len(name) > 255:
        raise file.error(
            f"refused: it names the file {shown(name)}, which is not in the same folder"
        )


def sibling(file: File, name: str) -> Path:
    """The file of a name in the same folder.

    Raises:
        CheckpointError: the name leads out of the folder, or there is no such file.
    """
    check_name(file, name)
    try:
        found = find_file(file.path.parent, name)
    except HubError as error:
        raise file.error(f"refused: {error.message}", hint=error.hint) from None
    if found is None:
        raise file.error(
            f"needs the file {name} in the same folder, which is missing",
            hint="Download all files of the repository into one folder",
        )
    return found
