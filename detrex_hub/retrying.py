"""The one retry policy, for failures such as a busy server or a broken connection."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

TRIES = 4
# seconds: the first pause, our longest pause, and the longest pause that a server may request
_PAUSE = 1.0
_LONGEST_OWN = 8.0
_LONGEST_ASKED = 60.0
# seconds that huggingface_hub itself may wait during an upload: the Hub counts requests in windows
# of five minutes
_LONGEST_WITHIN = 600.0
# bytes by which an attempt must advance a transfer to reset the count
_PROGRESS = 2**20

BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_RATE_LIMIT = re.compile(r"\bt\s*=\s*(\d+)")


class PassingError(OSError):
    """A failure that may be temporary.

    Args:
        reason: a text that continues the name of a server.
        after: seconds to wait before the next attempt, if known.
    """

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


def patiently(
    call: Callable[[], _Result],
    *,
    tries: int = TRIES,
    reached: Callable[[], int] | None = None,
) -> _Result:
    """Call until it succeeds or fails permanently.

    Args:
        call: the function.
        tries: the largest number of attempts.
        reached: the arrived bytes of a transfer. An attempt that advances it by more than 1 MiB
            beyond all earlier attempts resets the count.

    Raises:
        Exception: the error of the last attempt.
    """
    tried = 0
    best = reached() if reached is not None else 0
    while True:
        try:
            return call()
        except Exception as error:
            now = reached() if reached is not None else 0
            tried = 1 if now > best + _PROGRESS else tried + 1
            best = max(best, now)
            pause = pause_after(error, tried) if tried < tries else None
            if pause is None:
                raise
            log.warning("%s; next try in %g s", _said(error), pause)
        time.sleep(pause)


def _said(error: Any) -> str:
    """Describe an error, with the name of the server if the error has it."""
    if isinstance(error, PassingError):
        return str(error)
    response = getattr(error, "response", None)
    try:
        host = (error if response is None else response).request.url.host
    except (AttributeError, RuntimeError):
        # a RuntimeError says that the error has no request
        return type(error).__name__
    return f"{host}: {type(error).__name__ if response is None else response.status_code}"


def pause_after(error: BaseException, tried: int) -> float | None:
    """The seconds to wait before the next attempt; None if there should be no other attempt.

    Honours Retry-After and the Hub's own rate-limit header, up to a minute.
    """
    if not is_passing(error):
        return None
    response = getattr(error, "response", None)
    asked = error.after if isinstance(error, PassingError) else None
    if response is not None:
        asked = asked_pause(response.status_code, response.headers)
    if asked is None:
        return min(_PAUSE * 2.0 ** (tried - 1), _LONGEST_OWN)
    return asked if asked <= _LONGEST_ASKED else None


def is_passing(error: BaseException) -> bool:
    """Whether the same request may succeed soon."""
    if isinstance(error, PassingError):
        return True
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    if isinstance(error, HfHubHTTPError):
        return error.response is not None and error.response.status_code in BUSY
    if isinstance(error, (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)):
        return True
    # huggingface_hub raises a bare OSError when a download is shorter or longer than announced
    return type(error) is OSError and error.errno is None


def refuse_long_pauses(response: httpx.Response) -> None:
    """Raise the error of an answer that requests a pause of more than ten minutes.

    For huggingface_hub's session, because the client itself would wait for days.
    """
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

    asked = asked_pause(response.status_code, response.headers)
    if response.status_code in BUSY and (asked or 0) > _LONGEST_WITHIN:
        response.read()
        hf_raise_for_status(response)


def asked_pause(status: int, headers: Mapping[str, str]) -> float | None:
    """The pause in seconds that a server requests, by Retry-After (seconds or a date) or the Hub's
    rate-limit header; None if it requests none."""
    given = headers.get("retry-after", "")
    if given.isascii() and given.isdigit():
        return float(given)
    try:
        until = parsedate_to_datetime(given)
        # by the server's own clock, which the date refers to
        now = headers.get("date")
        start = parsedate_to_datetime(now) if now else datetime.now(timezone.utc)
        return max((until - start).total_seconds(), 0.0)
    except (TypeError, ValueError):
        pass
    limit = _RATE_LIMIT.search(headers.get("ratelimit", ""))
    return float(limit[1]) if limit and status == 429 else None
