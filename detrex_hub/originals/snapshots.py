"""Whole folders as originals: repositories of transformers and timm, and outputs of training.

The file with the weights is found by its name, in a fixed order. The values in ``config.json`` and
``preprocessor_config.json`` become facts of the weights. A folder may be untrusted, so no file
outside of it is read.

Sources: transformers/utils/__init__.py (names of files), detectron2's and mmengine's
``last_checkpoint``, DeepSpeed's ``latest``.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from detrex_hub.errors import CheckpointError, HubError, UsageError
from detrex_hub.folder_files import WEIGHTS_SUFFIXES, find_file
from detrex_hub.own_files import read_small
from detrex_hub.strict_json import parse_json

if TYPE_CHECKING:
    from detrex_hub.progress import Progress
    from detrex_hub.specs import TensorSpec

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
_LARGEST_DOCUMENT = 2**20
# the most files whose beginnings are read before a download, and the usual bytes of each
_MOST_HEADERS = 32
_USUAL_HEADER = 2**17

# the weights of a repository, by transformers' names, in its order
_OF_REPOSITORY = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_DISTRIBUTED = ".metadata"
# small files that name the newest checkpoint of a training run
_LAST, _LATEST = "last_checkpoint", "latest"
_LARGEST_POINTER = 4096
_OF_DEEPSPEED = ("mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_model_states.pt")
# files that trainers write beside the weights
_NOT_WEIGHTS = re.compile(
    r"optim|sched|scaler|training_args|recipe_state|(?:^|_)(?:rng|random)_?stat", re.IGNORECASE
)


class Snapshot(Struct, frozen=True):
    """The weights of a folder or a repository.

    Attributes:
        name: of the folder or the repository.
        weights: the file with the weights, or their index.
        url: its address on the Hub, ``hf://owner/name@commit/file``; None in a folder.
    """

    name: str
    weights: Path
    url: str | None = None


def in_folder(folder: Path) -> Snapshot:
    """The weights in a folder.

    Raises:
        CheckpointError: it holds none, or several without a pointer to one.
        UsageError: `convert` made the folder.
    """
    return Snapshot(_name_of(folder.resolve()), _weights_in(folder))


def on_hub(
    repo: str,
    revision: str | None,
    progress: Progress | None = None,
    *,
    check: Callable[[Mapping[str, TensorSpec]], object] | None = None,
) -> Snapshot:
    """The weights of a repository of transformers or timm on the Hub, downloaded. Each file is
    compared with its digest there.

    Args:
        repo: ``owner/name`` or ``owner/name@revision``.
        revision: branch, tag or commit.
        progress: reports the download.
        check: receives names and shapes of all tensors before the download, if the first bytes of
            the files show them. An error that it raises prevents the download.

    Raises:
        HubError: the repository or the network fails, or it has no weights by these names.
        UsageError: detrex-hub made the repository.
    """
    from detrex_hub import checkpoints, repositories

    repo = repo.removeprefix("hf://")
    fetched = repositories.fetch(repo, [CONFIG], revision=revision, optional=[PREPROCESSOR])
    folder, commit = fetched.folder, fetched.commit
    bare = repo.partition("@")[0]
    _refuse_converted(folder, repo)
    if commit is None:
        # a folder below DETREX_HUB_ROOT
        return in_folder(folder)
    for name in _OF_REPOSITORY:
        files = [name]
        if name.endswith(".json"):
            index = repositories.fetch(bare, [CONFIG], revision=commit, optional=[name]).files
            files = checkpoints.shard_names(index[name]) if name in index else []
        if check is not None and (specs := _specs(bare, commit, files)):
            check(specs)
        found = repositories.fetch(
            bare, [CONFIG], revision=commit, optional=[name, *files], progress=progress
        ).files
        if name in found:
            weights = found[name]
            return Snapshot(bare.rpartition("/")[2], weights, f"hf://{bare}@{commit}/{name}")
    raise HubError(
        f"{bare} has no {' and no '.join(_OF_REPOSITORY)}",
        hint="Download the checkpoint, and convert the file: detrex-hub convert FILE",
    )


def _specs(repo: str, commit: str, files: list[str]) -> dict[str, TensorSpec]:
    """Names and shapes in safetensors files that are not downloaded yet, by their first bytes;
    none if one of the files does not show them."""
    from detrex_hub.checkpoints import safetensors
    from detrex_hub.repositories.first_bytes import first_bytes
    from detrex_hub.repositories.hub_download import is_checked

    if len(files) > _MOST_HEADERS or not all(name.endswith(".safetensors") for name in files):
        return {}
    if all(is_checked(repo, name, commit) for name in files):
        return {}
    specs: dict[str, TensorSpec] = {}
    for name in files:
        try:
            first = first_bytes(repo, name, revision=commit, most=_USUAL_HEADER)
            end = safetensors.header_end(first)
            if end is not None and end > len(first):
                first = first_bytes(repo, name, revision=commit, most=end)
        except HubError:
            # the download gives a better error
            return {}
        specs |= safetensors.specs_in(first[:end])
    return specs


def is_on_hub(text: str) -> bool:
    """Whether a name that is not a local file can mean a repository: ``owner/name``."""
    from detrex_hub.repositories import names

    bare = text.removeprefix("hf://").partition("@")[0]
    return names.is_repo_id(bare) and not bare.endswith(WEIGHTS_SUFFIXES)


def of_file(path: Path) -> Snapshot | None:
    """The folder of an index, or of weights that a repository's documents describe; None for any
    other file."""
    whole = path.name.endswith(".index.json") or path.name == _DISTRIBUTED or documents(path)
    return Snapshot(_name_of(path.absolute().parent), path) if whole else None


def _name_of(folder: Path) -> str:
    """A folder's name, or the repository's name for a snapshot in the Hub's cache."""
    repository = folder.parent.parent.name
    if folder.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.rpartition("--")[2]
    return folder.name


