"""The errors of this package: one line that says what is wrong, where, and what to do."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from detrex_hub.redaction import redacted, without_addresses

DEBUG_VARIABLE = "DETREX_HUB_DEBUG"
_FULL = {errno.ENOSPC, errno.EDQUOT}
# names of a folder that a missing one is compared with
_MOST_BESIDE = 1000
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_SPECIAL = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class DetrexHubError(Exception):
    """A refused job. Neither text holds a token, a password or a signature.

    Args:
        message: what is wrong and where, one line without a final full stop.
        hint: the next command to run or thing to do, shown after the message.
        choices: options of a command, of which the user must give one. A command that has them
            replaces the hint by its own line with each.
    """

    exit_code = 1

    def __init__(
        self, message: str, *, hint: str | None = None, choices: Sequence[str] = ()
    ) -> None:
        self.message = without_addresses(redacted(message))
        self.choices = tuple(choices)
        self._suggest(_one_of(choices) if choices and hint is None else hint)

    def _suggest(self, hint: str | None) -> None:
        self.hint = hint if hint is None else without_addresses(redacted(hint))
        super().__init__(self.message if hint is None else f"{self.message}. {self.hint}")

    def offer(self, choice: str) -> None:
        """Offer an option of a command if there is no hint yet."""
        if self.hint is None:
            self.choices = (choice,)
            self._suggest(_one_of(self.choices))

    def complete(self, command: str, otherwise: str | None) -> None:
        """Complete the hint to a command that can be pasted into a shell.

        Args:
            command: the command for ``choices``, without them.
            otherwise: the hint if there are no choices, and no hint yet.
        """
        if self.choices:
            self._suggest(_one_of([f"{command} {one}" for one in self.choices]))
        elif self.hint is None:
            self._suggest(otherwise)


def did_you_mean(wanted: str, known: Iterable[str], otherwise: str) -> str:
    """A hint with the known names that are nearest to an unknown one, whatever their case.

    Args:
        wanted: the unknown name.
        known: the known names.
        otherwise: the hint if no known name is near.

    Example:
        >>> did_you_mean("dinno", ["dino", "swin"], "See all names: detrex-hub list")
        'Did you mean dino?'
    """
    return _did_you_mean(_near(wanted, known)) or otherwise


def did_you_mean_path(wanted: str, otherwise: str) -> str:
    """A hint with the files and folders whose names are nearest to that of a missing one.

    Args:
        wanted: the path that does not exist, as it was given.
        otherwise: the hint if no name in its folder is near.
    """
    name = Path(wanted).name
    # as it was given: without `./` a name of the catalogue could be meant
    folder = wanted.rstrip(os.sep).removesuffix(name)
    try:
        with os.scandir(Path(folder).expanduser()) as entries:
            # a link to nothing is beside itself
            beside = [one.name for one in islice(entries, _MOST_BESIDE) if one.name != name]
    except (OSError, RuntimeError):
        return otherwise
    near = (shlex.quote(f"{folder}{one}") for one in _near(name, beside))
    return _did_you_mean(near) or otherwise


def what_is(path: str | os.PathLike[str]) -> str | None:
    """What a path is if it is neither a regular file nor a folder, such as ``a pipe``; None for
    files, folders, and paths that do not exist.

    Example:
        >>> what_is("/dev/null")
        'a device'
    """
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError) as error:
        loop = isinstance(error, OSError) and error.errno == errno.ELOOP
        return "a symbolic link in a loop" if loop else None
    return next((kind for holds, kind in _SPECIAL if holds(mode)), None)


def refuse_special(path: str | os.PathLike[str], *, hint: str | None = None) -> None:
    """Refuse a path that is neither a file nor a folder, such as a pipe. A missing one passes.

    Args:
        path: the path.
        hint: what to do; by default that of a path that is read.

    Raises:
        UsageError: it says what the path is.
    """
    kind = what_is(path)
    if kind is not None:
        reads = "Save its content in a file" if kind == "a pipe" else "Give a file or a folder"
        raise UsageError(f"{os.fspath(path)} is {kind}, not a regular file", hint=hint or reads)


def no_file(wanted: str, otherwise: str) -> UsageError:
    """The refusal of a path that is not a file.

    Args:
        wanted: the path, as it was given.
        otherwise: the hint if no name in its folder is near.

    Raises:
        UsageError: it is neither a file nor a folder, such as a pipe.
    """
    refuse_special(wanted)
    if Path(wanted).is_dir():
        return UsageError(f"{wanted} is a folder", hint=otherwise)
    return UsageError(f"there is no file {wanted}", hint=did_you_mean_path(wanted, otherwise))


def how_to_write(error: OSError, otherwise: str | None = None) -> str:
    """A hint for a place that cannot be written.

    Args:
        error: the operating system's refusal.
        otherwise: what else to do, such as choosing another place.

    Example:
        >>> how_to_write(OSError(errno.ENOSPC, "No space left on device"), "choose another -o")
        'Free space there, or choose another -o'
    """
    if error.errno in _FULL:
        do = "Free space there"
    elif error.errno in _DENIED or otherwise is None:
        do = "Let this user write there"
    else:
        return f"{otherwise[:1].upper()}{otherwise[1:]}"
    return do if otherwise is None else f"{do}, or {otherwise}"


def _near(wanted: str, known: Iterable[str]) -> list[str]:
    from difflib import get_close_matches

    by_lower = {one.lower(): one for one in known}
    return [by_lower[one] for one in get_close_matches(wanted.lower(), by_lower, n=3)]


def _did_you_mean(near: Iterable[str]) -> str | None:
    names = " or ".join(near)
    return f"Did you mean {names}?" if names else None


def _one_of(choices: Sequence[str]) -> str:
    return f"{'Choose one' if len(choices) > 1 else 'Try'}: {' or '.join(choices)}"


class UsageError(DetrexHubError):
    """The call is wrong: an unknown name, or options that exclude each other."""

    exit_code = 2


class CheckpointError(DetrexHubError):
    """A checkpoint file cannot be read: damaged, hostile or of an unknown format."""


class MappingError(DetrexHubError):
    """Rules and keys do not fit each other."""


class ArchitectureError(DetrexHubError):
    """A state dict matches no known architecture, or has other shapes than its architecture."""


class CatalogueError(DetrexHubError):
    """A catalogue file is malformed."""


class SourceError(DetrexHubError):
    """The original weights could not be downloaded: no source answers, or the bytes are wrong."""


class ConfigError(DetrexHubError):
    """A repository's config is malformed or forbidden, or a config cannot take the weights."""


