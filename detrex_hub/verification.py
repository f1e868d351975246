"""Recompute what `conversion.json` claims, from the files and the mapper alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detrex_hub import checkpoints, config, hub
from detrex_hub.architectures import architecture
from detrex_hub.errors import ConfigError, DetrexHubError, VerificationError
from detrex_hub.records import (
    CONFIG,
    CONVERSION,
    Reader,
    RepositoryConfig,
    load_json,
    plan_to_json,
    specs_from_json,
)


@dataclass(frozen=True)
class Check:
    """One claim that was recomputed and found true."""

    name: str
    detail: str


@dataclass(frozen=True)
class Verification:
    """What was verified of a repository."""

    repo: str
    revision: str | None
    checks: tuple[Check, ...]


def verify(repo: str | os.PathLike[str], *, revision: str | None = None) -> Verification:
    """Verify a converted folder or a repository.

    Hashes the weights, reopens them, proves the state dict against its hyper-parameters, plans the
    conversion again from the recorded source tensors and compares every move, drop and tie.

    Raises:
        HubError: the repository or the network fails.
        ConfigError: a record is malformed or forbidden.
        VerificationError: a claim is not true; the first one found is named.
    """
    name = os.fspath(repo)
    fetched = hub.fetch(name, [CONFIG, CONVERSION], revision=revision)
    described = RepositoryConfig.load(fetched.files[CONFIG], where=f"{name}/{CONFIG}")
    config.check(described.overrides, where=f"{name}/{CONFIG}")
    record = load_json(fetched.files[CONVERSION], where=f"{name}/{CONVERSION}")
    again = name if fetched.commit is None else name.rpartition("@")[0] or name
    weights = hub.fetch(again, [described.file], revision=fetched.commit).files[described.file]
    checks = (
        _bytes(name, weights, described, record),
        _state_dict(name, weights, described, record),
        _plan(name, described, record),
        _overrides(name, described),
    )
    return Verification(name, fetched.commit, checks)


def _refuse(name: str, what: str) -> VerificationError:
    return VerificationError(
        f"{name}: {what}", hint="Convert it again from the original: detrex-hub convert NAME"
    )


def _bytes(name: str, path: Path, described: RepositoryConfig, record: Any) -> Check:
    result = Reader(record, f"{name}/{CONVERSION}").inner("result")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    found = digest.hexdigest()
    for where, claimed in (
        (CONFIG, described.sha256),
        (CONVERSION, result.sha256("sha256")),
    ):
        if found != claimed:
            raise _refuse(
                name, f"{described.file} has the sha256 {found}, and {where} says {claimed}"
            )
    if path.stat().st_size != result.get("size", int) or result.get("file", str) != described.file:
        raise _refuse(name, f"{CONVERSION} describes another file than {described.file}")
    return Check("bytes", f"{described.file} has the recorded sha256 {found}")


def _state_dict(name: str, path: Path, described: RepositoryConfig, record: Any) -> Check:
    result = Reader(record, f"{name}/{CONVERSION}").inner("result")
    made = architecture(described.architecture).from_hyper_parameters(described.hyper_parameters)
    with checkpoints.open(path) as checkpoint:
        held = dict(checkpoint.specs)
    missing = sorted({*described.ties.values()} - held.keys())
    if missing:
        raise _refuse(name, f"the tied key {missing[0]!r} is not in {described.file}")
    try:
        made.prove(held | {alias: held[key] for alias, key in described.ties.items()})
    except DetrexHubError as error:
        raise _refuse(name, error.message) from None
    stored = [spec for key, spec in held.items() if key not in described.ties]
    parameters = sum(spec.numel for spec in stored)
    if (len(stored), parameters) != (result.get("tensors", int), result.get("parameters", int)):
        raise _refuse(name, f"{CONVERSION} counts other tensors than {described.file} holds")
    return Check(
        "state dict",
        f"{len(stored)} tensors, {parameters} parameters: exactly a detrex {made.name} with "
        f"{made.describe()}",
    )


def _plan(name: str, described: RepositoryConfig, record: Mapping[str, Any]) -> Check:
    where = f"{name}/{CONVERSION}"
    read = Reader(record, where)
    recorded = read.get("plan", dict)
    plan = read.inner("plan")
    layout = read.inner("source").get("layout", str)
    facts = read.get("facts", dict)
    kind = architecture(described.architecture)
    if layout not in kind.layouts:
        raise ConfigError(f"{where}: {kind.name} has no layout {layout[:80]!r}")
    specs = specs_from_json(plan.get("source_tensors", dict), where)
    try:
        made = kind.read(specs, layout, facts)
        again = plan_to_json(made.plan(specs, layout), specs)
    except DetrexHubError as error:
        raise _refuse(name, f"its source tensors do not convert: {error.message}") from None
    if made.hyper_parameters() != dict(described.hyper_parameters):
        raise _refuse(name, f"{CONFIG} has other hyper-parameters than the source's shapes give")
    for part in ("moves", "dropped", "ties"):
        if recorded.get(part) != again[part]:
            raise _refuse(name, f"the {part} in {CONVERSION} are not those of the mapper")
    return Check(
        "plan",
        f"{len(again['moves'])} moves, {len(again['dropped'])} drops and {len(again['ties'])} ties "
        "are those of the mapper",
    )


def _overrides(name: str, described: RepositoryConfig) -> Check:
    made = architecture(described.architecture).from_hyper_parameters(described.hyper_parameters)
    if made.overrides(described.preprocessing) != described.overrides:
        raise _refuse(name, f"the overrides in {CONFIG} are not those of the hyper-parameters")
    return Check("overrides", f"all {len(described.overrides.lazy)} follow from shapes and facts")
