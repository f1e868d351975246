"""Refuse pages that a server sends instead of a checkpoint."""

from __future__ import annotations

from detrex_hub.errors import SourceError

_HTML = (b"<!doctype", b"<html", b"<head", b"<body")
_XML = (b"<?xml", b"<error")
_MAX_ANSWER_BYTES = 2**16


def refuse_type(content_type: str) -> None:
    """Refuse an answer whose content type is that of a page or a message.

    Raises:
        SourceError: it is such content.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        raise _instead("an HTML page")
    if kind in ("application/xml", "text/xml"):
        raise _instead("an XML message")
    if kind == "application/json" or kind.endswith("+json"):
        raise _instead("a JSON message")


def refuse_page(head: bytes, size: int | None) -> None:
    """Refuse content whose first bytes are those of a page or a message, and empty content.

    Args:
        head: the first bytes.
        size: of the whole, in bytes, where known.

    Raises:
        SourceError: it is such content.
    """
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(_HTML):
        raise _instead("an HTML page")
    if text.startswith(_XML):
        raise _instead("an XML message")
    # a safetensors file has eight bytes before its brace, and no weights are this small
    if text.startswith((b"{", b"[")) and size is not None and size < _MAX_ANSWER_BYTES:
        raise _instead("a JSON message")
    if not head or size == 0:
        raise SourceError("sends an empty file")


def _instead(what: str) -> SourceError:
    return SourceError(f"sends {what} instead of the file")
