"""Prove what a repository claims: its records from the files alone, its weights from the original.

You need not trust a publisher. If the original can be downloaded, the conversion is repeated here,
and the bytes of both results are compared.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from detrex_hub import __version__, card, catalogue, checkpoints, numerics
from detrex_hub.architectures import architecture
from detrex_hub.architectures.recognise import Recognition
from detrex_hub.card.reading import read_metadata
from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.catalogue.entry import hub_file
from detrex_hub.catalogue.licenses import HUB_LICENSES
from detrex_hub.configs import settings
from detrex_hub.conversion import Conversion, author_of, execute, filters_of, prepare
from detrex_hub.errors import (
    ConfigError,
    DetrexHubError,
    HubError,
    SourceError,
    UsageError,
    VerificationError,
)
from detrex_hub.floats import DTYPES, in_type
from detrex_hub.hashing import FileSha256
from detrex_hub.identify import Identified, identify
from detrex_hub.loading import tensors_of
from detrex_hub.mapping import Computed, ConversionPlan
from detrex_hub.originals import sources
from detrex_hub.originals.opening import Provenance
from detrex_hub.originals.options import ConversionOptions
from detrex_hub.progress import Progress
from detrex_hub.records import (
    CARD,
    CONFIG,
    CONVERSION,
    FILTERS,
    SIGNATURE,
    WEIGHTS,
    ConversionRecord,
    RecordedSource,
    RepositoryConfig,
    convert_again,
    load_json,
    read_bytes,
    recorded_plan,
    to_json,
)
from detrex_hub.repositories import names, signers, signing
from detrex_hub.resolving import resolve
from detrex_hub.staging import scratch_folder

if TYPE_CHECKING:
    import torch

# what Python raises where a stranger's record holds a string for a number, or the like
_OF_WRONG_VALUES = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)


@dataclass(frozen=True)
class Proven:
    """One claim that was recomputed and found true. ``but`` is what a summary must say all the
    same."""

    name: str
    detail: str
    but: str | None = None


@dataclass(frozen=True)
class Verification:
    """The result of verifying a repository.

    ``repeated`` says whether the conversion was repeated from the original; ``not_repeated`` why
    it was not.
    """

    repo: str
    revision: str | None
    checks: tuple[Proven, ...]
    repeated: bool
    not_repeated: str | None = None

    @property
    def summary(self) -> str:
        """One line, with what a reader must not miss."""
        last = "is what it claims to be" if self.repeated else "agrees with its own records"
        return "; ".join((f"{self.repo} {last}", *(one.but for one in self.checks if one.but)))

    def to_json(self) -> dict[str, Any]:
        return {
            "repo": self.repo,
            "revision": self.revision,
            "summary": self.summary,
            "verified": [{"name": one.name, "detail": one.detail} for one in self.checks],
            "repeated": self.repeated,
            "not_repeated": self.not_repeated,
        }


@dataclass(frozen=True)
class _Claims:
    """A repository's files on this machine, records parsed; ``document`` is the one that ``record``
    was read from, with whatever else it says."""

    name: str
    revision: str | None
    weights: Path
    described: RepositoryConfig
    record: ConversionRecord
    document: Mapping[str, Any]
    card: Path | None
    pictures: Mapping[str, Path]
    signed: Mapping[str, Path]
    signature: Path | None

    def refuse(self, what: str) -> VerificationError:
        return VerificationError(f"{self.name}: {what}", hint=convert_again(self.name, self.record))


def verify(
    repo: str | os.PathLike[str],
    *,
    revision: str | None = None,
    repeat: bool = True,
    source: str | None = None,
    with_numerics: bool = False,
    public_key: str | os.PathLike[str] | None = None,
    identity: str | None = None,
    identity_provider: str | None = None,
    trust_config: str | os.PathLike[str] | None = None,
    extra_catalogues: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Verification:
    """Verify a converted folder or a repository.

    Hashes the weights, reopens them, proves the state dict against its hyper-parameters, plans the
    conversion again from the recorded source tensors, and compares every move, drop and tie and all
    that `config.json` says. Then the original is pulled, the conversion repeated, and every file
    compared. False if only the publisher has the original.

    Args:
        repo: ``owner/name``, ``owner/name@revision`` or a folder.
        revision: branch, tag or commit.
        repeat: repeat the conversion if the original can be downloaded.
        source: a file or URL of the original, where no catalogue names it.
        with_numerics: run the original and the converted weights on the same image as well, which
            needs the library that the original's names belong to.
        public_key: check the signature of the files with this key.
        identity: check that this identity signed the files: a mail address, or the address of a
            workflow. Needs ``identity_provider``.
        identity_provider: the address of the OpenID Connect provider of the identity.
        trust_config: check the identity without internet, against this trusted root or client trust
            configuration of sigstore.
        extra_catalogues: catalogue files of the user.
        progress: reports downloads and copying.

    Raises:
        HubError: the repository or the network fails.
        ConfigError: a record is malformed or forbidden.
        SourceError: the original should be had and cannot.
        UsageError: numerics are asked for but not possible, or the options about the signature do
            not fit each other; it says what is missing.
        VerificationError: a claim is not true; the first one found is named.

    Example:
        >>> from detrex_hub import verify
        >>> verify("detrex/r101_v2").repeated
        True
    """
    signer = signers.expected_signer(public_key, identity, identity_provider, trust_config)
    claims = _claims(os.fspath(repo), revision, extra_catalogues, progress)
    entry = _entry(claims, extra_catalogues)
    again = _plan_again(claims)
    plan = again.plan
    checks = [
        _bytes(claims),
        _state_dict(claims),
        Proven(
            "plan",
            f"{len(plan.moves)} moves, {len(plan.dropped)} drops and {len(plan.ties)} ties match "
            f"the mapper{_computed_by(plan)}",
        ),
        _description(claims, entry, again),
    ]
    if claims.card is not None:
        checks.append(_card(claims, entry))
    if claims.pictures:
        checks.append(_pictures(claims, entry))
    if claims.signature is not None or signer is not None:
        checks.append(_signature(claims, signer))
    reason = _why_not(claims, entry, source) if repeat else "it was not asked for"
    if with_numerics:
        if reason is not None:
            raise UsageError(f"--numerics needs the original, which is not read: {reason}")
        numerics.check(again.architecture, claims.record.source.layout)
    if reason is None:
        checks += _repeat(claims, entry, source, extra_catalogues, progress, with_numerics)
    return Verification(
        claims.name, claims.revision, tuple(checks), repeated=reason is None, not_repeated=reason
    )


def _computed_by(plan: ConversionPlan) -> str:
    """Which operations a plan has, with the number of tensors that they compute."""
    counts = Counter(
        piece.operation.name
        for move in plan.computed.values()
        for piece in move.pieces
        if isinstance(piece, Computed)
    )
    shown = ", ".join(f"{count} by {name}" for name, count in sorted(counts.items()))
    return f"; computed are {shown}" if shown else ""


def _claims(
    name: str,
    revision: str | None,
    extra_catalogues: Sequence[Path],
    progress: Progress | None,
) -> _Claims:
    repository = resolve(
        name, revision=revision, extra_catalogues=extra_catalogues, progress=progress
    )
    settings.accepted(repository.config, where=f"{repository.name}/{CONFIG}")
    return _Claims(
        repository.name,
        repository.commit,
        repository.weights(progress),
        repository.config,
        repository.record,
        repository.document,
        repository.card,
        repository.pictures,
        {
            **{name: repository.file(name) for name in (CONFIG, CONVERSION)},
            **({CARD: repository.card} if repository.card is not None else {}),
            repository.config.checkpoint.file: repository.weights(),
            **repository.pictures,
        },
        repository.signature,
    )


def _entry(claims: _Claims, extra: Sequence[Path]) -> CatalogueEntry | None:
    """The catalogue's entry of the recorded name, if it describes these weights."""
    entry = catalogue.look_up(claims.record.name, extra)
    described = claims.described
    if entry is None or not entry.is_of(
        described.architecture, described.hyper_parameters, claims.record.facts
    ):
        return None
    return entry


