"""Read the beginning of a large file on the Hub, so that it can be refused without a download."""

from __future__ import annotations

from detrex_hub.repositories.client import ANSWER_SECONDS, LIBRARY, set_limits
from detrex_hub.repositories.refusals import plainly
from detrex_hub.retrying import patiently

_PIECE = 2**16


def first_bytes(repo_id: str, name: str, *, revision: str, most: int) -> bytes:
    """The first bytes of a file, at most ``most``. The rest of the answer is not read.

    Args:
        repo_id: ``owner/name``.
        name: of the file.
        revision: branch, tag or commit.
        most: the number of bytes.

    Raises:
        HubError: the repository, the file or the network fails.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        build_hf_headers,
        hf_raise_for_status,
        http_stream_backoff,
    )

    url = hf_hub_url(repo_id, name, revision=revision)
    headers = build_hf_headers(**LIBRARY) | {"range": f"bytes=0-{most - 1}"}

    def call() -> bytes:
        found = b""
        with http_stream_backoff(
            "GET",
            url,
            headers=headers,
            timeout=ANSWER_SECONDS,
            retry_on_exceptions=(),
            retry_on_status_codes=(),
        ) as response:
            hf_raise_for_status(response)
            for piece in response.iter_bytes(_PIECE):
                found += piece
                if len(found) >= most:
                    break
        return found[:most]

    set_limits()
    with plainly(repo_id, writing=False, file=name, revision=revision):
        return patiently(call)