class HubError(DetrexHubError):
    """The Hub, or a folder with its layout, refuses, fails or lacks the requested content."""


class MissingRepositoryError(HubError):
    """The Hub has no such repository, or none that the token can read: both give the same
    answer."""


class UnreachableHubError(HubError):
    """The Hub does not answer, or must not be contacted."""


class VerificationError(DetrexHubError):
    """Bytes differ from those that conversion.json or the Hub describes."""


@contextmanager
def one_line() -> Iterator[None]:
    """Show only our error, without the exceptions of libraries that caused it.

    A traceback then ends in the one line that says what to do. ``DETREX_HUB_DEBUG=1`` shows all.
    """
    try:
        yield
    except DetrexHubError as error:
        if os.environ.get(DEBUG_VARIABLE) != "1":
            error.__cause__ = None
            error.__suppress_context__ = True
        raise


@contextmanager
def suggesting(command: str, otherwise: str | None = None) -> Iterator[None]:
    """Complete the hints of errors inside the context.

    Args:
        command: the command for the choices of an error, without them.
        otherwise: the hint of an error about keys without choices. A file that cannot be read has
            no keys to show.
    """
    try:
        yield
    except (ArchitectureError, MappingError) as error:
        error.complete(command, otherwise)
        raise
    except DetrexHubError as error:
        error.complete(command, None)
        raise
