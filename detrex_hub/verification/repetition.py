"""Pull the original, repeat the conversion, and compare the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from detrex_hub import checkpoints, numerics
from detrex_hub.architectures import architecture
from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.catalogue.entry import hub_file
from detrex_hub.conversion import Conversion, execute, prepare
from detrex_hub.errors import DetrexHubError, HubError, SourceError
from detrex_hub.floats import DTYPES
from detrex_hub.hashing import FileSha256
from detrex_hub.loading import tensors_of
from detrex_hub.originals import sources
from detrex_hub.originals.conversion_options import ConversionOptions
from detrex_hub.originals.opening import Provenance
from detrex_hub.progress import Progress
from detrex_hub.records import CONVERSION, WEIGHTS, ConversionRecord, RecordedSource, load_json
from detrex_hub.repositories import names
from detrex_hub.staging import scratch_folder
from detrex_hub.verification.claims import Claims, Proven, other_version

if TYPE_CHECKING:
    import torch


def why_not(claims: Claims, entry: CatalogueEntry | None, source: str | None) -> str | None:
    """The reason why the conversion cannot be repeated from a source outside the publisher's
    control."""
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
    """The repository of another project from which a conversion was made, and its commit; None for
    other sources."""
    named = hub_file(origin.url or "")
    # a catalogue's source is one file without a description
    if named is None or not origin.files or not names.is_repo_id(named[0]):
        return None
    repo, commit, _ = named
    return (repo, commit) if commit is not None and names.is_commit(commit) else None


def repeated(
    claims: Claims,
    entry: CatalogueEntry | None,
    source: str | None,
    extra: Sequence[Path],
    progress: Progress | None,
    with_numerics: bool,
) -> list[Proven]:
    """Pull the original, convert it, and compare every resulting file."""
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
                f"{done.sha256}" + other_version(claims)
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


def _numerics(claims: Claims, conversion: Conversion) -> Proven:
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


def _torch_name(dtype: str | None, claims: Claims) -> str | None:
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
    claims: Claims,
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
        # None in the record means the top level, except for synthetic weights
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
    """The repository with its commit, or the folder, of the original; None if it is a single
    file."""
    if source is not None:
        return (source, None) if record.source.files or Path(source).is_dir() else None
    return _repository(record.source) if entry is None else None


def _whole_original(
    claims: Claims,
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


# the address of the original and the digest that it was compared with may differ this time
_FREE = {"url", "file", "pinned_by"}


def _same_record(claims: Claims, again: dict[str, Any]) -> None:
    recorded = dict(claims.document)
    if other_version(claims):
        # another version may have more or fewer fields
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
