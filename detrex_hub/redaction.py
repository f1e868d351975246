"""Remove tokens, passwords and signatures from text that may be shown."""

from __future__ import annotations

import json
import os
import re
import sys
from urllib.parse import urlsplit, urlunsplit

# parameters of addresses that grant access, also in signed addresses of Amazon (X-Amz-*, and
# Policy of CloudFront), Google (X-Goog-*) and Azure (sig)
_PARAMETERS = (
    r"[\w.-]{0,60}(?:token|signature|credential|passw|secret|key|auth|policy)[\w.-]{0,60}"
    r"|sig|jwt|x-(?:amz|goog|ms)-[\w-]{0,60}"
)
_SECRETS = re.compile(
    r"(?-i:\bhf_(?:jwt_[\w.-]{8,}|[A-Za-z0-9]{16,}))"  # tokens of the Hub
    r"|(?-i:\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+)"  # identities of CI jobs
    r"|(?<=Bearer )[^\s'\",]+"
    r"|(?<=://)[^/\s'\"]+(?=@)"  # user and password of an address
    # an address may be a parameter of another one, with quoted characters
    rf"|(?:(?<=[?&;])|(?<=%3F)|(?<=%26))(?:{_PARAMETERS})(?:=|%3D)(?:(?!%26)[^&\s'\"])+",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"<((?:[^<>]|<\w{1,40}>){1,200}?) at 0x[0-9a-f]+>", re.IGNORECASE)
_VARIABLES = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HUGGINGFACE_HUB_TOKEN",
    "HF_OIDC_ID_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
)
# with this variable, huggingface_hub requests a token over the network
_OF_PUBLISHER = "HF_OIDC_RESOURCE"


def visible(text: str) -> str:
    """One printable line: line ends, control characters of terminals, marks that change the
    direction of writing and lone surrogates are escaped as in Python."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else ascii(c)[1:-1] for c in text)


def visible_json(document: str) -> str:
    """JSON of several lines with such characters in JSON's own escapes. Its content stays the
    same."""
    return "\n".join(
        line
        if line.isprintable()
        else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)
        for line in document.split("\n")
    )


def redacted(text: str) -> str:
    """The text with tokens, passwords and signatures replaced by ``***``."""
    for token in (*(os.environ.get(name, "").strip() for name in _VARIABLES), _stored()):
        if len(token) >= 4:
            text = text.replace(token, "***")
    return _SECRETS.sub("***", text)


def public_url(url: str) -> str:
    """An address without user, password, query and fragment, which may be shown."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url.partition('://')[0]}://…"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def without_addresses(text: str) -> str:
    """The text without memory addresses of objects: ``<Stem object at 0x7f…>`` becomes
    ``Stem object``."""
    return _ADDRESS.sub(r"\1", text)


def _stored() -> str:
    """The token that `hf auth login` stored, in any form; empty if the module that reads it was not
    imported. A trusted publisher's token has a different form."""
    module = sys.modules.get("huggingface_hub.utils._auth")
    if os.environ.get(_OF_PUBLISHER):
        return ""
    return (module.get_token() or "") if module is not None else ""
