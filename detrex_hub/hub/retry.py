"""Trying again where that can help: a busy server, a broken connection."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import TypeVar

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

TRIES = 4
# seconds: the first pause, and the longest one; a server that asks for more is not waited for
_PAUSE = 1.0
_LONGEST = 60.0
# bytes by which a try must get a transfer on
_GETTING_ON = 2**20

_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_RATE_LIMIT = re.compile(r"\bt\s*=\s*(\d+)")


def patiently(
    call: Callable[[], _Result],
    *,
    tries: int = TRIES,
    reached: Callable[[], int] | None = None,
) -> _Result:
    """Call until it succeeds or fails for a reason that stays.

    Args:
        call: what to try.
        tries: how often, at most.
        reached: the bytes of a transfer that have come so far. A try that got it on by more than a
            MiB begins the count anew: a line may break as often as it likes while it is of use.

    Raises:
        Exception: what the last try raised.
    """
    tried = 0
    while True:
        before = reached() if reached is not None else 0
        try:
            return call()
        except Exception as error:
            got_on = reached is not None and reached() > before + _GETTING_ON
            tried = 1 if got_on else tried + 1
            pause = pause_after(error, tried) if tried < tries else None
            if pause is None:
                raise
            log.warning("%s; next try in %g s", type(error).__name__, pause)
        time.sleep(pause)


def pause_after(error: BaseException, tried: int) -> float | None:
    """The seconds to wait before the next try; None if there should be none.

    Honours Retry-After and the Hub's own rate-limit header, up to a minute.
    """
    if not is_passing(error):
        return None
    asked = _asked_for(error)
    if asked is None:
        return min(_PAUSE * 2.0 ** (tried - 1), 8.0)
    return asked if asked <= _LONGEST else None


def is_passing(error: BaseException) -> bool:
    """Whether the same request might succeed a little later."""
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    if isinstance(error, HfHubHTTPError):
        return error.response is not None and error.response.status_code in _BUSY
    if isinstance(error, (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)):
        return True
    # huggingface_hub raises a bare OSError when a download is shorter or longer than announced
    return type(error) is OSError and error.errno is None


def _asked_for(error: BaseException) -> float | None:
    response = getattr(error, "response", None)
    if response is None:
        return None
    after = response.headers.get("Retry-After", "")
    if after.isdecimal():
        return float(after)
    limit = _RATE_LIMIT.search(response.headers.get("ratelimit", ""))
    return float(limit[1]) if limit and response.status_code == 429 else None
