"""Output gets its final name only when it is complete.

Work happens in a hidden sibling of the target, which is renamed at the end. A killed run leaves
such a sibling behind; the next run for the same target finds its lock free and removes it.
"""

from __future__ import annotations

import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from detrex_hub.errors import DetrexHubError, how_to_write, refuse_special
from detrex_hub.locking import FileLock

_LOCK = ".lock"
# errors of file systems without locks, such as some network drives
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
# errors that only the written place can cause
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
_REPLACED = "replaced"


class UnwritableError(DetrexHubError):
    """A place cannot be written.

    Args:
        place: the file or folder that could not be written.
        error: the operating system's error.
        option: the option that chooses another place; None if there is none.
    """

    def __init__(self, place: Path, error: OSError, option: str | None) -> None:
        do = f"choose another place with {option}" if option else None
        super().__init__(
            f"{place} cannot be written: {error.strerror or error}",
            hint=f"Nothing was left behind. {how_to_write(error, do)}",
        )
        self.place = place
        self.error = error


@contextmanager
def staging_folder(target: Path, *, option: str | None) -> Iterator[Path]:
    """A new folder beside ``target``, which is removed at the end with its remaining content.

    Args:
        target: the final path.
        option: the option or the environment variable that chooses another target, for the error's
            hint; None if there is none.

    Raises:
        UnwritableError: the place cannot be written to, or the disk is full.
        UsageError: the target is a pipe, a socket or a device, which would be replaced.
    """
    if not target.is_symlink():
        hint = "Choose another place" if option is None else f"Choose another place with {option}"
        refuse_special(target, hint=hint)
    new: list[Path] = []
    try:
        new += (one for one in (target.parent, *target.parent.parents) if not one.exists())
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(target)
        folder, lock = _own_folder(_prefix(target), target.parent)
    except OSError as error:
        _remove_empty(new)
        raise UnwritableError(target, error, option) from None
    try:
        try:
            yield folder
        except OSError as error:
            if error.filename is None or Path(os.fsdecode(error.filename)).is_relative_to(folder):
                raise UnwritableError(target, error, option) from None
            raise
    finally:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)
        _remove_empty(new)


def _remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, from the inner to the outer ones, up to the first that has content."""
    with suppress(OSError):
        for one in folders:
            one.rmdir()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for large intermediate results, which is removed at the end.

    It is beside the Hub's cache if there is space, else in the system's temporary folder. The next
    run removes the folder of a killed run.

    Raises:
        UnwritableError: neither can be written to, or the disk is full.
    """
    folder, option = scratch_place()
    with staging_folder(_scratch_target(folder), option=option) as scratch:
        try:
            yield scratch
        except UnwritableError as refused:
            if not refused.place.is_relative_to(scratch):
                raise
            # the user has no option for a place in this folder
            raise UnwritableError(folder, refused.error, option) from None


def clear_scratch() -> None:
    """Remove the scratch folders of killed runs."""
    remove_abandoned(_scratch_target(scratch_place()[0]))


def _scratch_target(place: Path) -> Path:
    return place.absolute() / "detrex-hub"


def scratch_place() -> tuple[Path, str]:
    """The place of the folders of `scratch_folder`, and the environment variable that moves it."""
    from huggingface_hub import constants

    folder = Path(constants.HF_ASSETS_CACHE) / "detrex-hub" / "converting"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder, assets_variable()
    return Path(tempfile.gettempdir()), "TMPDIR"


def assets_variable() -> str:
    """The environment variable that moves huggingface_hub's assets cache."""
    return "HF_ASSETS_CACHE" if os.environ.get("HF_ASSETS_CACHE") else "HF_HOME"


def copy_file(source: Path, copy: Path) -> None:
    """Copy the content of a file.

    Raises:
        OSError: one of the two fails; ``filename`` is its path.
    """
    try:
        shutil.copyfile(source, copy)
    except OSError as error:
        # shutil names the source first, even if the target failed
        if error.errno in _NO_ROOM:
            raise OSError(error.errno, error.strerror, os.fspath(copy)) from None
        raise


def publish_files(staging: Path, target: Path) -> None:
    """Move the files of a complete staging folder to the folder ``target``.

    An existing folder is replaced as a whole and is never half-replaced. If the system cannot
    exchange two folders, the old one is moved aside for a moment. It is moved back if the new one
    cannot take its place, or by the next run if this one is killed at that moment.
    """
    complete = staging / "complete"
    complete.mkdir()
    for path in list(staging.iterdir()):
        if path.name != _LOCK and path != complete:
            synchronise(path)
            path.rename(complete / path.name)
    _synchronise_folder(complete)
    _rename_folder(complete, target)
    _synchronise_folder(target.parent)


def _rename_folder(complete: Path, target: Path) -> None:
    if not target.exists():
        try:
            complete.rename(target)
            return
        except OSError:
            # another process may have been faster
            if not target.exists():
                raise
    if _exchanged(complete, target):
        return
    replaced = complete.parent / _REPLACED / target.name
    replaced.parent.mkdir()
    target.rename(replaced)
    try:
        complete.rename(target)
    except BaseException:
        replaced.rename(target)
        raise


def publish_file(staged: Path, target: Path) -> None:
    """Rename one complete file to its final name."""
    synchronise(staged)
    staged.replace(target)
    _synchronise_folder(target.parent)


def synchronise(path: Path) -> None:
    """Synchronise a file's bytes to the disk, so that a name never exists before its bytes.

    Publishing does this. A caller with other work can do it earlier in a thread.
    """
    # Windows needs write access for this
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _synchronise_folder(folder: Path) -> None:
    """Synchronise the names in a folder to the disk. Windows and some file systems cannot do
    this."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def require_space(folder: Path, needed: int) -> None:
    """
    Raises:
        OSError: the disk of a folder has less free space.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed >> 20} MiB are needed and {free >> 20} MiB are free")


def _own_folder(prefix: str, parent: Path) -> tuple[Path, FileLock]:
    """A new folder, locked by this process."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            # before it is locked, another process may consider it abandoned
            with suppress(FileNotFoundError):
                lock = FileLock(folder / _LOCK)
                try:
                    lock.acquire()
                except (NotImplementedError, OSError) as error:
                    if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                        raise
                    # then other processes cannot consider it abandoned either
                    return folder, lock
                if (folder / _LOCK).exists():
                    return folder, lock
                lock.release()
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _prefix(target: Path) -> str:
    # cut as bytes: file systems allow 255 of them
    begins = os.fsdecode(os.fsencode(target.name)[:64]).encode(errors="ignore").decode()
    return f".{begins}.partial-"


def remove_abandoned(target: Path) -> None:
    """Remove leftovers of killed runs beside ``target``. A new `staging_folder` does this too."""
    for folder in target.parent.glob(f"{glob.escape(_prefix(target))}*"):
        lock = FileLock(folder / _LOCK)
        # a folder whose lock is held or cannot be taken belongs to a running process
        with suppress(NotImplementedError, OSError):
            lock.acquire(timeout=0)
            _put_back(folder)
            # Windows removes no file that is open
            lock.release()
            shutil.rmtree(folder, ignore_errors=True)


def _put_back(abandoned: Path) -> None:
    """Restore the folder that a killed run moved aside and did not replace."""
    for replaced in abandoned.glob(f"{_REPLACED}/*"):
        target = abandoned.parent / replaced.name
        if not target.exists():
            replaced.rename(target)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange the names of two folders in one step. Returns whether the system can do this."""
    import ctypes

    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
    return bool(rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)
