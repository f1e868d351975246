"""Strict tables of a TOML file, whose problems are reported in one line."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec

from detrex_hub.errors import CatalogueError, did_you_mean_path
from detrex_hub.own_files import read_small
from detrex_hub.schema import in_words, matching, typed

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Table: TypeAlias = dict[str, Any]
T = TypeVar("T")

NonEmpty = Annotated[str, matching(r"(?s:.*\S.*)", "at least one character")]
# the limit of `config.json`
Scalar: TypeAlias = bool | int | float | str
Value: TypeAlias = Scalar | list[Scalar]

_MAX_BYTES = 4 * 2**20
# in a line: the time to read a key grows with the square of its parts
_MOST_DOTS = 100


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table that has the declared keys and no others."""


def parse(path: Path) -> Table:
    """A TOML file.

    Raises:
        CatalogueError: it cannot be read, is no regular file, is larger than 4 MiB, or is not TOML.
    """
    try:
        text = read_small(path, _MAX_BYTES, links=True).decode("utf-8-sig")
        if any(line.count(".") > _MOST_DOTS for line in text.splitlines()):
            raise CatalogueError(f"{path} has a line with more than {_MOST_DOTS} dots")
        return tomllib.loads(text)
    except FileNotFoundError:
        raise CatalogueError(
            f"there is no catalogue file {path}",
            hint=did_you_mean_path(str(path), "Check --catalogue and DETREX_HUB_CATALOGUE"),
        ) from None
    except OSError as error:
        raise CatalogueError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CatalogueError(f"{path} is not valid TOML: {error}") from None


def content_sha256(path: Path) -> str | None:
    """The sha256 of a file in hexadecimal digits; None where `parse` could not read one."""
    try:
        return hashlib.sha256(read_small(path, _MAX_BYTES, links=True)).hexdigest()
    except OSError:
        return None


def as_struct(table: Any, to: type[T], where: str, problems: list[str]) -> T | None:
    """A table as the struct that describes it.

    Args:
        table: the table.
        to: a subclass of `Strict`.
        where: how a message names the table.
        problems: the list to which problems are added.

    Returns:
        the struct, or None if there is a problem.
    """
    try:
        return typed(table, to)
    except msgspec.ValidationError as error:
        problems.append(f"{where} {in_words(error).removeprefix('the document ')}")
        return None
