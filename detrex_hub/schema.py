"""Check parsed JSON and TOML against msgspec types, and report problems in one line.

A type is the whole schema of a document: names, kinds, ranges and lengths. This module adds words
for a pattern, and one error class with one form of message.
"""

from __future__ import annotations

import re
import threading
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from detrex_hub.errors import ConfigError, DetrexHubError

T = TypeVar("T")

# Plain values: the values of a config or a table of facts, which cannot name code.
_Scalar: TypeAlias = (
    bool
    | Annotated[int, Meta(ge=-(2**53), le=2**53)]
    | float
    | Annotated[str, Meta(max_length=4096)]
    | None
)
_LENGTH = Meta(max_length=1000)
_Row: TypeAlias = Annotated[list[_Scalar], _LENGTH]
_Table: TypeAlias = Annotated[list[_Scalar | _Row], _LENGTH]
Plain: TypeAlias = _Scalar | Annotated[list[_Scalar | _Table], _LENGTH]
PlainValues: TypeAlias = Annotated[dict[str, Plain], _LENGTH]
Names: TypeAlias = Annotated[tuple[str, ...], _LENGTH]

_LONGEST = 200
_AT = re.compile(r"(?s)(?P<what>.*?)(?: - at (?P<key>`key` in )?`\$\.?(?P<path>[^`]*)`)?")
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_EXPECTED = re.compile(r"Expected `(?P<kind>[^`]+)`(?P<rest>[^`]*)(?:, got `(?P<got>[^`]+)`)?")
_MEANING = re.compile(r" matching regex ['\"]\\\\A\(\?#(?P<meaning>[^)]*)\).*")
_LENGTH_OF = re.compile(r" of length (?P<bound>[<>]=) (?P<limit>\d+)")

_WORDS = {
    "object": "an object",
    "array": "a list",
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
}
_BOUNDS = {"<=": "at most", ">=": "at least", "<": "less than", ">": "more than"}


def matching(pattern: str, meaning: str) -> Meta:
    """A constraint on a string: the whole of it matches a regular expression.

    Args:
        pattern: without anchors.
        meaning: the words for such a string in messages, without parentheses.

    Example:
        >>> Commit = Annotated[str, matching("[0-9a-f]{40}", "40 hexadecimal digits")]
    """
    # msgspec searches, and its message holds only the pattern, so a comment in it carries the words
    return Meta(pattern=rf"\A(?#{meaning})(?:{pattern})\Z")


Sha256Digits: TypeAlias = Annotated[
    str, matching("[0-9a-f]{64}", "64 hexadecimal digits in lower case")
]


def validated(
    document: Any, kind: type[T], *, where: str, refusal: type[DetrexHubError] = ConfigError
) -> T:
    """Check a parsed document, and return it as a value of a type. No value is coerced.

    Args:
        document: the result of a JSON or TOML parser.
        kind: a `msgspec.Struct`, or any type that msgspec knows.
        where: the file, for the message.
        refusal: the class of the error.

    Raises:
        DetrexHubError: of the class ``refusal``: it names the file and the field.
    """
    try:
        return typed(document, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise refusal(f"{where}: {in_words(error)}") from None


# msgspec analyses a type on its first use. If a second thread uses the type at that time, it reads
# a null pointer and the process crashes (0.22.0).
_one_at_a_time = threading.RLock()


def typed(document: Any, kind: type[T]) -> T:
    """`msgspec.convert`, safe in threads.

    Raises:
        msgspec.ValidationError: the document does not match the type.
        RecursionError: it is nested too deeply.
    """
    with _one_at_a_time:
        return msgspec.convert(document, kind)


def in_words(error: Exception, root: str = "") -> str:
    """A problem that msgspec found, in plain words: ``checkpoint.sha256 is missing``.

    Args:
        error: the exception of msgspec.
        root: the name of the checked value; the whole document if it is empty.
    """
    found = _AT.fullmatch(str(error))
    assert found is not None
    what, path = found["what"], found["path"] or ""
    path = f"{root}{'.' if root and path and path[0] != '[' else ''}{path}"
    if found["key"]:
        path = f"a name in {path or 'the document'}"
    if missing := _MISSING.fullmatch(what):
        return f"{path}.{missing['name']} is missing".lstrip(".")
    if unknown := _UNKNOWN.fullmatch(what):
        return _cut(f"{path or 'the document'} has an unknown name {unknown['name']!r}")
    if expected := _EXPECTED.fullmatch(what):
        unit = "characters" if expected["kind"] == "str" else "items"
        what = f"should be {_kind(expected['kind'])}{_rest(expected['rest'], unit)}"
        if expected["got"]:
            what += f", not {_kind(expected['got'])}"
    elif what.startswith("Invalid enum value "):
        what = f"cannot be {what.removeprefix('Invalid enum value ')}"
    return _cut(f"{path or 'the document'} {what}")


def _kind(kinds: str) -> str:
    return " or ".join(_WORDS.get(one, one) for one in kinds.split(" | "))


def _rest(text: str, unit: str) -> str:
    """The part of a message that describes a value after its kind."""
    if meaning := _MEANING.fullmatch(text):
        return f" of {meaning['meaning']}"
    if length := _LENGTH_OF.fullmatch(text):
        return f" of {_BOUNDS[length['bound']]} {length['limit']} {unit}"
    sign, _, limit = text.strip().partition(" ")
    return f", {_BOUNDS[sign]} {limit}" if sign in _BOUNDS else text


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
