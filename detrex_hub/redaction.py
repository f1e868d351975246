"""Text that may be shown: whatever could let somebody in is taken out of it."""

from __future__ import annotations

import os
import re

_SECRETS = re.compile(
    r"(?-i:\bhf_[A-Za-z0-9]{16,})"  # tokens of the Hub
    r"|(?<=Bearer )[^\s'\",]+"
    r"|(?<=://)[^/\s@'\"]+(?=@)"  # user and password of an address
    r"|(?<=[?&])(?:[\w-]*(?:token|signature|credential|password|key)[\w-]*)=[^&\s'\"]+",
    re.IGNORECASE,
)
_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")


def redacted(text: str) -> str:
    """The text with tokens, passwords and signatures replaced by ``***``."""
    for name in _VARIABLES:
        token = os.environ.get(name, "").strip()
        if len(token) >= 4:
            text = text.replace(token, "***")
    return _SECRETS.sub("***", text)
