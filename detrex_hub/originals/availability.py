"""Find out whether the original of a name can be downloaded, with one small request per source."""

from __future__ import annotations

from msgspec import Struct

from detrex_hub.catalogue.entry import CatalogueEntry, Source, hub_file
from detrex_hub.errors import DetrexHubError, SourceError
from detrex_hub.originals import drive, http_download, sources
from detrex_hub.redaction import public_url


class Available(Struct, frozen=True, kw_only=True):
    """A source that answers.

    ``size`` (in bytes) and ``sha256`` come from the catalogue or the server. They are None if
    neither states them. ``cached`` says whether this machine has the file already.
    """

    url: str
    size: int | None
    sha256: str | None
    cached: bool = False


def available(entry: CatalogueEntry) -> Available:
    """The first source of an entry that answers, in the order in which `sources.pull` asks them.

    Raises:
        SourceError: none does; the message names the reason for each.
    """
    for path in sources.in_cache(entry):
        return Available(url=path.name, size=path.stat().st_size, sha256=None, cached=True)
    failures = []
    for source, url in sources.candidates(entry.sources):
        try:
            return _ask(source, url)
        except SourceError as error:
            failures.append(f"{public_url(url)}: {error}")
    raise SourceError(
        f"no source of {entry.name} responds: {'; '.join(failures)}",
        hint=f"Give a file or another address: --source FILE_OR_URL with only {entry.name}",
    )


def _ask(source: Source, url: str) -> Available:
    sources.refuse_unreachable(url)
    size, sha256 = source.size, source.sha256
    if url.startswith("hf://"):
        size, sha256 = _ask_hub(source)
    elif url.startswith("gdrive://"):
        drive.ask(url.partition("://")[2])
    else:
        size = http_download.ask(url) or size
    if source.size is not None and size != source.size:
        raise SourceError(f"has {size} bytes instead of {source.size}: damaged or replaced")
    return Available(url=public_url(url), size=size, sha256=sha256 or source.sha256)


def _ask_hub(source: Source) -> tuple[int | None, str | None]:
    from detrex_hub.repositories.client import file_on_hub

    named = hub_file(source.url)
    assert named is not None
    repo, revision, path = named
    try:
        size, digest = file_on_hub(repo, path, revision=revision or source.commit)
    except DetrexHubError as error:
        raise SourceError(error.message) from None
    return size, digest
