"""Text that may be shown: whatever could let somebody in is taken out of it."""

from __future__ import annotations

import json
import os
import re
import sys

_SECRETS = re.compile(
    r"(?-i:\bhf_[A-Za-z0-9]{16,})"  # tokens of the Hub
    r"|(?<=Bearer )[^\s'\",]+"
    r"|(?<=://)[^/\s@'\"]+(?=@)"  # user and password of an address
    r"|(?<=[?&])(?:[\w-]*(?:token|signature|credential|password|key)[\w-]*)=[^&\s'\"]+",
    re.IGNORECASE,
)
_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")


def visible(text: str) -> str:
    """One line as it may be printed: line ends, control characters that a terminal would obey,
    marks that turn the direction of writing and lone surrogates are escaped as Python does it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else _escaped(c) for c in text)


def visible_json(document: str) -> str:
    """JSON of several lines, made visible by JSON's own escapes: what it says stays the same."""
    return "\n".join(
        line
        if line.isprintable()
        else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)
        for line in document.split("\n")
    )


def _escaped(char: str) -> str:
    return char.encode("unicode-escape").decode()


def redacted(text: str) -> str:
    """The text with tokens, passwords and signatures replaced by ``***``."""
    for token in (*(os.environ.get(name, "").strip() for name in _VARIABLES), _stored()):
        if len(token) >= 4:
            text = text.replace(token, "***")
    return _SECRETS.sub("***", text)


def _stored() -> str:
    """The token that `hf auth login` keeps, which may be of any form; none was read where the
    library was not needed."""
    library = sys.modules.get("huggingface_hub")
    return (library.get_token() or "") if library is not None else ""
