"""A table from the exceptions of huggingface_hub to the one line that a user reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from detrex_hub.errors import (
    DetrexHubError,
    HubError,
    MissingRepositoryError,
    UnreachableHubError,
    VerificationError,
    how_to_write,
)
from detrex_hub.redaction import public_url, redacted


class _Refusal(Struct, frozen=True):
    """One line of the table.

    ``kind`` is the name of an exception's class or of one of its bases. Names need no import, and
    some classes are in other modules in other versions. In the texts
    ``{repo}``, ``{url}`` of its page, ``{file}``, ``{revision}``, ``{endpoint}``, ``{place}`` on
    the disk that failed, ``{how}``, how to make it take the file, and ``{said}``, the
    server's own words, are filled in.
    """

    kind: str
    message: str
    hint: str
    statuses: tuple[int, ...] = ()
    writing: bool | None = None
    error: type[HubError] = HubError


_LOG_IN = "Log in with: hf auth login"
# any OSError from the operating system
_DISK = "OSError with a number"
_LATER = "Nothing is wrong on your side; run the same command again later"

# The first fitting line counts: special lines come before general ones.
_TABLE = (
    _Refusal("LocalTokenNotFoundError", "a push needs a token, and you have none", _LOG_IN),
    _Refusal(
        "GatedRepoError",
        "{repo} is gated: its owner decides who may read it",
        "Ask for access at {url}, then: hf auth login",
    ),
    _Refusal("DisabledRepoError", "{repo} was disabled by the Hub", "See {url}"),
    _Refusal(
        "RevisionNotFoundError",
        "{repo} has no revision {revision!r}",
        "See its branches and tags at {url}/tree/main",
    ),
    _Refusal("RemoteEntryNotFoundError", "{repo} has no file {file}", "See {url}/tree/main"),
    _Refusal(
        "RepositoryNotFoundError",
        "{repo} does not exist on {endpoint}, or is private and your token cannot read it",
        "Check the name; for a private repository: hf auth login",
        error=MissingRepositoryError,
    ),
    _Refusal(
        "OfflineModeIsEnabled",
        "{repo}: {file} is not in the cache, and HF_HUB_OFFLINE forbids downloading it",
        "Fetch it once with the network: HF_HUB_OFFLINE=0 detrex-hub load {repo}",
        writing=False,
        error=UnreachableHubError,
    ),
    _Refusal(
        "OfflineModeIsEnabled",
        "{repo}: HF_HUB_OFFLINE forbids pushing",
        "Unset it, or push into a folder with --to DIR",
        writing=True,
    ),
    _Refusal(
        "HfHubHTTPError",
        "{endpoint} does not accept your token{said}",
        "Log in again with: hf auth login (HF_TOKEN, if set, comes first)",
        (401,),
    ),
    _Refusal(
        "HfHubHTTPError",
        "{repo}: your token may not write there{said}",
        "Propose the change with --create-pr, choose another --namespace, or log in with a "
        "token that may write: hf auth login",
        (403,),
        writing=True,
    ),
    _Refusal(
        "HfHubHTTPError",
        "{repo}: your token may not read it{said}",
        _LOG_IN,
        (403,),
        writing=False,
    ),
    _Refusal(
        "HfHubHTTPError",
        "{repo} kept changing during the push",
        "Run the same command again",
        (409, 412),
    ),
    _Refusal(
        "HfHubHTTPError",
        "{endpoint} limits the rate of requests{said}",
        "Wait a few minutes, then run the same command again",
        (429,),
    ),
    _Refusal(
        "HfHubHTTPError",
        "{endpoint} failed{said}",
        _LATER,
        (500, 502, 503, 504),
        error=UnreachableHubError,
    ),
    _Refusal("HfHubHTTPError", "{repo}: {endpoint} refused the request{said}", "See {url}"),
    _Refusal(
        "OIDCError",
        "{repo}: HF_OIDC_RESOURCE is set, and this job has no identity to exchange for a token",
        "Give the job the permission `id-token: write`, or unset HF_OIDC_RESOURCE",
    ),
    _Refusal(
        "FileMetadataError",
        "The server at {endpoint} is not a Hub",
        "Check HF_ENDPOINT, and whether the network asks you to sign in",
    ),
    _Refusal(
        "ProxyError",
        "The proxy refused the connection to {endpoint}",
        "Check HTTPS_PROXY and NO_PROXY",
    ),
    _Refusal(
        "ConnectError",
        "{endpoint} cannot be reached",
        "Check the network and HF_ENDPOINT; without a network load from a folder: "
        "DETREX_HUB_ROOT=DIR",
        error=UnreachableHubError,
    ),
    _Refusal(
        "TimeoutException",
        "{endpoint} does not answer in time",
        _LATER,
        error=UnreachableHubError,
    ),
    _Refusal("TooManyRedirects", "{repo}: {endpoint} redirects again and again", "See {url}"),
    _Refusal(
        "TransportError",
        "The connection to {endpoint} was lost",
        _LATER,
        error=UnreachableHubError,
    ),
    _Refusal(
        "XetDownloadError",
        "{repo}: {file} could not be fetched through Xet",
        "Turn it off: HF_HUB_DISABLE_XET=1",
    ),
    # hf_xet raises the builtin exception for a Hub without Xet
    _Refusal(
        "ConnectionError",
        "{repo}: the transfer through Xet failed at {endpoint}",
        "Turn it off: HF_HUB_DISABLE_XET=1",
    ),
    _Refusal(
        "JSONDecodeError",
        "The server at {endpoint} is not a Hub",
        "Check HF_ENDPOINT, and whether the network asks you to sign in",
    ),
    _Refusal(
        "LocalEntryNotFoundError",
        "{endpoint} cannot be reached, and {repo}'s {file} is not in the cache",
        "Check the network and HF_ENDPOINT; without a network load from a folder: "
        "DETREX_HUB_ROOT=DIR",
        error=UnreachableHubError,
    ),
    _Refusal(
        _DISK,
        "{repo}: {file} cannot be stored at {place}: {why}",
        "{how}",
        writing=False,
    ),
    _Refusal(
        _DISK,
        "{repo}: {place} cannot be read: {why}",
        "Nothing was pushed. Run the same command again",
        writing=True,
    ),
    _Refusal("OSError", "{repo}: {file} is incomplete", _LATER),
    *(
        _Refusal(kind, "{repo}: {endpoint} sent an invalid answer ({kind})", _LATER)
        for kind in (
            "RequestError",
            "InvalidURL",
            "CookieConflict",
            "ValueError",
            "LookupError",
            "TypeError",
            "AttributeError",
            "ArithmeticError",
            "RuntimeError",
        )
    ),
)


@contextmanager
def plainly(
    repo: str, *, writing: bool, file: str = "the file", revision: str | None = None
) -> Iterator[None]:
    """Turn every error of huggingface_hub in the context into a `HubError` of one line."""
    try:
        yield
    except DetrexHubError:
        raise
    except Exception as error:
        refusal = explain(error, repo, writing=writing, file=file, revision=revision)
        if refusal is None:
            raise
        raise refusal from error


def explain(
    error: BaseException,
    repo: str,
    *,
    writing: bool,
    file: str = "the file",
    revision: str | None = None,
) -> HubError | None:
    """The line for an exception; None if the exception is a bug in this package."""
    root = _root(error)
    for one in (root,) if root is error else (root, error):
        refusal = _find(one, repo, writing, file, revision)
        if refusal is not None:
            return refusal
    return None


def damaged(repo: str, file: str) -> VerificationError:
    """The line for a file that arrived damaged twice."""
    return VerificationError(
        f"{repo}: {file} was downloaded twice, and both times its sha256 differed from the Hub's; "
        "it was removed",
        hint="Try again later or over another network. If that fails, "
        "tell the owner of the repository",
    )


def _find(
    error: BaseException, repo: str, writing: bool, file: str, revision: str | None
) -> HubError | None:
    from huggingface_hub import constants

    kinds = {kind.__name__ for kind in type(error).__mro__}
    if getattr(error, "errno", None) is not None:
        kinds.add(_DISK)
    status = getattr(getattr(error, "response", None), "status_code", None)
    endpoint = public_url(constants.ENDPOINT)
    repo = endpoint if repo == constants.ENDPOINT else repo
    cache = "HF_HUB_CACHE" if os.environ.get("HF_HUB_CACHE") else "HF_HOME"
    names = {
        "repo": repo,
        "file": file,
        "revision": revision or "main",
        "endpoint": endpoint,
        "url": repo if repo == endpoint else f"{endpoint}/{repo}",
        "said": _said(error),
        "kind": type(error).__name__,
        "place": getattr(error, "filename", None) or (file if writing else constants.HF_HUB_CACHE),
        "how": how_to_write(
            error if isinstance(error, OSError) else OSError(), f"choose another place with {cache}"
        ),
        "why": _line(str(getattr(error, "strerror", None) or error)),
    }
    for line in _TABLE:
        if (
            line.kind in kinds
            and (not line.statuses or status in line.statuses)
            and line.writing in (None, writing)
        ):
            return line.error(line.message.format(**names), hint=line.hint.format(**names))
    return None


def _root(error: BaseException) -> BaseException:
    """The cause of an error that only wraps another error."""
    names = ("LocalEntryNotFoundError", "RuntimeError", "RevisionResolutionError")
    while type(error).__name__ in names and error.__cause__ is not None:
        error = error.__cause__
    return error


def _said(error: BaseException) -> str:
    said = getattr(error, "server_message", None)
    return f" ({_line(said)})" if said else ""


def _line(text: str) -> str:
    """A server's message, cut to one line, without anything that looks like a token."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return redacted("".join(filter(str.isprintable, lines[0] if lines else "")))[:200]
