"""Originals of any size that are made while they are sent: they need no disk and no memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from detrex_hub import catalogue
from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.catalogue.models import layout_of, model_of
from detrex_hub.seeded import SyntheticCheckpoint
from tests.hub_server.web import Request, Response, Server


class Originals(Server):
    """Serves ``/<name>.safetensors``: the original's state dict, filled with seeded numbers."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self._names = frozenset(names)

    def answer(self, request: Request) -> Response:
        name = request.path.removeprefix("/").removesuffix(".safetensors")
        if name not in self._names or request.method not in ("GET", "HEAD"):
            return Response(404, {"Content-Type": "text/plain"}, b"Not Found")
        header, checkpoint = _original(name)
        size = len(header) + sum(spec.nbytes for spec in checkpoint.specs.values())
        headers = {"Accept-Ranges": "bytes", "ETag": f'"{name}"'}
        start, stop, status = 0, size, 200
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", "")):
            start, status = int(asked[1]), 206
            stop = min(int(asked[2]) + 1, size) if asked[2] else size
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        if start >= stop:
            return Response(416, {"Content-Range": f"bytes */{size}"})
        if request.method == "HEAD":
            return Response(status, headers, length=stop - start)
        pieces = _between(_pieces(header, checkpoint), start, stop)
        return Response(status, headers, stream=pieces, length=stop - start)


@lru_cache(8)
def _original(name: str) -> tuple[bytes, SyntheticCheckpoint]:
    """The beginning of the file, and its tensors in their order."""
    entry = catalogue.load_entries()[name]
    specs, same_as = model_of(entry).original(layout_of(entry))
    entries, at = {}, 0
    for key, spec in specs.items():
        entries[key] = {
            "dtype": spec.dtype,
            "shape": list(spec.shape),
            "data_offsets": [at, at + spec.nbytes],
        }
        at += spec.nbytes
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text, SyntheticCheckpoint(specs, same_as)


def _pieces(header: bytes, checkpoint: SyntheticCheckpoint) -> Iterator[bytes | memoryview]:
    yield header
    for key in checkpoint.specs:
        yield from checkpoint.chunks(key)


def _between(
    pieces: Iterator[bytes | memoryview], start: int, stop: int
) -> Iterator[bytes | memoryview]:
    """The bytes of a range of the file."""
    at = 0
    for piece in pieces:
        if at >= stop:
            return
        if at + len(piece) > start:
            yield memoryview(piece)[max(start - at, 0) : stop - at]
        at += len(piece)


def catalogue_of(names: Sequence[str], url: str) -> str:
    """Catalogue entries in TOML, with the originals at an address instead of their own."""
    known = catalogue.load_entries()
    return "\n".join(_entry(known[name], f"{url}/{name}.safetensors") for name in names)


def _entry(entry: CatalogueEntry, url: str) -> str:
    said = {
        "architecture": entry.architecture,
        "layout": layout_of(entry),
        "title": entry.title,
        "license": entry.license or "apache-2.0",
        "url": url,
        "hyper_parameters": entry.hyper_parameters,
        "facts": entry.facts,
    }
    if entry.license == "other":
        said |= {"license_name": entry.license_name, "license_link": entry.license_link}
    lines = [f"{key} = {_toml(value)}" for key, value in said.items() if value is not None]
    return "\n".join([f"[weights.{json.dumps(entry.name)}]", *lines, ""])


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{json.dumps(k)} = {_toml(v)}' for k, v in value.items())} }}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)
