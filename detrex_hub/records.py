"""The two records of a converted folder: `config.json`, which a load reads, and `conversion.json`,
which records the origin of the weights and the proof.

Both are read from untrusted repositories. The types below are their whole schema, and
`docs/formats.md` describes each field. A field that a type does not have is ignored, so that a
later version can add one.
"""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

from detrex_hub import schema
from detrex_hub.architectures import architecture
from detrex_hub.architectures.base import Overrides
from detrex_hub.checkpoints import Checkpoint
from detrex_hub.errors import CheckpointError, ConfigError, UsageError
from detrex_hub.mapping import Computed, ConversionPlan, Fresh, Move, Piece
from detrex_hub.own_files import read_small
from detrex_hub.schema import PlainValues, Sha256Digits
from detrex_hub.specs import DTYPE_BITS, TensorSpec
from detrex_hub.strict_json import parse_json

CONFIG = "config.json"
CONVERSION = "conversion.json"
CARD = "README.md"
FILTERS = "filters.png"
ACCURACY = "accuracy.png"
PICTURES = (FILTERS, ACCURACY)
SIGNATURE = "model.sig"
FORMAT_VERSION = 1

WeightsFile: TypeAlias = Literal["model.safetensors", "model.pth", "model.pkl"]
# file name of the weights, by format
WEIGHTS: Mapping[str, WeightsFile] = {
    "safetensors": "model.safetensors",
    "pth": "model.pth",
    "pkl": "model.pkl",
}

# the largest size in bytes of a file that is read or downloaded
MAX_BYTES: Mapping[str, int] = {
    CONFIG: 2**20,
    CARD: 2**20,
    CONVERSION: 8 * 2**20,
    FILTERS: 2**20,
    ACCURACY: 2**20,
    SIGNATURE: 2**20,
}

T = TypeVar("T")

Identifier: TypeAlias = Annotated[
    str, schema.matching(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,95}", "letters, digits, '_', '.' and '-'")
]
ShortText: TypeAlias = Annotated[str, Meta(max_length=4096)]
Key: TypeAlias = Annotated[str, Meta(min_length=1, max_length=4096)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]
Version: TypeAlias = Annotated[int, Meta(ge=1, lt=10_000)]
Size: TypeAlias = Annotated[int, Meta(ge=0, lt=2**40)]
DType: TypeAlias = Annotated[str, schema.matching("|".join(DTYPE_BITS), "an element type")]
Keys: TypeAlias = Annotated[tuple[Key, ...], Meta(max_length=10_000)]
Ties: TypeAlias = Annotated[dict[Key, Key], Meta(max_length=10_000)]
_MANY = Meta(max_length=20_000)

# the exceptions of Python for wrong values in an untrusted record
OF_WRONG_VALUES = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)


# names in config.json files of other projects that detrex-hub never uses
_OTHERS = frozenset({"model_type", "architectures", "pretrained_cfg"})


class StoredCheckpoint(Struct, frozen=True, kw_only=True):
    """The file of the weights, and the options of its load.

    ``ties`` maps an alias to the key that its tensor is stored by. ``set_by_model`` are keys of the
    model that the file does not hold, because the model sets them.
    """

    file: WeightsFile
    sha256: Sha256Digits
    author: ShortText
    matching_heuristics: bool
    ties: Ties
    set_by_model: Keys

    def __post_init__(self) -> None:
        if not self.ties.keys().isdisjoint(self.ties.values()):
            raise ValueError("has a tie to a key that is itself an alias")

    def stored_keys(self, checkpoint: Checkpoint, *, where: str) -> tuple[str, ...]:
        """The keys whose tensors the file stores, without the aliases of a torch archive.

        Args:
            checkpoint: the file, opened.
            where: its name in messages.

        Raises:
            CheckpointError: a tie refers to no tensor, or its alias is stored as well.
        """
        for alias, stored in self.ties.items():
            if stored not in checkpoint.specs or stored in self.ties:
                raise CheckpointError(
                    f"{where}: the tied key {stored[:200]!r} is not in {self.file}"
                )
            if alias in checkpoint.specs and (
                checkpoint.identity(alias) != checkpoint.identity(stored)
            ):
                raise CheckpointError(
                    f"{where}: {alias[:200]!r} should be tied to {stored[:200]!r}, and is a tensor"
                    " of its own"
                )
        return tuple(key for key in checkpoint.specs if key not in self.ties)


