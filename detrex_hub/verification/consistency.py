"""Prove the records of a repository from its weights, and from each other."""

from __future__ import annotations

from collections import Counter

import msgspec

from detrex_hub import checkpoints
from detrex_hub.architectures import architecture
from detrex_hub.architectures.recognise import Recognition
from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.conversion import author_of
from detrex_hub.errors import ConfigError, DetrexHubError
from detrex_hub.floats import in_type
from detrex_hub.hashing import FileSha256
from detrex_hub.identify import Identified, identify
from detrex_hub.mapping import Computed, ConversionPlan
from detrex_hub.records import (
    CONFIG,
    CONVERSION,
    OF_WRONG_VALUES,
    ConversionRecord,
    recorded_plan,
    to_json,
)
from detrex_hub.verification.claims import Claims, Proven


def computed_by(plan: ConversionPlan) -> str:
    """The operations of a plan, with the number of tensors that they compute."""
    counts = Counter(
        piece.operation.name
        for move in plan.computed.values()
        for piece in move.pieces
        if isinstance(piece, Computed)
    )
    shown = ", ".join(f"{count} by {name}" for name, count in sorted(counts.items()))
    return f"; computed are {shown}" if shown else ""


def check_bytes(claims: Claims) -> Proven:
    described, result = claims.described, claims.record.result
    size = claims.weights.stat().st_size
    if size != result.size or result.file != described.checkpoint.file:
        raise claims.refuse(
            f"{described.checkpoint.file} has {size} bytes, and {CONVERSION} describes"
            f" {result.file[:80]!r} of {result.size}"
        )
    hashing = FileSha256(claims.weights)
    found = hashing.result()
    for where, claimed in (
        (CONFIG, described.checkpoint.sha256),
        (CONVERSION, result.sha256),
    ):
        if found != claimed:
            raise claims.refuse(
                f"{described.checkpoint.file} has the sha256 {found}, but {where} says {claimed}"
            )
    return Proven("bytes", f"{described.checkpoint.file} has the recorded sha256 {found}")


def check_state_dict(claims: Claims) -> Proven:
    described, record = claims.described, claims.record
    made = architecture(described.architecture).from_hyper_parameters(described.hyper_parameters)
    try:
        with checkpoints.open(claims.weights) as checkpoint:
            described.checkpoint.stored_keys(checkpoint, where=CONFIG)
            held = dict(checkpoint.specs)
        made.prove(held | {alias: held[key] for alias, key in described.checkpoint.ties.items()})
    except DetrexHubError as error:
        raise claims.refuse(error.message) from None
    stored = [spec for key, spec in held.items() if key not in described.checkpoint.ties]
    parameters = sum(spec.numel for spec in stored)
    result, proof, nbytes = record.result, record.proof, sum(spec.nbytes for spec in stored)
    for name, claimed, found in (
        ("result.tensors", result.tensors, len(stored)),
        ("result.parameters", result.parameters, parameters),
        ("proof.tensors_compared", proof.tensors_compared, len(stored)),
        ("proof.bytes_compared", proof.bytes_compared, nbytes),
    ):
        if claimed != found:
            raise claims.refuse(
                f"{CONVERSION} says {name} {claimed}, but {described.checkpoint.file} has {found}"
            )
    return Proven(
        "state dict",
        f"{len(stored)} tensors, {parameters} parameters: exactly a detrex {made.name} with "
        f"{made.describe()}",
    )


def plan_again(claims: Claims) -> Identified:
    """Plan again from the recorded source tensors, and compare with the recorded plan."""
    where, record, described = f"{claims.name}/{CONVERSION}", claims.record, claims.described
    kind = architecture(described.architecture)
    layout = record.source.layout
    if layout not in kind.layouts:
        raise ConfigError(f"{where}: {kind.name} has no layout {layout[:80]!r}")
    if record.architecture != kind.name:
        raise claims.refuse(f"{CONFIG} and {CONVERSION} name different architectures")
    specs = record.plan.specs()
    try:
        found = Recognition(kind, layout, (), prefix=record.source.prefix)
        rounded = specs if record.dtype is None else in_type(specs, record.dtype)
        again = identify(rounded, found, given=record.facts)
        made, plan = again.architecture, again.plan
    except DetrexHubError as error:
        raise claims.refuse(f"its source tensors do not convert: {error.message}") from None
    except OF_WRONG_VALUES as error:
        raise ConfigError(f"{where}: its facts are invalid: {error}") from None
    if made.hyper_parameters() != dict(described.hyper_parameters):
        raise claims.refuse(f"{CONFIG} has other hyper-parameters than the source's shapes give")
    expected = recorded_plan(plan, specs)
    for part in ("mapper", "moves", "dropped", "ties", "source_tensors"):
        if getattr(record.plan, part) != getattr(expected, part):
            raise claims.refuse(f"the {part} in {CONVERSION} do not match the mapper")
    return again


def check_description(claims: Claims, entry: CatalogueEntry | None, again: Identified) -> Proven:
    """Check that everything in `config.json` follows from the shapes, the facts and the
    catalogue."""
    described, record = claims.described, claims.record
    layout, made, plan = record.source.layout, again.architecture, again.plan
    vouched = _is_vouched_for(entry, record)
    unsaid = set(again.assumed)
    # the catalogue's data on another file do not hold for this one
    may_be = unsaid | (entry.facts.keys() if entry is not None else set())
    if not unsaid <= record.assumed.keys() <= may_be and (record.assumed or not vouched):
        raise claims.refuse(f"{CONVERSION} marks the wrong facts as assumed")
    if any(again.settled.get(name) != value for name, value in record.assumed.items()):
        raise claims.refuse(f"{CONVERSION} records other assumed values than were used")
    try:
        preprocessing = made.preprocessing(again.settled)
        overrides = made.assuming(made.overrides(preprocessing), record.assumed)
    except OF_WRONG_VALUES as error:
        raise ConfigError(f"{claims.name}/{CONVERSION}: its facts are invalid: {error}") from None
    expected = msgspec.structs.replace(
        described,
        preprocessing=preprocessing,
        overrides=overrides,
        base_config=entry.base_config if entry else described.base_config,
        checkpoint=msgspec.structs.replace(
            described.checkpoint,
            author=author_of(layout),
            matching_heuristics=made.backbone,
            ties=plan.ties,
            set_by_model=tuple(sorted(made.set_by_model() - plan.specs.keys())),
        ),
        synthetic=record.synthetic,
    )
    says, should = to_json(described), to_json(expected)
    for part in should:
        if says[part] != should[part]:
            raise claims.refuse(f"{part} in {CONFIG} does not follow from {CONVERSION}")
    if entry is not None:
        facts = record.facts
        for name, value in entry.facts.items():
            if facts.get(name) != value:
                raise claims.refuse(
                    f"{CONVERSION} says {name} {facts.get(name)!r}, but the catalogue says "
                    f"{value!r}"
                )
    return Proven(
        "description",
        f"{CONFIG} follows from shapes and facts, all {len(overrides.lazy)} overrides",
    )


def _is_vouched_for(entry: CatalogueEntry | None, record: ConversionRecord) -> bool:
    """Whether a catalogue describes the original, even one that is not available here."""
    source = record.source
    if entry is not None:
        return entry.vouches(source.url, source.sha256)
    # the address is untrusted and may be invalid
    scheme, found, _ = (source.url or "").partition("://")
    return record.synthetic or (bool(found) and scheme != "file")
