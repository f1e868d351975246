"""The catalogue's data on published weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from msgspec import Struct, field

_HUB_FILE = re.compile(
    r"hf://(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^/@\s]+))?/(?P<path>[\w.-]+(/[\w.-]+)*)"
)

# the facts that choose the classes of a model, and the hyper-parameters that follow from them
_CHOOSE_CLASSES = frozenset({"classes", "num_classes", "class_names"})
_OF_CLASSES = frozenset({"num_classes", "classes_cut_from"})

Origin: TypeAlias = Literal["authors", "converted", "trained"]
"""The maker of a file: its authors; detrex, by converting the authors' file; or detrex, by
training."""

ORIGINS: Mapping[Origin, str] = {
    "authors": "published by the authors",
    "converted": "the authors' weights, converted by detrex",
    "trained": "trained in detrex",
}
"""The origins in words, for readers."""


class Source(Struct, frozen=True, kw_only=True):
    """One place that has the weights.

    ``url`` is ``https://…``, ``hf://owner/name[@revision]/path``, ``gdrive://<file id>``, or
    ``gdrive-folder://<folder id>[/<file>]`` if only the folder of the file is known.
    ``layout`` names the file's layout. ``container`` is the dict of the checkpoint that holds the
    weights; None if it can be found without being named. The lock adds ``sha256``, ``size`` (in
    bytes) and, for ``hf://``, the ``commit`` to download. ``sha256_prefix`` are the first
    hexadecimal digits of the sha256, where the whole is not known.
    """

    layout: str
    url: str
    file: str
    container: str | None = None
    sha256: str | None = None
    sha256_prefix: str | None = None
    size: int | None = None
    commit: str | None = None

    @property
    def scheme(self) -> str:
        return self.url.partition("://")[0]

    @property
    def pinned(self) -> bool:
        """Whether a download is compared with a known digest, or comes from a known commit."""
        return bool(self.sha256 or self.sha256_prefix or self.commit)


class Metric(Struct, frozen=True, kw_only=True):
    """A published figure and the page that states it.

    ``name`` as its publishers write it (``acc@1``, ``box AP``), ``value`` in ``unit``.
    """

    task: str
    dataset: str
    name: str
    value: float
    unit: str
    source: str


class Result(Struct, frozen=True, kw_only=True):
    """The result of an entry's conversion: the sha256 of ``model.safetensors``, and the version
    of the mapper that made it, where that is recorded."""

    sha256: str
    mapper: str | None = None


class CatalogueEntry(Struct, frozen=True, kw_only=True):
    """Weights with a name in the catalogue.

    ``aliases`` are further names that find it, such as an earlier name or the stem of the published
    file. ``facts`` are values that no shape shows: ``image_format``, ``pixel_mean`` and
    ``pixel_std`` (0..255, in the order of the channels), ``dilation``, ``position_temperature``,
    ``num_heads`` and the like. ``hyper_parameters`` are those that a conversion must find in the
    checkpoint's shapes. ``license`` is an identifier of the Hub, ``other`` with ``license_name``
    and ``license_link``, or None if the publisher states none; ``license_evidence`` says who states
    it, and where. ``base_config`` is the path of the detrex config to start from. ``result`` is
    what the lock knows of the converted weights.
    """

    name: str
    family: str
    architecture: str
    title: str
    sources: tuple[Source, ...]
    origin: Origin = "authors"
    aliases: tuple[str, ...] = ()
    summary: str = ""
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    license_evidence: str | None = None
    non_commercial: bool = False
    authors: tuple[str, ...] = ()
    homepage: str | None = None
    paper: str | None = None
    citation: str | None = None
    base_config: str | None = None
    datasets: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    hyper_parameters: Mapping[str, Any] = field(default_factory=dict)
    result: Result | None = None

    @property
    def has_detrex_names(self) -> bool:
        """Whether the published file has detrex's key names already."""
        return self.sources[0].layout == "detrex"

    @property
    def pinned(self) -> tuple[str, ...]:
        """Which files are pinned: ``source`` if the first source is, ``result`` if the converted
        weights are."""
        return (
            *(("source",) if self.sources and self.sources[0].pinned else ()),
            *(("result",) if self.result else ()),
        )

    @property
    def box_ap(self) -> Metric | None:
        """The box AP, None where none is published."""
        return next((one for one in self.metrics if one.name == "box AP"), None)

    @property
    def accuracy(self) -> Metric | None:
        """The one figure that tables show: the box AP, else the first that is published."""
        return self.box_ap or next(iter(self.metrics), None)

    @property
    def downloads(self) -> bool:
        """Whether a source can be downloaded without Google Drive, which often asks a person."""
        return any(not one.scheme.startswith("gdrive") for one in self.sources)

    def is_of(
        self,
        architecture: str,
        hyper_parameters: Mapping[str, Any],
        facts: Mapping[str, Any],
    ) -> bool:
        """Whether weights are those of this entry. Their class heads may have been prepared for
        other classes.

        Args:
            architecture: of the weights.
            hyper_parameters: of the weights.
            facts: that were given to their conversion.
        """
        prepared = _OF_CLASSES if _CHOOSE_CLASSES & facts.keys() else frozenset()
        return architecture == self.architecture and all(
            hyper_parameters.get(name) == value
            for name, value in self.hyper_parameters.items()
            if name not in prepared
        )

    def denies(self, url: str | None, sha256: str | None) -> bool:
        """Whether a file that stands in for the sources is known to be another one.

        Args:
            url: where it was downloaded from, None for a file of the user's.
            sha256: of its bytes, where known.

        Returns:
            True where sources have digests, none of them is the file's, and it is from none of
            the sources.
        """
        if sha256 is None or any(same_address(one.url, url or "") for one in self.sources):
            return False
        digests = [one.sha256 or one.sha256_prefix for one in self.sources]
        known = tuple(digest for digest in digests if digest)
        return bool(known) and not sha256.startswith(known)

    def vouches(self, url: str | None, sha256: str | None) -> bool:
        """Whether this entry's data hold for a file: the entry has sources, and as far as is known
        the file is from one of them. Arguments are those of `denies`."""
        return bool(self.sources) and not self.denies(url, sha256)


