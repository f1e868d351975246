"""Key and shape tables of real upstream models, and which tensor of one becomes which of the other.

They were measured by running the upstream code (detrex e244e6c, detectron2 02b5c4e2 and the
originals) with seeded random weights and comparing outputs. ``variants/`` holds one proven pair of
models per file; ``transformers_saved/`` what transformers 4.57 and 5.23 write with
``save_pretrained``, where tied tensors are absent.

`tests.reference.record` makes a new table. CONTRIBUTING.md describes its fields.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from detrex_hub.specs import TORCH_DTYPES, TensorSpec

_HERE = Path(__file__).parent

# COCO's category ids run from 1 to 90 and leave these out
_MISSING_CATEGORIES = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
_COCO80 = [category for category in range(1, 91) if category not in _MISSING_CATEGORIES]
_ROWS = {"coco80": _COCO80, "coco80+91": [*_COCO80, 91], "first80": list(range(80))}


@dataclass(frozen=True)
class Part:
    """A source tensor, or some of its rows by index."""

    key: str
    rows: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Made:
    """A tensor that is computed: the operation's name, the source tensors, and its parameters as
    sorted JSON. `tests.reference.computed` has the definitions."""

    op: str
    of: tuple[str, ...]
    args: str


@dataclass(frozen=True)
class Variant:
    """A proven pair: the original's state dict, the detrex model's, and how they correspond.

    ``moves`` holds for each target key the parts that stand one after another along dimension 0;
    ``about`` whatever else the table says (container, config, notes).
    """

    name: str
    source: dict[str, TensorSpec]
    target: dict[str, TensorSpec]
    moves: dict[str, tuple[Part | Made, ...]]
    dropped: tuple[str, ...]
    tied_sources: tuple[tuple[str, ...], ...]
    tied_targets: tuple[tuple[str, ...], ...]
    target_keys_without_source: tuple[str, ...]
    about: dict[str, Any]


def names(*prefixes: str) -> list[str]:
    """Names of the variants that begin with one of the prefixes; all where none is given."""
    found = sorted(path.name.removesuffix(".json.gz") for path in (_HERE / "variants").iterdir())
    return [name for name in found if name.startswith(prefixes or ("",))]


@cache
def load(name: str) -> Variant:
    raw = _read(_HERE / "variants" / f"{name}.json.gz")
    return Variant(
        name=name,
        source=_specs(raw.pop("source")),
        target=_specs(raw.pop("target")),
        moves={target: tuple(map(_part, parts)) for target, parts in raw.pop("moves").items()},
        dropped=tuple(raw.pop("dropped")),
        tied_sources=tuple(map(tuple, raw.pop("tied_sources"))),
        tied_targets=tuple(map(tuple, raw.pop("tied_targets"))),
        target_keys_without_source=tuple(raw.pop("target_keys_without_source")),
        about=raw,
    )


def transformers_saved() -> list[str]:
    """Names of the layouts that transformers really writes."""
    folder = _HERE / "transformers_saved"
    return sorted(path.name.removesuffix(".json.gz") for path in folder.iterdir())


@cache
def load_saved(name: str) -> dict[str, TensorSpec]:
    raw = _read(_HERE / "transformers_saved" / f"{name}.json.gz")
    return {key: TensorSpec("F32", tuple(shape)) for key, (shape,) in raw.items()}


@cache
def detrex_models() -> dict[str, dict[str, Any]]:
    """Real detrex models that were built, unusual ones among them: architecture,
    hyper-parameters, and sha256 digests of the state dict (a line for each key, sorted:
    ``key dtype [shape]``) and of the sorted groups of keys that are one tensor."""
    return _read(_HERE / "detrex_models.json.gz")


def pack(name: str, table: Mapping[str, Any], folder: Path) -> Path:
    """Store a table as ``name.json.gz``: the same bytes for the same content."""
    packed = folder / f"{name}.json.gz"
    text = json.dumps(table, separators=(",", ":"))
    packed.write_bytes(gzip.compress(text.encode(), mtime=0))
    return packed


def made(op: str, of: Iterable[str], args: Mapping[str, Any]) -> Made:
    return Made(op, tuple(of), json.dumps(args, sort_keys=True))


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return found


def _specs(raw: dict[str, tuple[str, Iterable[int]]]) -> dict[str, TensorSpec]:
    return {
        key: TensorSpec(TORCH_DTYPES[dtype], tuple(shape)) for key, (dtype, shape) in raw.items()
    }


def _part(raw: str | list[Any] | dict[str, Any]) -> Part | Made:
    if isinstance(raw, str):
        return Part(raw)
    if isinstance(raw, dict):
        return made(raw["op"], raw["of"], raw["args"])
    key, rows = raw
    return Part(key, tuple(_ROWS[rows] if isinstance(rows, str) else rows))