def _bytes(claims: _Claims) -> Proven:
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


def _state_dict(claims: _Claims) -> Proven:
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


def _plan_again(claims: _Claims) -> Identified:
    """The plan from the recorded source tensors, found to be the recorded one."""
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
    except _OF_WRONG_VALUES as error:
        raise ConfigError(f"{where}: its facts are invalid: {error}") from None
    if made.hyper_parameters() != dict(described.hyper_parameters):
        raise claims.refuse(f"{CONFIG} has other hyper-parameters than the source's shapes give")
    expected = recorded_plan(plan, specs)
    for part in ("mapper", "moves", "dropped", "ties", "source_tensors"):
        if getattr(record.plan, part) != getattr(expected, part):
            raise claims.refuse(f"the {part} in {CONVERSION} do not match the mapper")
    return again


def _description(claims: _Claims, entry: CatalogueEntry | None, again: Identified) -> Proven:
    """Everything in `config.json` follows from the shapes, the facts and the catalogue."""
    described, record = claims.described, claims.record
    layout, made, plan = record.source.layout, again.architecture, again.plan
    vouched = _is_vouched_for(entry, record)
    unsaid = set(again.assumed)
    # what the catalogue says of another file says nothing of this one
    may_be = unsaid | (entry.facts.keys() if entry is not None else set())
    if not unsaid <= record.assumed.keys() <= may_be and (record.assumed or not vouched):
        raise claims.refuse(f"{CONVERSION} marks the wrong facts as assumed")
    if any(again.settled.get(name) != value for name, value in record.assumed.items()):
        raise claims.refuse(f"{CONVERSION} records other assumed values than were used")
    try:
        preprocessing = made.preprocessing(again.settled)
        overrides = made.assuming(made.overrides(preprocessing), record.assumed)
    except _OF_WRONG_VALUES as error:
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
    """Whether a catalogue describes the original, be it one that is not known here."""
    source = record.source
    if entry is not None:
        return entry.vouches(source.url, source.sha256)
    # the address is a stranger's, and need not be one
    scheme, found, _ = (source.url or "").partition("://")
    return record.synthetic or (bool(found) and scheme != "file")