def same_address(one: str, other: str) -> bool:
    """Whether two addresses name one file, whatever commit they name."""
    on_hub, other_on_hub = hub_file(one), hub_file(other)
    if on_hub is None or other_on_hub is None:
        return one == other
    return on_hub[::2] == other_on_hub[::2]


def url_problem(url: str) -> str | None:
    """The address that a source should have instead, or None if its address is right."""
    scheme = url.partition("://")[0]
    if scheme == "hf":
        return None if hub_file(url) else "hf://owner/name/file or hf://owner/name@revision/file"
    if scheme in ("gdrive", "gdrive-folder"):
        right = re.fullmatch(
            r"gdrive://[\w-]{10,}|gdrive-folder://[\w-]{10,}(/[\w.+-]+)?", url, re.ASCII
        )
        return None if right else "gdrive://<file id> or gdrive-folder://<folder id>[/<file>]"
    try:
        parts = urlsplit(url)
        usable = scheme in ("https", "http") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    return (
        None
        if usable and not re.search(r"\s", url)
        else "https://…, hf://owner/name/file or gdrive://<file id>"
    )


def file_name_of(url: str) -> str:
    """The last segment of a URL's path, without characters that a file name should not have."""
    last = PurePosixPath(unquote(urlsplit(url).path)).name
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", last).lstrip(".+-")[-200:] or "weights"


def hub_file(url: str) -> tuple[str, str | None, str] | None:
    """Repository, revision and path of ``hf://owner/name[@revision]/path``; None for any other."""
    match = _HUB_FILE.fullmatch(url)
    if match is None or ".." in match["path"].split("/"):
        return None
    return match["repo"], match["revision"] and unquote(match["revision"]), match["path"]
