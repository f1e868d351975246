"""The two records of a converted folder: `config.json`, which a load reads, and `conversion.json`,
which says where the weights come from and what was proven of them.

Both are read back from strangers' repositories, so every field is checked on the way in.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detrex_hub.architectures.base import Overrides
from detrex_hub.errors import ConfigError
from detrex_hub.mapping import Computed, ConversionPlan, Fresh, Move, Piece
from detrex_hub.specs import DTYPE_BITS, TensorSpec

CONFIG = "config.json"
CONVERSION = "conversion.json"
CARD = "README.md"
FORMAT_VERSION = 1

# file name of the weights, by format
WEIGHTS = {"safetensors": "model.safetensors", "pth": "model.pth", "pkl": "model.pkl"}

_MAX_RECORD_BYTES = 32 * 2**20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,95}")


@dataclass(frozen=True, kw_only=True)
class RepositoryConfig:
    """What `config.json` holds: enough to load the weights and to set a training config right.

    ``preprocessing`` has ``image_format`` (RGB or BGR), ``pixel_mean`` and ``pixel_std`` (0..255,
    in the order of the channels). ``ties`` maps an alias to the key that its tensor is stored by.
    ``set_by_model`` are keys of the model that the file does not hold, by nature.
    """

    architecture: str
    hyper_parameters: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    overrides: Overrides
    base_config: str | None
    file: str
    sha256: str
    author: str
    matching_heuristics: bool
    ties: Mapping[str, str] = field(default_factory=dict)
    set_by_model: tuple[str, ...] = ()
    synthetic: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "library_name": "detrex",
            "architecture": self.architecture,
            "hyper_parameters": dict(self.hyper_parameters),
            "preprocessing": dict(self.preprocessing),
            "overrides": {
                "lazy": dict(self.overrides.lazy),
                "lazy_if_present": dict(self.overrides.lazy_if_present),
                "lazy_remove": list(self.overrides.lazy_remove),
                "yacs": dict(self.overrides.yacs),
            },
            "base_config": self.base_config,
            "checkpoint": {
                "file": self.file,
                "sha256": self.sha256,
                "author": self.author,
                "matching_heuristics": self.matching_heuristics,
                "ties": dict(self.ties),
                "set_by_model": sorted(self.set_by_model),
            },
            "synthetic": self.synthetic,
        }

    @classmethod
    def from_json(cls, document: Any, *, where: str) -> RepositoryConfig:
        """Check a parsed `config.json`.

        Raises:
            ConfigError: a field is missing, of a wrong type or forbidden.
        """
        read = Reader(document, where)
        version = read.get("format_version", int)
        if version != FORMAT_VERSION:
            raise ConfigError(
                f"{where} has format version {version}, this detrex-hub reads {FORMAT_VERSION}",
                hint="Upgrade with: pip install -U detrex-hub",
            )
        checkpoint = read.inner("checkpoint")
        overrides = read.inner("overrides")
        file = checkpoint.get("file", str)
        if file not in WEIGHTS.values():
            raise ConfigError(
                f"{where}: checkpoint.file is {file!r}, not one of {[*WEIGHTS.values()]}"
            )
        return cls(
            architecture=read.name("architecture"),
            hyper_parameters=plain(read.get("hyper_parameters", dict), where),
            preprocessing=plain(read.get("preprocessing", dict), where),
            overrides=Overrides(
                lazy=plain(overrides.get("lazy", dict), where),
                lazy_if_present=plain(overrides.get("lazy_if_present", dict), where),
                lazy_remove=overrides.strings("lazy_remove"),
                yacs=plain(overrides.get("yacs", dict), where),
            ),
            base_config=read.optional("base_config", str),
            file=file,
            sha256=checkpoint.sha256("sha256"),
            author=checkpoint.get("author", str),
            matching_heuristics=checkpoint.get("matching_heuristics", bool),
            ties={
                alias: stored
                for alias, stored in checkpoint.get("ties", dict).items()
                if checkpoint.is_key(alias) and checkpoint.is_key(stored)
            },
            set_by_model=checkpoint.strings("set_by_model"),
            synthetic=read.get("synthetic", bool),
        )

    @classmethod
    def load(cls, path: Path, *, where: str | None = None) -> RepositoryConfig:
        """Read a `config.json`.

        Args:
            path: the file.
            where: its name in messages.

        Raises:
            ConfigError: it is absent, not JSON, or its contents are refused.
        """
        return cls.from_json(load_json(path, where=where), where=where or str(path))


class Reader:
    """Typed access to a parsed JSON object, each refusal naming the file and the field."""

    def __init__(self, document: Any, where: str, prefix: str = "") -> None:
        self._where = where
        self._prefix = prefix
        if not isinstance(document, dict):
            raise ConfigError(f"{where}: {prefix or 'the document'} is not a JSON object")
        self._document = document

    def _refuse(self, name: str, why: str) -> ConfigError:
        return ConfigError(f"{self._where}: {self._prefix}{name} {why}")

    def get(self, name: str, kind: type) -> Any:
        if name not in self._document:
            raise self._refuse(name, "is missing")
        value = self._document[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self._refuse(name, f"is not of type {kind.__name__}")
        return value

    def optional(self, name: str, kind: type) -> Any:
        return None if self._document.get(name) is None else self.get(name, kind)

    def inner(self, name: str) -> Reader:
        return Reader(self.get(name, dict), self._where, f"{self._prefix}{name}.")

    def name(self, name: str) -> str:
        value = self.get(name, str)
        if not _NAME.fullmatch(value):
            raise self._refuse(name, f"is not a name: {value[:80]!r}")
        return str(value)

    def sha256(self, name: str) -> str:
        value = self.get(name, str)
        if not _SHA256.fullmatch(value):
            raise self._refuse(name, "is not a sha256 of 64 hexadecimal digits")
        return str(value)

    def strings(self, name: str) -> tuple[str, ...]:
        values = self.get(name, list)
        if not all(isinstance(value, str) for value in values):
            raise self._refuse(name, "is not a list of strings")
        return tuple(values)

    def is_key(self, value: Any) -> bool:
        if not isinstance(value, str) or not value:
            raise self._refuse("ties", "is not a mapping from key to key")
        return True


def plain(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The same mapping, checked to hold numbers, strings, booleans, None and lists of them."""

    def check(value: Any, name: str, depth: int) -> None:
        if isinstance(value, list):
            if depth > 3 or len(value) > 1000:
                raise ConfigError(f"{where}: {name} is nested or long beyond reason")
            for item in value:
                check(item, name, depth + 1)
        elif isinstance(value, dict):
            raise ConfigError(f"{where}: {name} is an object, and only plain values are allowed")
        elif isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{where}: {name} is not a finite number")
        elif isinstance(value, int) and abs(value) > 2**53:
            raise ConfigError(f"{where}: {name} is too large a number")
        elif isinstance(value, str) and len(value) > 4096:
            raise ConfigError(f"{where}: {name} is too long a string")
        elif not isinstance(value, bool | int | float | str | None):
            raise ConfigError(f"{where}: {name} is not a plain value")

    for name, value in values.items():
        check(value, name, 0)
    return dict(values)