def _card(claims: _Claims, entry: CatalogueEntry | None) -> Proven:
    """The card's metadata names licence and origin as the catalogue does. Its text is its
    publisher's to edit, and an edited one is said to be so."""
    assert claims.card is not None
    where = f"{claims.name}/{CARD}"
    try:
        text = read_bytes(claims.card, where=where).decode()
    except UnicodeDecodeError as error:
        raise claims.refuse(f"{CARD} cannot be read as text: {error}") from None
    made = card.render(claims.described, claims.record, entry, pictures=claims.pictures)
    says, should = (read_metadata(one, where=where) for one in (text, made))
    for name in _PROMISES if entry is not None else ():
        if name == "base_model" and name not in says:
            continue  # a card of an earlier version names it for fewer weights
        # if the licence is unknown, the publisher states it
        if says.get(name) != should.get(name) and (name != "license" or "license" in should):
            raise claims.refuse(
                f"{CARD} says {name} {str(says.get(name))[:80]!r}, but these weights have "
                f"{should.get(name)!r}"
            )
    licence = f"{CARD} says the licence {str(says.get('license'))[:80]}"
    if text in _unedited(claims, made, text, says.get("license")):
        return Proven("card", f"{licence}, and matches the records")
    if entry is not None:
        return Proven("card", f"{licence}; its text was edited by hand", but=_EDITED)
    return Proven(
        "card",
        f"{licence}; its text was edited by hand, or made with another catalogue",
        but=f"{_EDITED} without a catalogue",
    )


