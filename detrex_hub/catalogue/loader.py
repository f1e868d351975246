"""Catalogue files: TOML in, checked entries out.

A file has a `[defaults]` table and one `[weights.<name>]` table per checkpoint, which inherits what
it does not say. Tables within (`facts`, `metrics`, …) are inherited key by key. Every problem of a
file is reported at once.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from detrex_hub.catalogue.entry import CatalogueEntry, Metric, Source, file_name, url_problem
from detrex_hub.catalogue.licenses import HUB_LICENSES
from detrex_hub.errors import CatalogueError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Table: TypeAlias = dict[str, Any]
# what a value should have been, or None where it is right
Check: TypeAlias = Callable[[Any], str | None]

LAYOUTS = (
    "original",
    "panoptic",
    "torchvision",
    "timm",
    "transformers",
    "detrex",
    "caffe2",
)

_MAX_BYTES = 4 * 2**20
_MAX_PROBLEMS = 8
# as the Hub names repositories
_NAME = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9]([A-Za-z0-9._-]{0,94}[A-Za-z0-9])?")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")
_CONFIG = re.compile(r"[\w.-]+(/[\w.=-]+)*\.py", re.ASCII)
_DIGITS = re.compile(r"-([0-9a-f]{8,64})\.[A-Za-z]+")


def read_catalogue(path: Path) -> dict[str, CatalogueEntry]:
    """The entries of one file, by name, in its order.

    Raises:
        CatalogueError: it cannot be read, is not TOML, or holds unknown keys or wrong values.
    """
    document = _parse(path)
    problems: list[str] = []
    _check(document, {"defaults": _table, "weights": _table}, "the file", problems)
    defaults = document.get("defaults")
    weights = document.get("weights")
    entries: dict[str, CatalogueEntry] = {}
    if not problems:
        _check(defaults or {}, _DEFAULTS, "[defaults]", problems)
        for name, table in (weights or {}).items():
            entry = _entry(name, table, defaults or {}, path.stem, problems)
            if entry is not None:
                entries[name] = entry
        problems += _names_alike(entries)
        if not weights and not problems:
            problems.append("there is no [weights.<name>] table in it")
    if problems:
        rest = len(problems) - _MAX_PROBLEMS
        shown = problems[:_MAX_PROBLEMS] + ([f"and {rest} more problems"] if rest > 0 else [])
        raise CatalogueError(f"{path}: {'; '.join(shown)}")
    return entries


def _parse(path: Path) -> Table:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CatalogueError(f"{path} is larger than {_MAX_BYTES >> 20} MiB")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CatalogueError(
            f"there is no catalogue file {path}",
            hint="Look at --catalogue and DETREX_HUB_CATALOGUE",
        ) from None
    except OSError as error:
        raise CatalogueError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CatalogueError(f"{path} is not valid TOML: {error}") from None


def _entry(
    name: str, table: Any, defaults: Table, family: str, problems: list[str]
) -> CatalogueEntry | None:
    where = f"[weights.{name}]"
    known = len(problems)
    if not _NAME.fullmatch(name):
        problems.append(
            f"{where} is no name for a repository: at most 96 letters, digits, '.', '_' and '-', "
            "letters or digits at both ends, no '--' or '..'"
        )
    if not isinstance(table, dict):
        problems.append(f"weights.{name} should be a table")
        return None
    _check(table, _WEIGHTS, where, problems)
    for i, source in enumerate(table.get("sources", ()) if len(problems) == known else ()):
        _check(source, _SOURCE, f"{where} sources[{i}]", problems)
        if "url" not in source:
            problems.append(f"{where} sources[{i}] lacks url")
    if len(problems) > known:
        return None
    values = _inherit(table, defaults)
    missing = [key for key in ("architecture", "layout", "title") if key not in values]
    if "url" not in table and not table.get("sources"):
        missing.append("url or sources")
    if missing:
        problems.append(f"{where} lacks {', '.join(missing)}")
    if values.get("license") == "other" and "license_name" not in values:
        problems.append(f"{where} license is 'other', which needs license_name")
    metrics = _metrics(values, where, problems)
    if len(problems) > known:
        return None
    license = values.get("license")
    return CatalogueEntry(
        name=name,
        family=family,
        sources=_sources(name, values),
        metrics=metrics,
        non_commercial=values.get("non_commercial", "-nc" in (license or "")),
        authors=tuple(values.get("authors", ())),
        datasets=tuple(values.get("datasets", ())),
        facts=values.get("facts", {}),
        hyper_parameters=values.get("hyper_parameters", {}),
        citation=values["citation"].strip() if "citation" in values else None,
        **{key: values[key] for key in _AS_GIVEN if key in values},
    )


_AS_GIVEN = (
    "architecture",
    "title",
    "summary",
    "license",
    "license_name",
    "license_link",
    "homepage",
    "paper",
    "base_config",
)


def _inherit(table: Table, defaults: Table) -> Table:
    values = {**defaults, **table}
    for key, value in table.items():
        if isinstance(value, dict) and key in defaults:
            values[key] = {**defaults[key], **value}
    return values


def _sources(name: str, values: Table) -> tuple[Source, ...]:
    """The source that `url` and its like beside it describe, then those of `sources`."""
    given = list(values.get("sources", ()))
    if "url" in values:
        keys = ("url", "file", "sha256", "sha256_prefix", "size", "container")
        given.insert(0, {key: values[key] for key in keys if key in values})
    sources = []
    for one in given:
        file = one.get("file") or file_name(one["url"])
        if one["url"].startswith("gdrive") and "file" not in one:
            file = f"{name}.pth"
        digits = _DIGITS.search(file) if values.get("sha256_in_name") else None
        sources.append(
            Source(
                layout=one.get("layout", values["layout"]),
                url=one["url"],
                file=file,
                sha256=one.get("sha256"),
                sha256_prefix=one.get("sha256_prefix") or (digits[1] if digits else None),
                size=one.get("size"),
                container=one.get("container"),
            )
        )
    return tuple(sources)


def _metrics(values: Table, where: str, problems: list[str]) -> tuple[Metric, ...]:
    metrics = []
    for name, given in values.get("metrics", {}).items():
        told = {**values.get("evaluation", {}), **(given if isinstance(given, dict) else {})}
        missing = [key for key in _EVALUATION if key not in told]
        if missing:
            problems.append(
                f"{where} metrics: {name} lacks {', '.join(missing)}, which evaluation can say"
            )
        elif isinstance(given, dict):
            metrics.append(Metric(name=name, **told))
        else:
            metrics.append(Metric(name=name, value=given, **told))
    return tuple(metrics)


def _names_alike(entries: Mapping[str, CatalogueEntry]) -> list[str]:
    seen: dict[str, str] = {}
    return [
        f"[weights.{name}] and [weights.{other}] differ only in case"
        for name in entries
        if (other := seen.setdefault(name.lower(), name)) != name
    ]


def _check(table: Table, checks: Mapping[str, Check], where: str, problems: list[str]) -> None:
    for key, value in table.items():
        if key not in checks:
            problems.append(f"{where} has an unknown key {key}; it can have {', '.join(checks)}")
        elif (expected := checks[key](value)) is not None:
            shown = repr(value)
            shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
            problems.append(f"{where} {key} is {shown} and should be {expected}")


def _table(value: Any) -> str | None:
    return None if isinstance(value, dict) else "a table"


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) and value.strip() else "a string that is not empty"


def _texts(value: Any) -> str | None:
    right = isinstance(value, list) and all(_text(item) is None for item in value)
    return None if right else "a list of strings that are not empty"


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "true or false"


def _number(value: Any) -> str | None:
    right = isinstance(value, int | float) and not isinstance(value, bool)
    return None if right and abs(value) < 1e12 else "a number"


def _size(value: Any) -> str | None:
    return None if type(value) is int and value > 0 else "a number of bytes"


def _matching(pattern: str, expected: str) -> Check:
    compiled = re.compile(pattern)
    return lambda value: None if isinstance(value, str) and compiled.fullmatch(value) else expected


def _one_of(allowed: tuple[str, ...]) -> Check:
    return lambda value: None if value in allowed else f"one of {', '.join(allowed)}"


def _license(value: Any) -> str | None:
    if value in HUB_LICENSES:
        return None
    from difflib import get_close_matches

    near = get_close_matches(str(value).lower(), HUB_LICENSES, n=3)
    return "a licence identifier of the Hub" + (f", such as {', '.join(near)}" if near else "")


def _web_page(value: Any) -> str | None:
    right = isinstance(value, str) and value.startswith("http") and url_problem(value) is None
    return None if right else "the https address of a page"


def _url(value: Any) -> str | None:
    return url_problem(value) if isinstance(value, str) else "a URL"


def _plain(value: Any) -> str | None:
    """Numbers, strings, booleans and lists of them, by name: what `config.json` may hold."""

    def right(item: Any) -> bool:
        if isinstance(item, list):
            return all(right(one) for one in item)
        return isinstance(item, bool | int | float | str)

    if isinstance(value, dict) and all(right(item) for item in value.values()):
        return None
    return "a table of numbers, strings, true, false, and lists of them"


def _evaluation(value: Any) -> str | None:
    right = isinstance(value, dict) and all(
        key in _EVALUATION and _EVALUATION[key](item) is None for key, item in value.items()
    )
    return None if right else f"a table of {', '.join(_EVALUATION)}"


def _figures(value: Any) -> str | None:
    def right(item: Any) -> bool:
        if not isinstance(item, dict):
            return _number(item) is None
        rest = {key: told for key, told in item.items() if key != "value"}
        return _number(item.get("value")) is None and _evaluation(rest) is None

    if isinstance(value, dict) and all(right(item) for item in value.values()):
        return None
    return (
        'a table such as {"box AP" = 42.0}, or with tables of '
        f"value, {', '.join(_EVALUATION)} in place of the numbers"
    )


def _source_tables(value: Any) -> str | None:
    right = isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
    return None if right else "a list of tables"


_EVALUATION: dict[str, Check] = {
    "task": _text,
    "dataset": _text,
    "unit": _text,
    "source": _web_page,
}
_SOURCE: dict[str, Check] = {
    "url": _url,
    "layout": _one_of(LAYOUTS),
    "file": _matching(_FILE.pattern, "a file name"),
    "sha256": _matching(r"[0-9a-f]{64}", "64 hexadecimal digits in lower case"),
    "sha256_prefix": _matching(r"[0-9a-f]{8,64}", "8 to 64 hexadecimal digits in lower case"),
    "size": _size,
    "container": _text,
}
_DEFAULTS: dict[str, Check] = {
    "architecture": _matching(r"[a-z][a-z0-9_]*", "the name of an architecture"),
    "layout": _one_of(LAYOUTS),
    "summary": _text,
    "license": _license,
    "license_name": _text,
    "license_link": _web_page,
    "non_commercial": _flag,
    "authors": _texts,
    "homepage": _web_page,
    "paper": _web_page,
    "citation": _text,
    "base_config": _matching(_CONFIG.pattern, "the path of a detrex config, projects/….py"),
    "datasets": _texts,
    "evaluation": _evaluation,
    "facts": _plain,
    "hyper_parameters": _plain,
    "sha256_in_name": _flag,
    "container": _text,
}
_WEIGHTS: dict[str, Check] = {
    "title": _text,
    **_SOURCE,
    **_DEFAULTS,
    "sources": _source_tables,
    "metrics": _figures,
}
