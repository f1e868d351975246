"""Wrap long lines in a terminal, at spaces. In a pipe and in a file, a line stays one line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TextIO
from unicodedata import east_asian_width

# columns between the first line of a value and the others
_FURTHER = 2
_USUAL = 80
_MARK = " \\"
# a label, and the gap before its value
_LABEL = re.compile(r"\S(?:.*?\S)? {2,}(?=\S)")
# a value stays beside its name: `depth = 50`, `--to original`
_WORD = re.compile(r"( *)((?:\S+ = |--[\w-]+ )?\S+)")
_QUOTED = r"'[^']*'|\"[^\"]*\""
# a command within a line, up to the end of its sentence, and one of its words
_COMMAND = re.compile(
    r"(?:^|(?<=: )|(?<= or )|(?<=  ))(?:[A-Z_]+=\S+ )*(?:detrex-hub|pip|openssl|hf|python) [a-z-]"
    rf"(?:{_QUOTED}|(?! or | and |[.,;] ).)*"
)
_ARGUMENT = re.compile(rf"( *)((?:--[\w-]+ )?(?:{_QUOTED}|\S)+)")


def on_terminal(text: str, stream: TextIO | None, less: int = 0) -> str:
    """A line as it is printed to a stream: wrapped if that is a terminal.

    Args:
        text: the line.
        stream: where it is printed.
        less: columns of the terminal that have another use.
    """
    columns = columns_of(stream)
    return text if columns is None else "\n".join(wrapped(text, columns - less))


def columns_of(stream: TextIO | None) -> int | None:
    """The width of a terminal in characters; None if the stream is not a terminal."""
    if stream is None or not stream.isatty():
        return None
    if (columns := os.environ.get("COLUMNS", "")).isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL
    except (OSError, ValueError):
        return _USUAL


def wrapped(line: str, columns: int) -> Iterator[str]:
    """The parts of a line, each in the given width.

    A word that is longer than the width, such as a path, stays whole. Continued lines are indented
    below the value of a label. A command that needs several lines has a backslash at the end of
    each, so that all of them can be pasted together.

    Example:
        >>> [*wrapped("sha256  of the file", 14)]
        ['sha256  of the', '          file']
    """
    line = line.expandtabs()
    if _width(line) <= columns:
        yield line
        return
    indent = _indent(line, columns)
    current = ""
    for gap, word, mark, room in _words(line, columns):
        if current.strip() and _width(current + gap + word) > room:
            yield current + mark
            current, gap = "", " " * min(indent, max(0, room - _width(word)))
        current += gap + word
    yield current


def _indent(line: str, columns: int) -> int:
    """The spaces before each continued line."""
    before = len(line) - len(line.lstrip())
    if not before and (label := _LABEL.match(line)):
        before = label.end()
    return before + _FURTHER if before < columns // 2 else _FURTHER


def _words(line: str, columns: int) -> Iterator[tuple[str, str, str, int]]:
    """The words of a line, each with the spaces before it, the mark at the end of the line before
    it if it starts a line, and the room for its line."""
    at = 0
    for command in _COMMAND.finditer(line):
        before = line[at : command.start()].rstrip()
        for word in _WORD.finditer(before):
            yield word[1], word[2], "", columns
        *words, last = _ARGUMENT.finditer(line, at + len(before), command.end())
        mark = ""
        for word in words:
            yield word[1], word[2], mark, columns - len(_MARK)
            mark = _MARK
        yield last[1], last[2], mark, columns
        at = command.end()
    for word in _WORD.finditer(line, at):
        yield word[1], word[2], "", columns


def _width(text: str) -> int:
    """The columns of a text. Characters of East Asia take two."""
    if text.isascii():
        return len(text)
    return sum(2 if east_asian_width(one) in "WF" else 1 for one in text)
