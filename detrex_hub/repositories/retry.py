"""Trying again where that can help: a busy server, a broken connection."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

TRIES = 4
# seconds: the first pause, and the longest one; a server that asks for more is not waited for
_PAUSE = 1.0
_LONGEST = 60.0
# the longest that huggingface_hub may wait of its own accord, as it does in the midst of an upload:
# the Hub counts requests in windows of five minutes
_LONGEST_WITHIN = 600.0
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
    response = getattr(error, "response", None)
    asked = _asked_for(response) if response is not None else None
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


def refuse_long_pauses(response: httpx.Response) -> None:
    """Raise what an answer stands for, if it asks for a pause that nobody has the time for.

    For huggingface_hub's session, since the client itself would wait for days.
    """
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

    if response.status_code in _BUSY and (_asked_for(response) or 0) > _LONGEST_WITHIN:
        response.read()
        hf_raise_for_status(response)


def _asked_for(response: httpx.Response) -> float | None:
    after = response.headers.get("Retry-After", "")
    if after.isdecimal():
        return float(after)
    limit = _RATE_LIMIT.search(response.headers.get("ratelimit", ""))
    return float(limit[1]) if limit and response.status_code == 429 else None