class RepositoryConfig(Struct, frozen=True, kw_only=True):
    """The content of `config.json`: the data for loading the weights and setting a training config.

    ``preprocessing`` has ``image_format`` (RGB or BGR), ``pixel_mean`` and ``pixel_std`` (0..255,
    in the order of the channels).
    """

    format_version: Version = FORMAT_VERSION
    library_name: Literal["detrex"] = "detrex"
    architecture: Identifier
    hyper_parameters: PlainValues
    preprocessing: PlainValues
    overrides: Overrides
    base_config: ShortText | None = None
    checkpoint: StoredCheckpoint
    synthetic: bool = False

    @classmethod
    def from_json(cls, document: Any, *, where: str) -> RepositoryConfig:
        """Check a parsed `config.json`.

        Raises:
            ConfigError: a field is missing, of a wrong type or forbidden.
        """
        if (
            isinstance(document, dict)
            and _OTHERS & document.keys()
            and "format_version" not in document
        ):
            repository = where.removesuffix(f"/{CONFIG}")
            raise ConfigError(
                f"{repository} is a repository of transformers or timm",
                hint=f"Convert it: detrex-hub convert {shlex.quote(repository)}",
            )
        found = _checked(document, cls, where)
        try:
            architecture(found.architecture)
        except UsageError as error:
            raise ConfigError(
                f"{where}: {error.message}", hint="Upgrade with: pip install -U detrex-hub"
            ) from None
        return found

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


class Tool(Struct, frozen=True, kw_only=True):
    """The tool that made a conversion."""

    name: ShortText
    version: ShortText


class RecordedFile(Struct, frozen=True, kw_only=True):
    """A further file of an original: a shard, or a description of the weights."""

    file: ShortText
    size: Count
    sha256: Sha256Digits | None = None


class RecordedSource(Struct, frozen=True, kw_only=True):
    """The original's file. ``sha256`` is None if it was not read whole, and ``url`` for the
    publisher's own file. ``files`` are the further files of an original that is a whole folder."""

    url: ShortText | None = None
    file: ShortText
    size: Count | None = None
    sha256: Sha256Digits | None = None
    pinned_by: ShortText | None = None
    files: Annotated[tuple[RecordedFile, ...], Meta(max_length=10_000)] = ()
    format: ShortText | None = None
    container: ShortText | None = None
    wrapper: ShortText | None = None
    prefix: ShortText = ""
    layout: ShortText


class TakenRows(Struct, frozen=True, kw_only=True):
    """Rows of a source tensor, as half-open ranges."""

    key: Key
    rows: tuple[tuple[Count, Count], ...]


class FreshRows(Struct, frozen=True, kw_only=True):
    """Rows without a source tensor, drawn from a seeded distribution."""

    fresh: Count
    mean: float
    std: float
    seed: Count
    distribution: Literal["normal", "uniform"]


class ComputedTensor(Struct, frozen=True, kw_only=True):
    """A tensor that an operation computes from whole source tensors."""

    op: ShortText
    of: tuple[Key, ...]
    args: PlainValues


class RecordedPlan(Struct, frozen=True, kw_only=True):
    """The recorded plan: the fate of every source tensor."""

    mapper: ShortText
    mapper_sha256: ShortText = ""
    moves: Annotated[dict[Key, tuple[Key | dict[Key, Any], ...]], _MANY]
    dropped: Annotated[dict[Key, ShortText], _MANY]
    ties: Ties
    source_tensors: Annotated[dict[Key, tuple[DType, tuple[Size, ...]]], _MANY]

    def specs(self) -> dict[str, TensorSpec]:
        """``source_tensors`` as specs."""
        return {key: TensorSpec(*spec) for key, spec in self.source_tensors.items()}

    def pieces(self, target: str) -> list[RecordedPiece]:
        """The pieces of a target tensor; a string is the key of a whole source tensor.

        Raises:
            ConfigError: a piece is malformed.
        """
        where = f"{CONVERSION}: plan.moves, {target[:120]!r}"
        return [
            one if isinstance(one, str) else schema.validated(one, _kind_of(one), where=where)
            for one in self.moves[target]
        ]


RecordedPiece: TypeAlias = str | TakenRows | ComputedTensor | FreshRows


def _kind_of(piece: Mapping[str, Any]) -> type[TakenRows | ComputedTensor | FreshRows]:
    return ComputedTensor if "op" in piece else FreshRows if "fresh" in piece else TakenRows


class RecordedResult(Struct, frozen=True, kw_only=True):
    """The file that was written; ``size`` in bytes, tied tensors counted once."""

    file: ShortText
    sha256: Sha256Digits
    size: Count
    tensors: Count
    parameters: Count


class Proof(Struct, frozen=True, kw_only=True):
    """The comparison after the result was written and opened again."""

    tensors_compared: Count
    bytes_compared: Count
    tensors_that_differ: Count
    missing: Count
    unexpected: Count
    mismatched: Count