def _signature(claims: _Claims, signer: signers.Signer | None) -> Proven:
    """Check the signature over all files of the repository, or say that it was not checked."""
    if claims.signature is None:
        raise VerificationError(
            f"{claims.name} has no {SIGNATURE}: it is not signed",
            hint="Leave out the options about the signature to check the rest",
        )
    content = read_bytes(claims.signature, where=f"{claims.name}/{SIGNATURE}")
    if signer is None:
        seal = signing.Seal.read(content)
        check = "" if seal is None else f". Check it: {seal.options}"
        return Proven(
            "signature", f"{SIGNATURE} is there{check}", but="its signature was not checked"
        )
    seal = signing.check(claims.signed, content, signer)
    return Proven("signature", f"{len(seal.files)} files are signed by {signer.name}")


def _pictures(claims: _Claims, entry: CatalogueEntry | None) -> Proven:
    """The filters are drawn again from the weights, and the plot from the catalogue."""
    config, record = claims.described, claims.record
    drawn = card.pictures_of(config, record, entry)
    if FILTERS in claims.pictures:
        kind = architecture(config.architecture)
        order = str(config.preprocessing.get("image_format"))
        made = None
        if not config.synthetic:
            with checkpoints.open(claims.weights, checksums=False) as weights:
                made = filters_of(weights, kind, order)
        if made is None or read_bytes(claims.pictures[FILTERS]) != made:
            raise claims.refuse(f"{FILTERS} does not show the first layer of these weights")
        drawn[FILTERS] = made
    others = [name for name, path in claims.pictures.items() if read_bytes(path) != drawn.get(name)]
    same = " and ".join(name for name in claims.pictures if name not in others)
    if others:
        detail = f"{', '.join(others)} was made with another catalogue"
        return Proven(
            "pictures",
            f"{same} shows these weights; {detail}" if same else detail,
            but=f"its {others[0]} is not the one that the catalogue gives",
        )
    return Proven("pictures", f"{same}, drawn again: the same bytes")


_EDITED = "its card does not match the records"
# what the Hub shows beside a repository's name and people rely on
_PROMISES = ("license", "license_name", "license_link", "library_name", "base_model")


def _unedited(claims: _Claims, made: str, text: str, license: Any) -> set[str]:
    """The cards that a push makes of one: addressed to the repository, with a licence that only the
    publisher knows, and with a link to an export."""
    cards = {made, *(card.addressed(made, claims.record.name, one) for one in _ids(claims.name))}
    if license in HUB_LICENSES and card.license_of(made) is None:
        cards |= {card.licensed(one, license) for one in cards}
    exported = card.linked_to(text)
    if exported is not None and names.is_repo_id(exported):
        cards |= {card.linked(one, exported) for one in cards}
    return cards


def _ids(name: str) -> list[str]:
    """The names that a card may give its repository: its id, or the end of a folder's path."""
    last = name.partition("@")[0].replace(os.sep, "/").rstrip("/").split("/")[-2:]
    return ["/".join(last)] if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", "/".join(last), re.A) else []


def _why_not(claims: _Claims, entry: CatalogueEntry | None, source: str | None) -> str | None:
    """Why the conversion cannot be repeated from something that its publisher does not control."""
    origin = claims.record.source
    if source is not None:
        return None
    if claims.described.synthetic:
        return None if entry else "the catalogue has no weights with that name"
    if origin.url is None or origin.url.startswith("file:"):
        kind = "folder, with" if origin.files else "file"
        return (
            f"it was made from the publisher's own {kind} {origin.file[:80]!r}; "
            f"pass that with --source {'DIR' if origin.files else 'FILE'}"
        )
    if entry is None and _repository(origin) is not None:
        return None
    if entry is None:
        return (
            "its weights are in no catalogue here; pass one with --catalogue FILE, or pass --source"
        )
    if not any(one.layout == origin.layout for one in entry.sources):
        return "the catalogue has these weights only in another layout"
    return None


