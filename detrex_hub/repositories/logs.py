"""Remove secrets from the logs of huggingface_hub and its HTTP client.

They log addresses whole, with the password of ``HF_ENDPOINT`` and the signatures of those that a
server redirects to. Their records reach the handlers of the program that uses them too.
"""

from __future__ import annotations

import logging

from detrex_hub.redaction import redacted

# a record passes the handlers of these on its way from their modules to the root
_LOGGERS = ("huggingface_hub", "httpx", "httpx2", "httpcore", "httpcore2")


class _Redaction(logging.Handler):
    """Takes the secrets out of a record, for all handlers that come after this one."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            record.msg, record.args = redacted(record.getMessage()), None
            if record.exc_info:
                record.exc_text = redacted(logging.Formatter().formatException(record.exc_info))
        except Exception:
            self.handleError(record)


_redaction = _Redaction()


def redact_logs() -> None:
    """Take secrets out of all that is logged from now on. To be done again is harmless."""
    for name in _LOGGERS:
        handlers = logging.getLogger(name).handlers
        if handlers[:1] != [_redaction]:
            if _redaction in handlers:
                handlers.remove(_redaction)
            handlers.insert(0, _redaction)
