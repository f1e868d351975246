"""The result of a check: what would be loaded, and what the config lacks."""

from __future__ import annotations

import json
from shlex import quote
from typing import Any

from msgspec import Struct, field
from msgspec.structs import asdict

from detrex_hub.configs.matching import Match
from detrex_hub.configs.settings import Setting
from detrex_hub.errors import ConfigError

HEURISTICS = "?matching_heuristics=True"


class Check(Struct, frozen=True, kw_only=True):
    """The result of loading weights into a model, and the differences between config and weights.

    ``share`` is the part of the module that the weights are for which is loaded, 0 to 1;
    ``prefix`` is the prefix of the weights' keys in the file;
    ``absent`` are keys of the model that no checkpoint of this kind holds, and do not count;
    ``settings`` are the values that the weights need in the config; ``conflict`` says why the
    config cannot take them, and ``conflict_hint`` what to do about it;
    ``heuristics_share`` is what ``share`` would be if names were matched by suffix.
    """

    checkpoint: str
    what: str
    prefix: str = ""
    heuristics: bool
    match: Match
    share: float
    min_matched: float
    absent: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()
    conflict: str | None = None
    conflict_hint: str | None = None
    heuristics_share: float | None = None
    entry: str | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def differences(self) -> tuple[Setting, ...]:
        """The settings that the weights need and the config lacks. Assumed facts of the weights do
        not count."""
        return tuple(one for one in self.settings if one.is_change)

    @property
    def passed(self) -> bool:
        """Whether enough is loaded, from where it belongs, into a config that fits."""
        return self.share >= self.min_matched and not self.problems

    @property
    def problems(self) -> tuple[str, ...]:
        """All problems except a small share, one line each."""
        found = []
        if self.match.doubtful:
            first = self.match.doubtful[0]
            found.append(
                f"{self.match.loaded[first]!r} of the file is loaded into {first}, outside "
                f"{self.match.home}*"
            )
        if self.conflict is not None:
            found.append(self.conflict)
        found += [
            f"{one.path} is {one.before!r}, but the weights need {one.wanted!r}"
            for one in self.differences
        ]
        return tuple(found)

    @property
    def counted(self) -> tuple[int, int]:
        """Tensors loaded, and tensors that could be, in the module that the weights are for."""
        home, absent = self.match.home, set(self.absent)
        loaded = [key for key in self.match.loaded if key.startswith(home)]
        lacking = [
            key
            for key in (*self.match.missing, *self.match.wrong_shape)
            if key.startswith(home) and key not in absent
        ]
        return len(loaded), len(loaded) + len(lacking)

    @property
    def suffixes_help(self) -> bool:
        """Whether enough would be loaded only if names were matched by suffix. If the config lacks
        values that the weights need, such as a depth, more is enough."""
        loose = self.heuristics_share
        if loose is None or loose <= self.share:
            return False
        return loose >= self.min_matched or bool(self.differences)

    @property
    def remedy(self) -> str | None:
        """The line of the config that fixes the problem, or None."""
        if self.passed or self.conflict is not None:
            return None
        if self.entry is not None and self.share < self.min_matched:
            loader = not self.settings or any(
                one.path.startswith("dataloader.") and one.has_place for one in self.settings
            )
            call = from_hub_call(f"detrex/{self.entry}", dataloader=loader)
            return f"train.init_checkpoint = {call}"
        if self.suffixes_help and not self.differences:
            return f'train.init_checkpoint = "{self.checkpoint}{HEURISTICS}"'
        return None

    def summary(self) -> str:
        """One line with the loaded share and the other problems."""
        loaded, total = self.counted
        where = f"{self.match.home}*" if self.match.home else "the model"
        said = f"{loaded} of {total} tensors of {where} are loaded ({self.share:.1%})"
        return "; ".join((said, *self.problems))

    def to_json(self) -> dict[str, Any]:
        loaded, total = self.counted
        return {
            "checkpoint": self.checkpoint,
            "what": self.what or None,
            "prefix": self.prefix,
            "matching": "suffix" if self.heuristics else "exact",
            "passed": self.passed,
            "share": self.share,
            "min_matched": self.min_matched,
            "home": self.match.home,
            "loaded": loaded,
            "of": total,
            "modules": [asdict(one) for one in self.match.modules()],
            "missing": list(self.match.missing),
            "missing_silently": sorted(self.match.silent),
            "missing_by_nature": list(self.absent),
            "unexpected": list(self.match.unexpected),
            "wrong_shape": {
                key: {"file": list(file), "model": list(model)}
                for key, (file, model) in self.match.wrong_shape.items()
            },
            "doubtful": {key: self.match.loaded[key] for key in self.match.doubtful},
            "kept_apart_by_shape": dict(self.match.apart),
            "settings": [
                {
                    "path": one.path,
                    "config": one.before,
                    "weights": one.wanted,
                    "fits": not one.differs,
                    "has_place": one.has_place,
                    "assumed": one.assumed,
                }
                for one in self.settings
            ],
            "problems": list(self.problems),
            "remedy": self.remedy,
            "notes": list(self.notes),
        }


def from_hub_call(repo: str, *, dataloader: bool) -> str:
    """The call of `from_hub` for a config.

    Args:
        repo: the name of the weights.
        dataloader: whether the config has a node ``dataloader``.
    """
    nodes = ", dataloader=dataloader" if dataloader else ""
    return f"from_hub({json.dumps(repo, ensure_ascii=False)}, model=model{nodes})"


def as_error(
    found: Check, *, where: str | None = None, fix: str | None = "detrex-hub check CONFIG --fix"
) -> ConfigError:
    """A check that did not pass, as an error.

    Args:
        where: the config, for the message.
        fix: the command that writes the values which the weights need; None if there is none.
    """
    otherwise = "Start from a config whose model these weights belong to"
    if found.conflict is not None:
        hint = found.conflict_hint or otherwise
    elif found.remedy:
        hint = f"Write: {found.remedy}"
    elif found.differences:
        values = ", ".join(f"{one.path} = {one.wanted!r}" for one in found.differences)
        hint = f"Set {values}" if fix is None else f"Try: {fix}"
    elif found.what and found.share < found.min_matched:
        below = f" --prefix {quote(found.prefix)}" if found.prefix else ""
        hint = f"Convert it: detrex-hub convert {quote(found.checkpoint.partition('?')[0])}{below}"
    else:
        hint = otherwise
    begin = f"{where} with " if where else ""
    return ConfigError(f"{begin}{found.checkpoint}: {found.summary()}", hint=hint)