def is_converted(folder: Path) -> bool:
    """Whether detrex-hub made a folder."""
    return _document(folder, CONFIG).get("library_name") == "detrex"


def documents(weights: Path) -> dict[str, Mapping[str, Any]]:
    """The documents of a repository that describe its weights, by file name.

    Args:
        weights: the file of the weights. A file without a repository's usual name has no documents.

    Raises:
        ConfigError: a document is not JSON.
    """
    if weights.name not in _OF_REPOSITORY:
        return {}
    found = {name: _document(weights.parent, name) for name in (CONFIG, PREPROCESSOR)}
    if found[CONFIG].get("library_name") == "detrex":
        return {}
    return {name: document for name, document in found.items() if document}


def document_files(weights: Path) -> tuple[Path, ...]:
    """The files of `documents`."""
    return tuple(weights.with_name(name) for name in documents(weights))


def _document(folder: Path, name: str) -> dict[str, Any]:
    """A table of JSON in a folder; empty where there is none."""
    try:
        path = find_file(folder, name)
        text = b"" if path is None else read_small(path, _LARGEST_DOCUMENT, links=True)
    except HubError as error:
        raise CheckpointError(error.message, hint=error.hint) from None
    except OSError as error:
        what = "is too large" if error.errno == errno.EFBIG else error.strerror
        raise CheckpointError(f"{folder / name} cannot be read: {what}") from None
    found = parse_json(text, where=str(folder / name)) if text else {}
    return found if isinstance(found, dict) else {}


def _refuse_converted(folder: Path, shown: str) -> None:
    if is_converted(folder):
        raise UsageError(
            f"{shown} is converted already",
            hint=f"Load it: detrex-hub load {shlex.quote(shown)}",
        )


def _weights_in(folder: Path) -> Path:
    try:
        return _found_in(folder)
    except HubError as error:
        raise CheckpointError(error.message, hint=error.hint) from None
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be read: {error.strerror}") from None


def _found_in(folder: Path) -> Path:
    _refuse_converted(folder, os.fspath(folder))
    if (pointed := _pointed(folder, _LAST)) is not None:
        return pointed
    for name in (*_OF_REPOSITORY, _DISTRIBUTED, *_OF_DEEPSPEED):
        if (path := find_file(folder, name)) is not None:
            return path
    if (pointed := _pointed(folder, _LATEST)) is not None:
        return pointed
    names = sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix in WEIGHTS_SUFFIXES and not _NOT_WEIGHTS.search(path.name)
    )
    found = [path for name in names if (path := find_file(folder, name)) is not None]
    if len(found) == 1:
        return found[0]
    if not found:
        raise CheckpointError(f"{folder} holds no checkpoint", hint=_hint(folder))
    some = ", ".join(path.name for path in found[:5])
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    raise CheckpointError(
        f"{folder} contains several checkpoints and no last_checkpoint: {some}{more}",
        hint=f"Choose one: detrex-hub convert {shlex.quote(str(found[-1]))}",
    )


def _hint(folder: Path) -> str:
    """Advice for a folder without checkpoints: a subfolder that has some, such as
    ``checkpoint-500``."""
    inner = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    fitting = [
        path
        for path in inner
        if any((path / name).is_file() for name in (*_OF_REPOSITORY, _DISTRIBUTED, _LAST, _LATEST))
    ]
    if fitting:
        newest = max(fitting, key=lambda path: path.stat().st_mtime)
        return f"Convert the folder in it: detrex-hub convert {shlex.quote(str(newest))}"
    return "Give the file itself, or see the known names: detrex-hub list"


def _pointed(folder: Path, pointer: str) -> Path | None:
    """The checkpoint that a small file names. mmengine writes its whole path, which may be from
    another machine."""
    path = find_file(folder, pointer)
    if path is None:
        return None
    try:
        text = read_small(path, _LARGEST_POINTER, links=True).decode().strip()
    except (OSError, UnicodeDecodeError):
        raise CheckpointError(f"{path} cannot be read as text") from None
    name = text.replace("\\", "/").rpartition("/")[2]
    if name in ("", ".", ".."):
        raise CheckpointError(f"{path} names no file")
    if pointer == _LATEST:
        # DeepSpeed's names a folder
        inner = folder / name
        if inner.is_symlink() or not inner.is_dir():
            raise CheckpointError(f"{path} names {name[:80]}, which is not a folder beside it")
        return _found_in(inner)
    found = find_file(folder, name)
    if found is None:
        raise CheckpointError(
            f"{path} names {name[:80]}, which does not exist",
            hint=f"Give another checkpoint of the run, or remove {path}",
        )
    return found
