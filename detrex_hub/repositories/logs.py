"""Remove secrets from the logs of huggingface_hub and its HTTP client.

They log whole addresses, with the password of ``HF_ENDPOINT`` and the signatures of redirects.
Their records also reach the handlers of the calling program.
"""

from __future__ import annotations

import logging

from detrex_hub.redaction import redacted

# loggers whose handlers a record passes on its way to the root
_LOGGERS = ("huggingface_hub", "httpx", "httpx2", "httpcore", "httpcore2")


class _Redaction(logging.Handler):
    """Removes the secrets from a record, for all later handlers."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            record.msg, record.args = redacted(record.getMessage()), None
            if record.exc_info:
                record.exc_text = redacted(logging.Formatter().formatException(record.exc_info))
        except Exception:
            self.handleError(record)


_redaction = _Redaction()


def redact_logs() -> None:
    """Remove secrets from all later logs. A second call changes nothing."""
    for name in _LOGGERS:
        handlers = logging.getLogger(name).handlers
        if handlers[:1] != [_redaction]:
            if _redaction in handlers:
                handlers.remove(_redaction)
            handlers.insert(0, _redaction)