def _repository(origin: RecordedSource) -> tuple[str, str] | None:
    """The repository of another project that a conversion was made from, and its commit; None where
    it was made from something else."""
    named = hub_file(origin.url or "")
    # a catalogue's source is one file, without what describes it
    if named is None or not origin.files or not names.is_repo_id(named[0]):
        return None
    repo, commit, _ = named
    return (repo, commit) if commit is not None and names.is_commit(commit) else None


def _repeat(
    claims: _Claims,
    entry: CatalogueEntry | None,
    source: str | None,
    extra: Sequence[Path],
    progress: Progress | None,
    with_numerics: bool,
) -> list[Proven]:
    """Pull the original, convert it, and compare every file that comes out."""
    described, record = claims.described, claims.record
    format = next(format for format, file in WEIGHTS.items() if file == described.checkpoint.file)
    with (
        _original(claims, entry, source, extra, progress) as conversion,
        scratch_folder() as scratch,
    ):
        provenance = conversion.provenance
        recorded = record.source.sha256
        if recorded is not None and provenance.sha256 != recorded:
            raise claims.refuse(
                f"the original has the sha256 {provenance.sha256}, but {CONVERSION} says {recorded}"
            )
        done = execute(conversion, scratch / "again", format=format, progress=progress)
        if done.sha256 != described.checkpoint.sha256:
            raise claims.refuse(
                f"the repeated conversion gave other weights: their sha256 is "
                f"{done.sha256}" + _other_version(claims)
            )
        _same_record(claims, load_json(scratch / "again" / CONVERSION))
        if described.synthetic:
            what = "seeded numbers, made and converted again"
        else:
            local = (provenance.url or "file:").startswith("file:")
            got = "read again" if local else "downloaded again"
            what = (
                f"{got} (sha256 {str(provenance.sha256)[:16]}…, {provenance.pinned_by}), "
                f"converted again{_computed_again(conversion)}"
            )
        recorded_address = entry is None and provenance.url is not None and source is None
        original = Proven(
            "original",
            f"{what}: the same {described.checkpoint.file}",
            but=f"its original is {provenance.url}, which only the publisher names, not a catalogue"
            if recorded_address
            else None,
        )
        return [original, _numerics(claims, conversion)] if with_numerics else [original]


def _computed_again(conversion: Conversion) -> str:
    count = len(conversion.plan.computed)
    return f", {count} tensors computed again" if count else ""


def _numerics(claims: _Claims, conversion: Conversion) -> Proven:
    """Run the original's file and the published weights on the same image."""
    described = claims.described
    with checkpoints.open(claims.weights) as weights:
        differences = numerics.compare(
            conversion.architecture,
            conversion.layout,
            described.overrides.lazy,
            _below(conversion.prefix, tensors_of(conversion.checkpoint, {})),
            tensors_of(weights, described.checkpoint.ties),
        )
    shown = ", ".join(map(str, differences))
    if not all(one.is_rounding for one in differences):
        raise claims.refuse(f"it does not compute what the original does: max |Δ| {shown}")
    return Proven("numerics", f"max |Δ| in float64, of the largest value: {shown}")


def _torch_name(dtype: str | None, claims: _Claims) -> str | None:
    names = {ours: theirs for theirs, ours in DTYPES.items()}
    if dtype is not None and dtype not in names:
        raise claims.refuse(f"{CONVERSION} says that numbers were rounded to {dtype}")
    return None if dtype is None else names[dtype]


def _below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        key.removeprefix(prefix): tensor
        for key, tensor in tensors.items()
        if key.startswith(prefix)
    }


