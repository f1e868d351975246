"""Find out before any work what publishing names will do, and what would prevent it.

Only small records are downloaded. The Hub is asked for the account and for the contents of each
repository. Each needed original gets one small request.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from detrex_hub import card, catalogue
from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.catalogue.models import layout_of, model_of
from detrex_hub.catalogue.outlines import outline
from detrex_hub.checkpoints import files
from detrex_hub.conversion.planning import prepare
from detrex_hub.errors import ConfigError, DetrexHubError, HubError, UsageError
from detrex_hub.heap import share_heap
from detrex_hub.originals import snapshots
from detrex_hub.originals.availability import available
from detrex_hub.originals.conversion_options import ConversionOptions
from detrex_hub.originals.opening import catalogued, file_stem
from detrex_hub.progress import Progress, Silent
from detrex_hub.publishing.outcomes import Forecast
from detrex_hub.publishing.unchanged import Signature, changes
from detrex_hub.records import CONFIG, SIGNATURE
from detrex_hub.redaction import redacted
from detrex_hub.repositories import PushOptions
from detrex_hub.repositories.client import Remote
from detrex_hub.repositories.collections import check_collection
from detrex_hub.repositories.payload import unsigned
from detrex_hub.repositories.pushing import check_place
from detrex_hub.repositories.signers import library
from detrex_hub.repositories.signing import Seal, key_of
from detrex_hub.repositories.targets import Target, target
from detrex_hub.staging import scratch_place

# requests at the same time
_AT_ONCE = 8
# bytes of disk per byte of an original: its file, and its conversion
_ON_DISK = 2
# seeded numbers have no file
_ON_DISK_SEEDED = 1


def preflight(
    names: Sequence[str],
    conversion: ConversionOptions,
    push: PushOptions,
    *,
    jobs: int | None = 1,
    progress: Progress | None = None,
) -> list[Forecast]:
    """Forecast the results of publishing names. A refused name does not stop the others.

    Args:
        names: of the catalogue, or the user's own checkpoints.
        conversion: the options of the conversion.
        push: the options of the push.
        jobs: the number of names at once, which decides the needed disk space; None if other
            machines do the work.
        progress: receives one stage.

    Returns:
        a forecast for each name, in their order; aliases of one name give one.

    Raises:
        UsageError: the options exclude each other.
        HubError: there is no token, it may not write there, or the Hub does not answer.
        DetrexHubError: this number of jobs needs more disk space than is free.
    """
    reports = progress or Silent()
    if conversion.synthetic and push.to is None and not push.allow_synthetic:
        raise HubError(
            "--synthetic makes seeded numbers instead of weights, which should not be on the Hub",
            hint="Push them into a folder with --to DIR, or pass --allow-synthetic",
        )
    if push.sign_key is not None:
        library("signing")
        key_of(push.sign_key)
    # a malformed file is one error, not one for each name
    catalogue.load_entries(conversion.extra_catalogues)
    check_place(push)
    there = target(push)
    if push.collection is not None:
        check_collection(push.collection)
    if len(names) > 1:
        share_heap()
        reports.start(f"checking {len(names)} names", None)
    threads = ThreadPoolExecutor(min(_AT_ONCE, max(len(names), 1)))
    try:
        asked = threads.map(partial(_forecast, conversion, push, there), names)
        found = {one.name: one for one in asked}
    finally:
        # an interruption does not wait for answers
        threads.shutdown(wait=False, cancel_futures=True)
        reports.finish()
    forecasts = _without_twins([*found.values()])
    if jobs is None:
        return forecasts
    factor = _ON_DISK_SEEDED if conversion.synthetic else _ON_DISK
    return _within_disk(forecasts, push, jobs, factor)


def _without_twins(forecasts: list[Forecast]) -> list[Forecast]:
    """The same forecasts, but a name with the repository of an earlier one is refused."""
    first: dict[str | None, str] = {}
    judged = []
    for one in forecasts:
        if one.is_work and first.setdefault(one.repo_id, one.name) != one.name:
            twin = first[one.repo_id]
            error = UsageError(f"{one.name} and {twin} would both be {one.repo_id}")
            one = replace(one, status="refused", refusal=error)
        judged.append(one)
    return judged


def _forecast(
    conversion: ConversionOptions, push: PushOptions, there: Target, name: str
) -> Forecast:
    entry = None
    try:
        entry = catalogued(name, conversion)
        if entry is None:
            return _of_user(name, conversion, there)
        return _of_entry(entry, conversion, push, there)
    except DetrexHubError as error:
        shown = entry.name if entry else redacted(name)
        return Forecast(name=shown, status="refused", refusal=error)


def _of_user(name: str, conversion: ConversionOptions, there: Target) -> Forecast:
    """The user's own file, folder or repository. It is compared with the target when it is
    converted. A repository is read then too."""
    path = Path(name)
    size = 0
    if path.exists() or not snapshots.is_on_hub(name):
        with prepare(name, conversion) as planned:
            size = planned.provenance.size
    repo_id = there.repo_id(file_stem(path) if path.is_file() else path.name)
    held = there.held(repo_id)
    if held is not None:
        there.check(held)
    return Forecast(
        name=name,
        status="new" if held is None else "changed",
        repo_id=repo_id,
        url=there.url(repo_id),
        size=size,
        why=None if held is None else "its conversion is compared with the published one",
    )


def _of_entry(
    entry: CatalogueEntry, conversion: ConversionOptions, push: PushOptions, there: Target
) -> Forecast:
    _check_content(entry, conversion, push)
    repo_id = there.repo_id(entry.name)
    held = there.held(repo_id)
    why = None
    if held is not None:
        why = _why_changed(entry, conversion, push, there, held)
    forecast = Forecast(
        name=entry.name,
        status="unchanged",
        repo_id=repo_id,
        url=there.url(repo_id),
        license=entry.license or push.license,
        why=why,
    )
    if held is not None and not why:
        return forecast
    if held is not None:
        there.check(held)
        if SIGNATURE in held.files and push.sign_key is None:
            raise unsigned(there.url(repo_id))
    return replace(
        forecast,
        # an interrupted run may have created an empty repository
        status="new" if held is None or CONFIG not in held.files else "changed",
        size=_size(entry, conversion),
    )


def _check_content(entry: CatalogueEntry, conversion: ConversionOptions, push: PushOptions) -> None:
    """
    Raises:
        UsageError: the user states another licence than that of the weights.
        HubError: these weights should not be on the Hub.
    """
    if push.license is not None:
        card.licensed(card.render_for(entry), push.license)
    if push.to is not None:
        return
    if entry.license is None and push.license is None:
        raise HubError(
            f"no licence is stated for the weights {entry.name}",
            hint="Ask its authors, then state it: --license apache-2.0",
        )


def _why_changed(
    entry: CatalogueEntry,
    conversion: ConversionOptions,
    push: PushOptions,
    there: Target,
    held: Remote,
) -> str:
    """The reasons for changes in a repository; empty if nothing changes."""
    if conversion.reads_another_way:
        return "its conversion is compared with the published one"
    try:
        record = there.record(held)
    except ConfigError as error:
        return error.message
    if record is None:
        return "it holds no conversion"
    signature = None
    if push.sign_key is not None:
        signature = Signature(key_of(push.sign_key), Seal.read(there.signature(held) or b""))
    found = changes(entry, conversion, held, record, license=push.license, signature=signature)
    return "; ".join(found)


def _size(entry: CatalogueEntry, conversion: ConversionOptions) -> int:
    """The size of the original in bytes, whose source must answer; without an original, the size
    of the result."""
    if conversion.synthetic:
        if (known := outline(entry)) is not None:
            return known.size
        specs, _ = model_of(entry).original(layout_of(entry))
        return sum(spec.nbytes for spec in specs.values())
    if conversion.source is not None:
        # the user's own file or address, which is read next
        return 0
    return available(entry).size or 0


def _within_disk(
    forecasts: list[Forecast], push: PushOptions, jobs: int, factor: int
) -> list[Forecast]:
    """The same forecasts, but names that need more disk space than is free are refused.

    Args:
        forecasts: of the names.
        push: where they go.
        jobs: how many are worked on at once.
        factor: bytes of disk per byte of their sizes.

    Raises:
        DetrexHubError: each name fits, but this number of jobs at once does not.
    """
    place, variable = scratch_place()
    free = shutil.disk_usage(place).free
    judged = [
        replace(one, status="refused", refusal=_too_large(one.name, one.size * factor, free))
        if one.is_work and one.size * factor > free
        else one
        for one in forecasts
    ]
    sizes = sorted((one.size for one in judged if one.is_work), reverse=True)
    at_once = sum(sizes[:jobs]) * factor
    what = f"--jobs {jobs}"
    if push.to is not None and _same_disk(push.to, place):
        at_once += sum(sizes)
        what += f" with all results in {push.to}"
    if at_once > free:
        raise DetrexHubError(
            f"{what} needs up to {files.size(at_once)} of disk at {place}, where "
            f"{files.size(free)} are free",
            hint=f"Free space there, choose another place with {variable}, or use fewer --jobs",
        )
    return judged


def _too_large(name: str, needed: int, free: int) -> DetrexHubError:
    place, variable = scratch_place()
    return DetrexHubError(
        f"{name} needs {files.size(needed)} of disk at {place}, where {files.size(free)} are free",
        hint=f"Free space there, or choose another place with {variable}",
    )


def _same_disk(one: Path, other: Path) -> bool:
    while not one.exists() and one != one.parent:
        one = one.parent
    return one.stat().st_dev == other.stat().st_dev