class ConversionRecord(Struct, frozen=True, kw_only=True):
    """The content of `conversion.json`.

    ``facts`` are stated facts that no shape shows. ``assumed`` holds the defaults of unstated
    facts. ``dtype`` is the element type to which floating point numbers were rounded; None if they
    kept theirs.
    """

    format_version: Version = FORMAT_VERSION
    name: ShortText
    tool: Tool
    source: RecordedSource
    architecture: Identifier
    recognised_by: Annotated[tuple[ShortText, ...], Meta(max_length=1000)]
    facts: PlainValues
    assumed: PlainValues = msgspec.field(default_factory=dict)
    plan: RecordedPlan
    result: RecordedResult
    proof: Proof
    notes: Annotated[tuple[ShortText, ...], Meta(max_length=1000)]
    synthetic: bool
    dtype: DType | None = None

    @classmethod
    def from_json(cls, document: Any, *, where: str) -> ConversionRecord:
        """Check a parsed `conversion.json`.

        Raises:
            ConfigError: a field is missing, of a wrong type or forbidden.
        """
        return _checked(document, cls, where)

    @classmethod
    def load(cls, path: Path, *, where: str | None = None) -> ConversionRecord:
        """Read a `conversion.json`. Arguments and errors are those of `RepositoryConfig.load`."""
        return cls.from_json(load_json(path, where=where), where=where or str(path))


class _Versioned(Struct):
    format_version: Version


def _checked(document: Any, kind: type[T], where: str) -> T:
    version = schema.validated(document, _Versioned, where=where).format_version
    if version != FORMAT_VERSION:
        raise ConfigError(
            f"{where} has format version {version}, this detrex-hub reads {FORMAT_VERSION}",
            hint="Upgrade with: pip install -U detrex-hub",
        )
    return schema.validated(document, kind, where=where)


def plan_to_json(plan: ConversionPlan, specs: Mapping[str, TensorSpec]) -> dict[str, Any]:
    """Every move and drop with the source's specs, from which the plan can be made again."""

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


def recorded_plan(
    plan: ConversionPlan, specs: Mapping[str, TensorSpec], *, mapper_sha256: str = ""
) -> RecordedPlan:
    """A plan in the form of `conversion.json`."""
    document = plan_to_json(plan, specs) | {"mapper_sha256": mapper_sha256}
    return schema.validated(document, RecordedPlan, where="the plan")


def to_json(record: RepositoryConfig | ConversionRecord) -> dict[str, Any]:
    """A record as a JSON document."""
    found: dict[str, Any] = msgspec.to_builtins(record)
    return found


def load_json(path: Path, *, where: str | None = None) -> Any:
    """Parse a record.

    Raises:
        ConfigError: it is missing, not a regular file, too large or not JSON.
    """
    where = where or str(path)
    return parse_json(read_bytes(path, where=where), where=where)


def read_bytes(path: Path, *, where: str | None = None) -> bytes:
    """Read a record or a card whole, within its size limit.

    Args:
        path: the file; its name decides the limit.
        where: its name in messages.

    Raises:
        ConfigError: it is missing, not a regular file, or too large.
    """
    where, limit = where or str(path), MAX_BYTES[path.name]
    try:
        return read_small(path, limit, links=True)
    except FileNotFoundError:
        raise ConfigError(f"{where} does not exist", hint=convert_again(path.parent)) from None
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise too_large(where, limit) from None
        raise ConfigError(f"{where} cannot be read: {error.strerror}") from None


def convert_again(folder: str | os.PathLike[str], record: ConversionRecord | None = None) -> str:
    """The hint to make a converted folder again, with a command that works as it is.

    Args:
        folder: its path, or the id of its repository.
        record: its `conversion.json`, if it can be read. Without it the folder's own name is
            looked up in the catalogue.
    """
    from detrex_hub.catalogue import look_up
    from detrex_hub.catalogue.entry import hub_file

    if record is None:
        entry = look_up(Path(folder).resolve().name)
        if entry is None or not entry.sources:
            return "Convert its original again. See the known names: detrex-hub list"
        return f"Convert it again: detrex-hub convert {shlex.quote(entry.name)}"
    source, entry = record.source, look_up(record.name)
    repository = hub_file(source.url or "") if source.files else None
    if repository is not None and repository[1] is not None:
        what = f"{shlex.quote(repository[0])} --revision {shlex.quote(repository[1])}"
    elif entry is not None and entry.vouches(source.url, source.sha256):
        what = shlex.quote(entry.name)
    else:
        what = shlex.quote(f"./{Path(source.file).name}")
    return f"Convert the original again: detrex-hub convert {what}"


def too_large(where: str, limit: int) -> ConfigError:
    """The refusal of a file of more than ``limit`` bytes."""
    return ConfigError(
        f"{where} is larger than {limit >> 20} MiB, the most that is read of such a file",
        hint="Do not trust this repository",
    )