def _original(
    claims: _Claims,
    entry: CatalogueEntry | None,
    source: str | None,
    extra: Sequence[Path],
    progress: Progress | None,
) -> Conversion:
    """The publisher's conversion, planned here."""
    described, record = claims.described, claims.record
    layout, name = record.source.layout, record.name
    kind = architecture(described.architecture)
    options = ConversionOptions(
        architecture=kind.name,
        layout=layout,
        facts=record.facts,
        prefix=record.source.prefix,
        dtype=_torch_name(record.dtype, claims),
    )
    if described.synthetic and source is None:
        return prepare(name, replace(options, synthetic=True, extra_catalogues=tuple(extra)))
    if (whole := _whole(record, entry, source)) is not None:
        return _whole_original(claims, *whole, options, progress)
    if entry is None:
        entry = CatalogueEntry(
            name="original", family="", architecture=kind.name, title="", sources=()
        )
    fitting = tuple(one for one in entry.sources if one.layout == layout)
    try:
        pulled = sources.pull(replace(entry, sources=fitting), source=source, progress=progress)
    except SourceError as error:
        raise SourceError(
            error.message,
            hint=f"Verify the records alone: detrex-hub verify {claims.name} --no-source",
        ) from None
    try:
        # none in the record is the top level, but of numbers that had no file
        container = record.source.container or (None if described.synthetic else "")
        conversion = prepare(pulled.path.absolute(), replace(options, container=container))
    except DetrexHubError as error:
        raise claims.refuse(f"the original does not convert: {error.message}") from None
    return replace(
        conversion,
        name=name,
        entry=entry if entry.sources else None,
        provenance=Provenance(
            url=pulled.url,
            file=Path(pulled.url).name,
            size=pulled.size,
            sha256=pulled.sha256,
            pinned_by=pulled.pinned_by,
        ),
    )


def _whole(
    record: ConversionRecord, entry: CatalogueEntry | None, source: str | None
) -> tuple[str, str | None] | None:
    """The repository with its commit, or the folder, that is the original; None where it is a
    single file."""
    if source is not None:
        return (source, None) if record.source.files or Path(source).is_dir() else None
    return _repository(record.source) if entry is None else None


def _whole_original(
    claims: _Claims,
    what: str,
    commit: str | None,
    options: ConversionOptions,
    progress: Progress | None,
) -> Conversion:
    """The conversion of a whole repository or folder, planned again."""
    options = replace(options, container=claims.record.source.container, revision=commit)
    try:
        conversion = prepare(what, options, progress=progress)
    except (HubError, SourceError) as error:
        raise SourceError(
            error.message,
            hint=f"Verify the records alone: detrex-hub verify {claims.name} --no-source",
        ) from None
    except DetrexHubError as error:
        raise claims.refuse(f"the original does not convert: {error.message}") from None
    provenance = conversion.provenance
    paths = [conversion.checkpoint.path.with_name(one.file) for one in provenance.files]
    hashing = FileSha256(conversion.checkpoint.path, *paths)
    return replace(conversion, name=claims.record.name, provenance=provenance.hashed(hashing))


# the address of the original and what it was compared with may differ this time
_FREE = {"url", "file", "pinned_by"}


def _same_record(claims: _Claims, again: dict[str, Any]) -> None:
    recorded = dict(claims.document)
    if _other_version(claims):
        # another version may say more or less
        return
    for part in sorted(recorded.keys() | again.keys()):
        says, should = recorded.get(part), again.get(part)
        if part == "source" and isinstance(says, dict) and isinstance(should, dict):
            says = {name: value for name, value in says.items() if name not in _FREE}
            should = {name: value for name, value in should.items() if name not in _FREE}
            if says.get("sha256") is None:  # too large a file to be hashed for its publisher
                should["sha256"] = None
                should["files"] = [one | {"sha256": None} for one in should["files"]]
        if part != "recognised_by" and says != should:
            raise claims.refuse(f"{part} in {CONVERSION} differs from the repeated conversion")


def _other_version(claims: _Claims) -> str:
    version = claims.record.tool.version
    if version == __version__:
        return ""
    return f" (made by detrex-hub {version[:40]}; this is {__version__})"
