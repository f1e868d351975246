"""The ``.pth`` that detectron2 reads, written once from the weights of a repository.

detectron2 reads no safetensors. The first load writes a torch archive into the cache, once per
content and prefix, while every byte of the weights is checked. Later loads find it there, and use
it as long as its seal fits.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from detrex_hub import checkpoints, seals
from detrex_hub.checkpoints import Checkpoint, Tensor
from detrex_hub.errors import CheckpointError, UsageError, VerificationError
from detrex_hub.hashing import FileSha256
from detrex_hub.locking import FileLock
from detrex_hub.messages import log
from detrex_hub.own_files import is_ours
from detrex_hub.progress import Progress
from detrex_hub.records import CONFIG, RepositoryConfig, to_json
from detrex_hub.repositories import Repository
from detrex_hub.staging import assets_variable, publish_file, staging_folder
from detrex_hub.strict_json import dump_json

# part of the key of a materialised file: raised when its content changes
_VERSION = 3

# the name under which a materialised file holds the repository's config.json, so that a program
# that finds the file in a config knows the needs of the weights
DESCRIBED_BY = "detrex_hub"


def materialise(
    repository: Repository,
    prefix: str,
    *,
    whole: bool = False,
    progress: Progress | None = None,
) -> Path:
    """The ``.pth`` of weights, written if it is not there as it was written.

    Args:
        repository: the weights are fetched from it only where the file has to be written.
        prefix: put before every key.
        whole: read a file that is there whole, instead of comparing it with its seal.
        progress: reports downloads.

    Raises:
        HubError: the weights could not be fetched.
        VerificationError: they are not those that are described.
        DetrexHubError: no place takes the file.
    """
    key = cache_key(repository.config, prefix)
    file = f"{Path(repository.address).name[:64]}.pth"
    for root in roots():
        path = root / key / file
        if _is_private(path.parent) and seals.problem(path, key, whole=whole) is None:
            return path
    repository.weights(progress)
    with _locked_folder(key) as folder:
        path = folder / file
        if path.exists() or path.is_symlink():
            problem = seals.problem(path, key, whole=whole)
            if problem is None:
                # another process wrote it first
                return path
            log(f"{path} {problem}: writing it again", logging.WARNING)
        _write(repository, path, key, prefix)
        return path


def cache_key(described: RepositoryConfig, prefix: str) -> str:
    """The name of everything that the content of a materialised file depends on."""
    contents = repr((_VERSION, prefix, dump_json(to_json(described))))
    return hashlib.sha256(contents.encode()).hexdigest()[:40]


@contextmanager
def open_checked(repository: Repository) -> Iterator[Checkpoint]:
    """The weights, opened. They are hashed while they are read, so what was made of them may be
    used only after this has ended, which it does by an error where they are not those described.
    Weights that this process has just proven are not hashed again.

    Raises:
        VerificationError: the file is not the one that is described.
        CheckpointError: it is, and cannot be read.
    """
    path, described, name = repository.weights(), repository.config, repository.name
    try:
        with checkpoints.open(path, checksums=False, hashed=not repository.proven) as checkpoint:
            described.checkpoint.stored_keys(checkpoint, where=name)
            yield checkpoint
            if repository.proven:
                return
            found = checkpoint.sha256()
    except CheckpointError:
        # if it is another file, its own error does not matter
        found = FileSha256(path).result()
        if found == described.checkpoint.sha256:
            raise
    if found != described.checkpoint.sha256:
        raise VerificationError(
            f"{name}/{described.checkpoint.file} is not the file that {CONFIG} describes: "
            f"its sha256 is {found} instead of {described.checkpoint.sha256}",
            hint=f"Do not use it. Check it with: detrex-hub verify {name}",
        )


def _write(repository: Repository, path: Path, key: str, prefix: str) -> None:
    described = repository.config
    ties = described.checkpoint.ties
    option = "TMPDIR" if path.is_relative_to(_temporary_root()) else assets_variable()
    with staging_folder(path, option=option) as staging:
        staged = staging / path.name
        with open_checked(repository) as checkpoint:
            sha256 = checkpoints.write(
                staged,
                "pth",
                (
                    Tensor(prefix + key, checkpoint.specs[key], partial(checkpoint.chunks, key))
                    for key in checkpoint.specs
                    if key not in ties
                ),
                ties={prefix + alias: prefix + stored for alias, stored in ties.items()},
                extra={
                    "__author__": described.checkpoint.author,
                    "matching_heuristics": not prefix and described.checkpoint.matching_heuristics,
                    DESCRIBED_BY: dump_json(to_json(described)),
                },
            )
        # for any umask, because a file that others may write to is not used
        staged.chmod(staged.stat().st_mode & 0o755)
        publish_file(staged, path)
    # a file without a seal is written again by the next load
    with suppress(OSError):
        seals.seal(path, key, sha256)


def roots() -> Iterator[Path]:
    """Where materialised files may lie: huggingface_hub's assets cache, else a private temporary
    folder, for caches that are read-only or belong to another user."""
    from huggingface_hub import constants

    yield Path(constants.HF_ASSETS_CACHE) / "detrex-hub" / "materialised"
    yield _temporary_root()


def _temporary_root() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    return Path(tempfile.gettempdir()) / f"detrex-hub-{user}"


def _is_private(folder: Path) -> bool:
    """Whether only this user and root can put files there, which are loaded as pickles."""
    try:
        state = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(state.st_mode) and is_ours(state)


@contextmanager
def _locked_folder(key: str) -> Iterator[Path]:
    """A private folder for a key, locked, so that the processes of one machine write it once."""
    cache, temporary = roots()
    folder = cache / key
    if not _is_made(folder):
        if folder.is_dir() and not _is_private(folder):
            why = "belongs to another user, or others may write to it"
            log(f"{folder} {why}: using {temporary}", logging.WARNING)
        folder = temporary / key
        with suppress(OSError):
            temporary.mkdir(mode=0o700)
        if not _is_private(temporary) or not _is_made(folder):
            raise UsageError(
                f"neither {cache} nor {temporary} is writable by this user only",
                hint=(
                    f"Free space there, or set {assets_variable()} or TMPDIR to a folder that "
                    "only you can write to"
                ),
            )
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire()
    except (NotImplementedError, OSError):
        # A file system without locks: several processes may then write the same file, each under
        # a name of its own, and the last rename wins.
        yield folder
        return
    try:
        yield folder
    finally:
        lock.release()


def _is_made(folder: Path) -> bool:
    """Make a folder for this user alone; whether it is there, private, and takes files."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o755, exist_ok=True)
    except OSError:
        return False
    return _is_private(folder) and os.access(folder, os.W_OK)
