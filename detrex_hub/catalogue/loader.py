"""Catalogue files: TOML in, checked entries out.

A file has a `[defaults]` table and one `[weights.<name>]` table per checkpoint, which inherits the
values that it does not set. Inner tables (`facts`, `metrics`, …) are inherited key by key. Every
table with a problem is reported at once. The lock beside the file holds the digests of its sources
and conversions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from detrex_hub.catalogue.entry import (
    CatalogueEntry,
    Metric,
    Origin,
    Result,
    Source,
    file_name_of,
    url_problem,
)
from detrex_hub.catalogue.licenses import HUB_LICENSES
from detrex_hub.catalogue.lock import FileSize, Lock, Pin
from detrex_hub.catalogue.tables import NonEmpty, Strict, Table, Value, as_struct, parse
from detrex_hub.errors import CatalogueError
from detrex_hub.folder_files import WEIGHTS_SUFFIXES
from detrex_hub.schema import Sha256Digits, matching

_MAX_PROBLEMS = 8
# as the Hub names repositories
_NAME = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9]([A-Za-z0-9._-]{0,94}[A-Za-z0-9])?")
_NAME_RULE = (
    "is not a valid name: at most 96 letters, digits, '.', '_' and '-', letters or digits "
    "at both ends, no '--' or '..'"
)
_DIGITS = re.compile(r"-([0-9a-f]{8,64})\.[A-Za-z]+")
_EVALUATION = ("task", "dataset", "unit", "source")

_FileName = Annotated[
    str, matching("[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}", "the form of a file name")
]
_Prefix = Annotated[str, matching("[0-9a-f]{8,64}", "8 to 64 hexadecimal digits in lower case")]
_Config = Annotated[
    str, matching(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.=-]+)*\.py", "the form projects/….py")
]
_Identifier = Annotated[str, matching("[a-z][a-z0-9_]*", "lower-case letters, digits and '_'")]
_Figure = Annotated[float, Meta(ge=-1e12, le=1e12)]


class _Source(Strict, frozen=True, kw_only=True):
    """The place of one file, and the known facts about it."""

    url: str
    layout: _Identifier | UnsetType = UNSET
    file: _FileName | UnsetType = UNSET
    sha256: Sha256Digits | UnsetType = UNSET
    sha256_prefix: _Prefix | UnsetType = UNSET
    size: FileSize | UnsetType = UNSET
    container: NonEmpty | UnsetType = UNSET


class _Evaluation(Strict, frozen=True):
    task: NonEmpty | UnsetType = UNSET
    dataset: NonEmpty | UnsetType = UNSET
    unit: NonEmpty | UnsetType = UNSET
    source: NonEmpty | UnsetType = UNSET


class _Measured(_Evaluation, frozen=True, kw_only=True):
    value: _Figure


class Defaults(Strict, frozen=True):
    """The fields that entries of a file can share."""

    architecture: _Identifier | UnsetType = UNSET
    layout: _Identifier | UnsetType = UNSET
    container: NonEmpty | UnsetType = UNSET
    origin: Origin | UnsetType = UNSET
    summary: NonEmpty | UnsetType = UNSET
    license: NonEmpty | UnsetType = UNSET
    license_name: NonEmpty | UnsetType = UNSET
    license_link: NonEmpty | UnsetType = UNSET
    license_evidence: NonEmpty | UnsetType = UNSET
    non_commercial: bool | UnsetType = UNSET
    authors: list[NonEmpty] | UnsetType = UNSET
    homepage: NonEmpty | UnsetType = UNSET
    paper: NonEmpty | UnsetType = UNSET
    citation: NonEmpty | UnsetType = UNSET
    base_config: _Config | UnsetType = UNSET
    datasets: list[NonEmpty] | UnsetType = UNSET
    evaluation: _Evaluation | UnsetType = UNSET
    facts: dict[str, Value] | UnsetType = UNSET
    hyper_parameters: dict[str, Value] | UnsetType = UNSET
    sha256_in_name: bool = False


class WeightsTable(Defaults, frozen=True, kw_only=True):
    """One entry, with inherited values."""

    architecture: _Identifier
    layout: _Identifier
    title: NonEmpty
    aliases: list[str] = msgspec.field(default_factory=list)
    url: str | UnsetType = UNSET
    file: _FileName | UnsetType = UNSET
    sha256: Sha256Digits | UnsetType = UNSET
    sha256_prefix: _Prefix | UnsetType = UNSET
    size: FileSize | UnsetType = UNSET
    sources: list[_Source] = msgspec.field(default_factory=list)
    metrics: dict[NonEmpty, _Figure | _Measured] = msgspec.field(default_factory=dict)


_AS_GIVEN = (
    "architecture",
    "title",
    "origin",
    "summary",
    "license",
    "license_name",
    "license_link",
    "license_evidence",
    "homepage",
    "paper",
    "base_config",
    "facts",
    "hyper_parameters",
)


def read_catalogue(path: Path, lock: Lock) -> dict[str, CatalogueEntry]:
    """The entries of one file, by name, in its order.

    Args:
        path: the file.
        lock: the known digests of its sources and conversions.

    Raises:
        CatalogueError: it cannot be read, is not TOML, holds unknown keys or wrong values, or
            contradicts the lock. The message names file, table and key.
    """
    document = parse(path)
    problems = [
        f"has an unknown table [{name}]; it can have [defaults] and [weights.<name>]"
        for name in document
        if name not in ("defaults", "weights")
    ]
    problems += [
        f"{name} should be a table"
        for name in ("defaults", "weights")
        if not isinstance(document.get(name, {}), dict)
    ]
    entries: dict[str, CatalogueEntry] = {}
    if not problems:
        defaults = document.get("defaults", {})
        weights = document.get("weights", {})
        as_struct(defaults, Defaults, "[defaults]", problems)
        for name, table in weights.items() if not problems else ():
            entry = _entry(name, table, defaults, path.stem, lock, problems)
            if entry is not None:
                entries[name] = entry
        problems += _same_names(entries)
        if not weights and not problems:
            problems.append("there is no [weights.<name>] table in it")
    if problems:
        rest = len(problems) - _MAX_PROBLEMS
        shown = problems[:_MAX_PROBLEMS] + ([f"and {rest} more problems"] if rest > 0 else [])
        raise CatalogueError(f"{path}: {'; '.join(shown)}")
    return entries


def _entry(
    name: str, table: Any, defaults: Table, family: str, lock: Lock, problems: list[str]
) -> CatalogueEntry | None:
    where = f"[weights.{name}]"
    if not isinstance(table, dict):
        problems.append(f"weights.{name} should be a table")
        return None
    said = as_struct(_inherit(table, defaults), WeightsTable, where, problems)
    if said is None:
        return None
    found = [*_wrong(name, said)]
    sources = [] if found else [*_sources(name, said, lock, found)]
    metrics = [] if found else [*_metrics(said, found)]
    if found:
        problems += [f"{where} {problem}" for problem in found]
        return None
    license = _or(said.license, None)
    result = lock.weights.get(name)
    return CatalogueEntry(
        name=name,
        family=family,
        aliases=tuple(said.aliases),
        sources=tuple(sources),
        metrics=tuple(metrics),
        non_commercial=_or(said.non_commercial, "-nc" in (license or "")),
        authors=tuple(_or(said.authors, [])),
        datasets=tuple(_or(said.datasets, [])),
        citation=said.citation.strip() if said.citation is not UNSET else None,
        result=Result(sha256=result.sha256, mapper=result.mapper) if result else None,
        **{key: value for key in _AS_GIVEN if (value := getattr(said, key)) is not UNSET},
    )


def _or(value: Any, default: Any) -> Any:
    return default if value is UNSET else value


def _inherit(table: Table, defaults: Table) -> Table:
    values = {**defaults, **table}
    for key, value in table.items():
        if isinstance(value, dict) and isinstance(defaults.get(key), dict):
            values[key] = {**defaults[key], **value}
    return values


def _wrong(name: str, said: WeightsTable) -> Iterator[str]:
    """Check the rules that types cannot express."""
    if not _NAME.fullmatch(name):
        yield _NAME_RULE
    for alias in said.aliases:
        if not _NAME.fullmatch(alias):
            yield f"aliases: {alias!r} {_NAME_RULE}"
    for one in (name, *said.aliases):
        if one.endswith(WEIGHTS_SUFFIXES):
            yield f"is named {_shown(one)}, which would mean a file"
    if said.url is UNSET and not said.sources:
        yield "lacks url or sources"
    addresses = {f"sources[{i}] url": one.url for i, one in enumerate(said.sources)}
    if said.url is not UNSET:
        addresses = {"url": said.url} | addresses
    for key, url in addresses.items():
        if (expected := url_problem(url)) is not None:
            yield f"{key} is {_shown(url)} and should be {expected}"
    for key in ("license_link", "homepage", "paper"):
        page = getattr(said, key)
        if page is not UNSET and not _is_page(page):
            yield f"{key} is {_shown(page)} and should be the https address of a page"
    if said.license is UNSET:
        return
    if said.license not in HUB_LICENSES:
        from difflib import get_close_matches

        near = get_close_matches(said.license.lower(), HUB_LICENSES, n=3)
        such = f", such as {', '.join(near)}" if near else ""
        yield f"license is {_shown(said.license)} and should be an identifier of the Hub{such}"
    if said.license == "other" and said.license_name is UNSET:
        yield "license is 'other', which needs license_name"


def _is_page(address: str) -> bool:
    return address.startswith("http") and url_problem(address) is None


def _shown(value: str) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _sources(name: str, said: WeightsTable, lock: Lock, problems: list[str]) -> Iterator[Source]:
    """The source that `url` and its like beside it describe, then those of `sources`."""
    given: list[tuple[str, _Source | WeightsTable]] = [(one.url, one) for one in said.sources]
    if said.url is not UNSET:
        given.insert(0, (said.url, said))
    for url, one in given:
        file = one.file
        if file is UNSET:
            file = f"{name}.pth" if url.startswith("gdrive://") else file_name_of(url)
            if url.startswith("gdrive-folder") and url.count("/") == 2:
                file = f"{name}.pth"
        digits = _DIGITS.search(file) if said.sha256_in_name else None
        prefix = digits[1] if digits else None
        pin = lock.sources.get(url, Pin())
        sha256 = _agreed("sha256", url, one.sha256, pin.sha256, problems)
        if sha256 and prefix and not sha256.startswith(prefix):
            problems.append(f"{url} has sha256 {sha256[:12]}…, but {prefix} in its name")
        yield Source(
            layout=_or(one.layout, said.layout),
            url=url,
            file=file,
            sha256=sha256,
            sha256_prefix=_or(one.sha256_prefix, prefix),
            size=_agreed("size", url, one.size, pin.size, problems),
            commit=pin.commit,
            container=_or(one.container, None),
        )


def _agreed(key: str, url: str, said: Any, locked: Any, problems: list[str]) -> Any:
    """The value in the file or in the lock. The two must not contradict each other."""
    if said is UNSET:
        return locked
    if locked is not None and locked != said:
        problems.append(f"{key} of {url} is {said}, but {locked} in the lock")
    return said


def _metrics(said: WeightsTable, problems: list[str]) -> Iterator[Metric]:
    common = msgspec.structs.asdict(said.evaluation) if said.evaluation is not UNSET else {}
    for name, given in said.metrics.items():
        own = msgspec.structs.asdict(given) if isinstance(given, _Measured) else {"value": given}
        metric = {**common, **{key: value for key, value in own.items() if value is not UNSET}}
        missing = [key for key in _EVALUATION if metric.get(key, UNSET) is UNSET]
        if missing:
            problems.append(
                f"metrics: {name} lacks {', '.join(missing)}; set it there or in evaluation"
            )
        elif not math.isfinite(metric["value"]):
            problems.append(f"metrics: {name} should be a number")
        elif not _is_page(metric["source"]):
            problems.append(f"metrics: {name} source is {_shown(metric['source'])}, not a page")
        else:
            yield Metric(name=name, **metric)


def _same_names(entries: Mapping[str, CatalogueEntry]) -> Iterator[str]:
    """Names and aliases that are equal on a file system that ignores case."""
    seen: dict[str, str] = {}
    for entry in entries.values():
        for name in (entry.name, *entry.aliases):
            first = seen.setdefault(name.lower(), entry.name)
            if first != entry.name or (name != entry.name and name.lower() == first.lower()):
                yield f"[weights.{first}] and [weights.{entry.name}] both have the name {name}"