def plan_to_json(plan: ConversionPlan, specs: Mapping[str, TensorSpec]) -> dict[str, Any]:
    """Every move and drop, with the source's specs, so that the plan can be made again from it."""

    def piece(one: Piece | Computed | Fresh) -> Any:
        match one:
            case Fresh():
                drawn = "uniform" if one.uniform else "normal"
                return {"fresh": one.count, "mean": one.mean, "std": one.std, "seed": one.seed} | {
                    "distribution": drawn
                }
            case Computed(operation=operation):
                return {"op": operation.name, "of": [*one.of], "args": operation.parameters}
            case Piece(rows=None):
                return one.key
            case _:
                return {"key": one.key, "rows": [list(rows) for rows in one.rows or ()]}

    def pieces(move: Move) -> Any:
        return [piece(one) for one in move.pieces]

    used = {
        key for moves in (plan.moves, plan.twins) for move in moves.values() for key in move.sources
    }
    return {
        "mapper": plan.mapper,
        "moves": {key: pieces(move) for key, move in sorted(plan.moves.items())},
        "dropped": dict(sorted(plan.dropped.items())),
        "ties": dict(sorted(plan.ties.items())),
        "source_tensors": {
            key: [spec.dtype, list(spec.shape)]
            for key, spec in sorted(specs.items())
            if key in used or key in plan.dropped
        },
    }


def specs_from_json(document: Mapping[str, Any], where: str) -> dict[str, TensorSpec]:
    """`source_tensors` back as specs.

    Raises:
        ConfigError: it is malformed.
    """
    found = {}
    for key, value in document.items():
        match value:
            case [str(dtype), [*shape]] if dtype in DTYPE_BITS and all(
                type(size) is int and 0 <= size < 2**40 for size in shape
            ):
                found[key] = TensorSpec(dtype, tuple(shape))
            case _:
                raise ConfigError(
                    f"{where}: source_tensors has a malformed entry for {key[:120]!r}"
                )
    return found


def dump_json(document: Any) -> str:
    """The same text for the same content, on every machine."""
    return (
        json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    )


def load_json(path: Path, *, where: str | None = None) -> Any:
    """Parse a record.

    Raises:
        ConfigError: it is absent, too large or not JSON.
    """
    where = where or str(path)
    try:
        if path.stat().st_size > _MAX_RECORD_BYTES:
            raise ConfigError(f"{where} is larger than {_MAX_RECORD_BYTES >> 20} MiB")
        return parse_json(path.read_bytes(), where=where)
    except FileNotFoundError:
        raise ConfigError(
            f"{where} does not exist", hint="A converted folder has one: detrex-hub convert NAME"
        ) from None
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}") from None


def parse_json(text: str | bytes, *, where: str) -> Any:
    """Parse a record that is read already.

    Raises:
        ConfigError: it is not JSON, or holds a name twice.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not valid JSON: {error}") from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # readers disagree on which of two counts
    found = dict(pairs)
    if len(found) < len(pairs):
        names = iter(found)
        twice = next(name for name, _ in pairs if name != next(names, None))
        raise ValueError(f"{twice[:80]!r} occurs twice")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
