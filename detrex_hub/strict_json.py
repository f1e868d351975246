"""JSON that every reader understands in the same way, and that is written in one way.

The text comes from untrusted repositories. A name that occurs twice, a number that is not finite
and text that is not Unicode are refused.
"""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from detrex_hub.errors import ConfigError

# Values in a JSON document, at most. The largest record of a known model has 7,000.
_MAX_VALUES = 200_000


def parse_json(text: str | bytes, *, where: str) -> Any:
    """Parse the text of a record.

    Raises:
        ConfigError: it is not JSON, holds a name twice, or has too many values.
    """
    try:
        data = text if isinstance(text, bytes) else text.encode()
        if sum(map(data.count, (b"{", b"[", b","))) > _MAX_VALUES:
            raise ConfigError(f"{where} holds more than {_MAX_VALUES} values")
        document = json.loads(
            data.decode(),
            parse_float=_finite,
            parse_constant=_refuse_constant,
            object_pairs_hook=_without_doubles,
        )
        if b"\\u" in data:
            # an escape can be half of a surrogate pair, which is not a character
            json.dumps(document, ensure_ascii=False).encode()
    except UnicodeError as error:
        raise ConfigError(f"{where} is not valid Unicode: {error}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not valid JSON: {error}") from None
    return document


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # readers disagree on which of the two counts
    found = dict(pairs)
    if len(found) < len(pairs):
        names = iter(found)
        twice = next(name for name, _ in pairs if name != next(names, None))
        raise ValueError(f"{twice[:80]!r} occurs twice")
    return found


def _finite(number: str) -> float:
    found = float(number)
    if not math.isfinite(found):
        raise ValueError(f"{number[:80]} is not a finite number")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def dump_json(document: Any) -> str:
    """The same text for the same content, on every machine.

    Raises:
        ConfigError: it holds text that is not Unicode, such as the name of a file.
    """
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        value = text[text.rfind('"', 0, error.start) : text.find('"', error.start) + 1]
        raise ConfigError(
            f"a record cannot hold text that is not Unicode: {value[:200]}",
            hint="Rename it where it is the name of a file",
        ) from None
    return f"{msgspec.json.format(text, indent=2)}\n"
