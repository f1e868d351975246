"""The lock of a catalogue: the known digests of its sources and of the converted weights.

A lock is a TOML file beside the catalogue, ``my.lock.toml`` beside ``my.toml``. It has one table
for each source, by its URL, and one for each entry whose conversion was made:

    [sources."hf://facebook/detr-resnet-50/model.safetensors"]
    sha256 = "830f5e2eeaada8c8c8281779dcc8ab12833972eb8514ed0a35be6c1d4420ad81"

    [weights.detr_r50]
    sha256 = "…"
    mapper = "…"

The same lock is always written as the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from detrex_hub.catalogue.tables import NonEmpty, Strict, as_struct, parse
from detrex_hub.errors import CatalogueError
from detrex_hub.schema import Sha256Digits, matching
from detrex_hub.staging import publish_file, staging_folder

SUFFIX = ".lock.toml"

Commit = Annotated[str, matching("[0-9a-f]{40}", "40 hexadecimal digits in lower case")]
FileSize = Annotated[int, msgspec.Meta(gt=0)]

# the keys that TOML takes without quotes
_BARE = re.compile(r"[A-Za-z0-9_-]+")

_HEADER = """\
# Digests of the sources in the catalogue beside this file, and of their conversions.
# Written by `detrex-hub lock`.
"""


class Pin(Strict, frozen=True, kw_only=True):
    """The known facts about the file at a URL: its size in bytes, its sha256, and, for ``hf://``,
    the commit of the repository that holds it."""

    size: FileSize | None = None
    sha256: Sha256Digits | None = None
    commit: Commit | None = None


class ResultPin(Strict, frozen=True, kw_only=True):
    """The result of a conversion: the sha256 of ``model.safetensors``, and the version of the
    mapper that made it, which is ``plan.mapper_sha256`` of its `conversion.json`."""

    sha256: Sha256Digits
    mapper: NonEmpty | None = None


class Lock(Strict, frozen=True, kw_only=True):
    """Pins of sources by URL, and of results by the name of the entry."""

    sources: dict[str, Pin] = msgspec.field(default_factory=dict)
    weights: dict[str, ResultPin] = msgspec.field(default_factory=dict)


def lock_path(catalogue: Path) -> Path:
    """The lock of a catalogue file: ``my.lock.toml`` for ``my.toml``."""
    return catalogue.with_name(catalogue.stem + SUFFIX)


def read_lock(path: Path) -> Lock:
    """The lock in a file; an empty one where there is no such file.

    Raises:
        CatalogueError: it cannot be read, or is malformed; the message names file, table and key.
    """
    if not path.exists():
        return Lock()
    document = parse(path)
    unknown = document.keys() - {"sources", "weights"}
    problems = [f"has an unknown table [{name}]" for name in sorted(unknown)]
    sources: dict[str, Pin] = {}
    weights: dict[str, ResultPin] = {}
    for kind, type_, found in (("sources", Pin, sources), ("weights", ResultPin, weights)):
        tables = document.get(kind, {})
        if not isinstance(tables, dict):
            problems.append(f"{kind} should be a table")
            continue
        for name, table in tables.items():
            made = as_struct(table, type_, f"[{kind}.{_key(name)}]", problems)
            if made is not None:
                found[name] = made  # type: ignore[assignment]
    problems += [
        f"[sources.{_key(url)}] has a commit, which only hf:// sources have"
        for url, pin in sources.items()
        if pin.commit and not url.startswith("hf://")
    ]
    if problems:
        raise CatalogueError(f"{path}: {'; '.join(problems[:8])}")
    return Lock(sources=sources, weights=weights)


def write_lock(path: Path, lock: Lock) -> None:
    """Write a lock, in an order that depends on its content alone. The file appears complete or not
    at all. A link stays a link.

    Raises:
        OSError: the folder cannot be written to.
    """
    target = path.resolve()
    with staging_folder(target, option=None) as staging:
        staged = staging / target.name
        staged.write_bytes("".join(_lines(lock)).encode())
        publish_file(staged, target)


def _lines(lock: Lock) -> Iterator[str]:
    yield _HEADER
    tables: tuple[tuple[str, Mapping[str, Strict]], ...] = (
        ("sources", lock.sources),
        ("weights", lock.weights),
    )
    for kind, pins in tables:
        for name, pin in sorted(pins.items()):
            values = {k: v for k, v in msgspec.structs.asdict(pin).items() if v is not None}
            if values:
                yield f"\n[{kind}.{_key(name)}]\n"
                yield from (f"{k} = {_value(v)}\n" for k, v in values.items())


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


def _value(value: str | int) -> str:
    if isinstance(value, int):
        return str(value)
    # the escapes of JSON are those of a basic TOML string
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
