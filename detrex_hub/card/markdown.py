"""Markdown that shows exactly the given values, with no markup from them.

Keys, reasons, names and addresses come from strangers' checkpoints and repositories. A value is
escaped if `escaping_template` prints it, `md` puts it into a literal or `joined` puts it into a
line, unless it is `Markdown` already. Only the functions below make `Markdown`, and `facts`, from
names that it checked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from jinja2 import Template

_LONGEST_TEXT = 2000
_LONGEST_CODE = 300
_LONGEST_BLOCK = 20_000

_SPECIAL = re.compile(r"[`*_\[\]<>|~$&#]|:(?=//)|(?<=www)\.", re.IGNORECASE)
_STARTS_A_BLOCK = re.compile(r"[-+=]|[0-9]+(?=[.)]( |$))")
_PLAIN_CODE = re.compile(r"[^`|]+")
_PLACE = re.compile(r"\{(\w+)\}")
_WEB = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]+)?([/?#].*)?")


class Markdown(str):
    """Text that may be printed as it is."""

    __slots__ = ()


def clean(value: Any, limit: int = _LONGEST_TEXT) -> str:
    """One line of visible characters, cut to a length.

    Line ends and runs of blanks become one blank; control characters, marks that change the
    direction of writing and lone surrogates become U+FFFD.
    """
    line = _visible(" ".join(str(value)[: 10 * limit].split()))
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def prose(value: Any) -> Markdown:
    """Prose."""
    if isinstance(value, Markdown):
        return value
    # a backslash would escape our own, and on the Hub it can begin a formula
    escaped = _SPECIAL.sub(r"\\\g<0>", clean(value).replace("\\", "\0")).replace("\0", "&#92;")
    opening = _STARTS_A_BLOCK.match(escaped)
    if opening is None:
        return Markdown(escaped)
    end = opening.end() if opening[0][0].isdigit() else 0
    return Markdown(f"{escaped[:end]}\\{escaped[end:]}")


def code(value: Any) -> Markdown:
    """A key, a name, a value."""
    shown = clean(value, _LONGEST_CODE) or "''"
    if _PLAIN_CODE.fullmatch(shown):
        return Markdown(f"`{shown}`")
    entities = "".join(c if c.isalnum() or c == " " else f"&#{ord(c)};" for c in shown)
    return Markdown(f"<code>{entities}</code>")


def link(url: str, label: Any = None) -> Markdown:
    """A link to a web page; any other address is shown as code."""
    target = web_address(url)
    if target is None:
        return code(url) if label is None else prose(label)
    if label is None:
        label = urlsplit(url).netloc.removeprefix("www.") + urlsplit(url).path.rstrip("/")
    return Markdown(f"[{prose(label)}]({target})")


def web_address(url: str) -> str | None:
    """The address of a web page, without characters that could end it; None for any other."""
    if not _WEB.fullmatch(url) or clean(url) != url:
        return None
    return quote(url, safe="-._~:/?#@!&'*+,;=%")


def block(value: str, language: str) -> Markdown:
    """A block of code of several lines."""
    lines = (_visible(line, "\t").rstrip() for line in value[:_LONGEST_BLOCK].splitlines())
    longest = max((len(run) for run in re.findall("`+", value)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markdown("\n".join((f"{fence}{language}", *lines, fence)))


def md(literal: str, /, **values: Any) -> Markdown:
    """A literal with values in place of their names in braces, each escaped unless it is Markdown.

    Args:
        literal: Markdown of this package's own, never anybody's data. Braces that hold more than a
            name stay as they are, and so do those in values.
        values: what to put in; more than the literal names may be given.

    Raises:
        KeyError: the literal names a value that is not given.
    """
    return Markdown(_PLACE.sub(lambda place: prose(values[place[1]]), literal))


def joined(separator: str, values: Iterable[Any]) -> Markdown:
    """Values one after another, each escaped unless it is Markdown; the separator is a literal."""
    return Markdown(separator.join(map(prose, values)))


def escaping_template(source: str) -> Template:
    """A template that escapes every value that it prints, and refuses a name that it is not given.

    Args:
        source: of the template: Markdown of this package's own, never a stranger's data.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined,
        finalize=prose,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # that would escape for HTML; `finalize` escapes for Markdown
        autoescape=False,
    )
    environment.filters.update(code=code, block=block, number=number)
    return environment.from_string(source)


def number(value: int | float) -> str:
    """A number with its thousands apart."""
    return f"{value:,}"


def _visible(line: str, kept: str = "") -> str:
    """The same with U+FFFD for characters that are neither visible nor kept."""
    # true of nearly every line, and faster than a look at each character
    if line.isascii() and line.isprintable():
        return line
    return "".join(
        char
        if char in kept or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co")
        else "\N{REPLACEMENT CHARACTER}"
        for char in line
    )
