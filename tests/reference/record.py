"""Record a reference table from two torch models with the same outputs.

The moves are found by comparing values, so they do not depend on the mapper that they test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from tests.reference import pack

VARIANTS = Path(__file__).parent / "variants"

State = dict[str, torch.Tensor]


def seed(model: torch.nn.Module, number: int = 0) -> None:
    """Fill all floating-point tensors of a model with random numbers from 0.5 to 1.5.

    After that no two tensors are equal, and variances are positive.
    """
    generator = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)


def describe(model: torch.nn.Module) -> dict[str, Any]:
    """Types, shapes and ties of a state dict. The model may be on the meta device.

    Returns:
        ``state``: key -> [dtype, shape], in the order of the model, dtypes as torch names them;
        ``tied``: the groups of keys that are one tensor.

    Example:
        >>> describe(torch.nn.Linear(2, 3))["state"]
        {'weight': ['float32', [3, 2]], 'bias': ['float32', [3]]}
    """
    state = model.state_dict(keep_vars=True)
    return {
        "state": {
            key: [str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
            for key, tensor in state.items()
        },
        "tied": _tied(state),
    }


def record(
    name: str,
    original: torch.nn.Module,
    converted: torch.nn.Module,
    *,
    without_source: Iterable[str] = (),
    moves: Mapping[str, list[Any]] | None = None,
    about: Mapping[str, Any] | None = None,
    folder: Path = VARIANTS,
) -> Path:
    """Write the table of two models whose outputs were compared.

    Args:
        name: of the table: the architecture's name, then a part that identifies the model.
        original: the original model, filled by `seed`.
        converted: the detrex model with the original's weights.
        without_source: keys of the detrex model that the original does not have.
        moves: parts of the tensors that values cannot show, such as computed ones. CONTRIBUTING.md
            has the format.
        about: further fields, such as ``config``, ``licence``, ``notes`` and ``proof``.
        folder: where the table is written.

    Returns:
        the path of the table.

    Raises:
        ValueError: tensors of the detrex model are not found in the original, or are found more
            than once.
    """
    source, target = original.state_dict(keep_vars=True), converted.state_dict(keep_vars=True)
    given, absent = dict(moves or {}), set(without_source)
    finder = _Finder(source)
    found: dict[str, list[Any]] = {}
    problems: list[str] = []
    for key, tensor in target.items():
        if key in absent:
            continue
        parts = [given[key]] if key in given else finder.find(tensor)
        if len(parts) == 1:
            found[key] = parts[0]
        else:
            problems.append(f"{key} ({'found more than once' if parts else 'not found'})")
    if problems:
        raise ValueError(
            f"give moves or without_source for: {', '.join(problems)}. "
            "Fill the original with seed() before its weights are converted"
        )
    _pair_ties(found, finder.tied, _tied(target))
    used = {key for parts in found.values() for part in parts for key in _keys(part)}
    for group in finder.tied:
        if used.intersection(group):
            used.update(group)
    table = {
        "variant": name,
        "source": describe(original)["state"],
        "tied_sources": finder.tied,
        "target": describe(converted)["state"],
        "moves": found,
        "dropped": [key for key in source if key not in used],
        "tied_targets": _tied(target),
        "target_keys_without_source": [key for key in target if key in absent],
        **(about or {}),
    }
    return pack(name, table, folder)


class _Finder:
    """Finds tensors of a source state dict by their values. Of tied tensors it finds the first."""

    def __init__(self, source: State) -> None:
        self.tied = _tied(source)
        aliases = {key for group in self.tied for key in group[1:]}
        self._source = {
            key: (_form(tensor), _rows(tensor))
            for key, tensor in source.items()
            if key not in aliases
        }
        self._firsts: dict[tuple[Any, bytes], list[str]] = {}
        for key, (form, rows) in self._source.items():
            self._firsts.setdefault((form, rows[0]), []).append(key)

    def find(self, tensor: torch.Tensor) -> list[list[Any]]:
        """All ways to read a tensor as parts of the source. More than one is ambiguous."""
        form, rows = _form(tensor), _rows(tensor)
        whole = [[key] for key, one in self._source.items() if one == (form, rows)]
        if whole or tensor.ndim == 0:
            return whole
        joined = self._joined(form, rows)
        return [joined] if joined else self._chosen(form, rows)

    def _joined(self, form: Any, rows: list[bytes]) -> list[str] | None:
        """The sources that stand one after another in a tensor."""
        keys: list[str] = []
        start = 0
        while start < len(rows):
            fitting = []
            for key in self._firsts.get((form, rows[start]), ()):
                own = self._source[key][1]
                if rows[start : start + len(own)] == own:
                    fitting.append(key)
            if len(fitting) != 1:
                return None
            keys += fitting
            start += len(self._source[fitting[0]][1])
        return keys

    def _chosen(self, form: Any, rows: list[bytes]) -> list[list[Any]]:
        """Rows of one source, in any order."""
        found = []
        for key, (own_form, own) in self._source.items():
            places = {row: i for i, row in enumerate(own)}
            if own_form == form and places.keys() >= set(rows):
                found.append([[key, [places[row] for row in rows]]])
        return found


def _tied(state: State) -> list[list[str]]:
    """Groups of keys whose tensors share their memory, also on the meta device."""
    groups: dict[Any, list[str]] = {}
    for key, tensor in state.items():
        place = (
            tensor.untyped_storage()._cdata,
            tensor.storage_offset(),
            tuple(tensor.shape),
            tensor.stride(),
        )
        groups.setdefault(place, []).append(key)
    return [group for group in groups.values() if len(group) > 1]


def _pair_ties(
    moves: dict[str, list[Any]], sources: list[list[str]], targets: list[list[str]]
) -> None:
    """Match each key of tied targets with the tied source at the same position, if the numbers are
    equal."""
    of_first = {group[0]: group for group in sources}
    for group in targets:
        first = moves.get(group[0])
        tied = of_first.get(first[0]) if first and isinstance(first[0], str) else None
        if tied and len(tied) == len(group):
            moves.update({key: [source] for key, source in zip(group, tied, strict=True)})


def _keys(part: Any) -> list[str]:
    if isinstance(part, dict):
        return list(part["of"])
    return [part if isinstance(part, str) else part[0]]


def _form(tensor: torch.Tensor) -> Any:
    """Type and shape of a row. A scalar differs from a row of one number."""
    return tensor.dtype, tensor.ndim, tuple(tensor.shape[1:])


def _rows(tensor: torch.Tensor) -> list[bytes]:
    """The bytes of each row along dimension 0."""
    flat = tensor.detach().cpu().contiguous()
    rows = flat.reshape(1, -1) if flat.ndim == 0 else flat.reshape(len(flat), -1)
    return [row.view(torch.uint8).numpy().tobytes() for row in rows]
