"""Model cards: the `README.md` of a repository, made from its records and the catalogue.

A card names the commands of its own repository. A conversion does not know where its result will
be pushed to, so its card says ``detrex/<name>``; `addressed` replaces it by another repository.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from detrex_hub import catalogue
from detrex_hub.architectures import architecture
from detrex_hub.architectures.base import Overrides
from detrex_hub.card.body import body_values
from detrex_hub.card.front_matter import metadata
from detrex_hub.card.markdown import escaping_template
from detrex_hub.card.planned_conversion import PlannedConversion
from detrex_hub.card.relatives import plot
from detrex_hub.card.training_config import replaces_backbone
from detrex_hub.card.yaml_metadata import read_metadata
from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.catalogue.licenses import HUB_LICENSES
from detrex_hub.catalogue.models import layout_of, model_of
from detrex_hub.errors import UsageError
from detrex_hub.folder_files import find_file
from detrex_hub.records import (
    ACCURACY,
    CARD,
    CONFIG,
    CONVERSION,
    PICTURES,
    WEIGHTS,
    ConversionRecord,
    RecordedPlan,
    RecordedSource,
    RepositoryConfig,
    StoredCheckpoint,
    recorded_plan,
)

if TYPE_CHECKING:
    from jinja2 import Template

NAMESPACE = "detrex"

# how every card begins; this identifies stale cards
_BEGINNING = "---\nlibrary_name: detrex\n"
_EXPORT_HEADING = "## In transformers\n"
_LINKED = re.compile(
    r"^Published as \[(?P<repo>[\w./-]{3,200})\]\(https://huggingface\.co/(?P=repo)\)\.\n",
    re.ASCII | re.MULTILINE,
)
_REPO_ID = re.compile(r"[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)


def render(
    config: RepositoryConfig,
    record: ConversionRecord | PlannedConversion,
    entry: CatalogueEntry | None = None,
    *,
    repo_id: str | None = None,
    pictures: Collection[str] = (),
) -> str:
    """The card of a converted folder.

    Args:
        config: its `config.json`.
        record: its `conversion.json`, or the part that is known before a conversion.
        entry: the catalogue's entry; None for the user's own checkpoint.
        repo_id: the repository that the card's commands name, ``detrex/<name>`` where none is
            given.
        pictures: the names of the pictures beside the card.

    Raises:
        ConfigError: the recorded plan is malformed.
        UsageError: ``repo_id`` is not of the form ``owner/name``, or the architecture is unknown.
    """
    import yaml

    another = _is_another(record, entry)
    if entry is not None and not config.synthetic and not _has_figures(config, record, entry):
        entry = replace(entry, metrics=())
    repo = _checked(repo_id or _default_repo_id(record.name))
    head = yaml.safe_dump(
        metadata(config, record, entry), sort_keys=False, allow_unicode=True, width=float("inf")
    )
    values = body_values(config, record, entry, repo, another=another, pictures=pictures)
    body = _template().render(values)
    return f"---\n{head}---\n\n{body}"


def pictures_of(
    config: RepositoryConfig, record: ConversionRecord, entry: CatalogueEntry | None
) -> dict[str, bytes]:
    """The pictures of a card that need no weights, by file name. See `render` for arguments."""
    if entry is None or config.synthetic or not _has_figures(config, record, entry):
        return {}
    drawn = plot(entry)
    return {} if drawn is None else {ACCURACY: drawn}


def _is_another(record: ConversionRecord | PlannedConversion, entry: CatalogueEntry | None) -> bool:
    """Whether the weights are known to come from another file than the entry's."""
    source = record.source
    return entry is not None and entry.denies(source.url, source.sha256)


def _has_figures(
    config: RepositoryConfig, record: ConversionRecord | PlannedConversion, entry: CatalogueEntry
) -> bool:
    """Whether an entry's published figures hold for the weights. They do not hold for another file
    or other heads."""
    return not _is_another(record, entry) and entry.is_of(
        config.architecture, config.hyper_parameters, {}
    )


@cache
def _template() -> Template:
    return escaping_template(Path(__file__).with_name("card.md.jinja").read_text(encoding="utf-8"))


def render_for(entry: CatalogueEntry, *, repo_id: str | None = None) -> str:
    """The card of weights in the catalogue, with the data that is known before a conversion.

    Args:
        entry: the weights.
        repo_id: as for `render`.

    Raises:
        ArchitectureError: the entry's hyper-parameters do not fit its architecture.
        UsageError: its architecture is unknown, or ``repo_id`` is not of the form ``owner/name``.
    """
    config, record = _before_conversion(entry)
    return render(config, record, entry, repo_id=repo_id)


def config_line(entry: CatalogueEntry, repo_id: str) -> str:
    """The line by which a config loads weights, as the card shows it.

    Args:
        entry: the weights.
        repo_id: the repository that the line names.
    """
    arguments = f'"{repo_id}", model=model, dataloader=dataloader'
    if entry.base_config and entry.hyper_parameters:
        made = model_of(entry)
        lazy = made.overrides(made.preprocessing(entry.facts)).lazy
        if replaces_backbone(made, entry.base_config, lazy):
            arguments += ", build=True"
    return f"train.init_checkpoint = from_hub({arguments})"


def render_folder(
    folder: Path, entries: Mapping[str, CatalogueEntry], *, repo_id: str | None = None
) -> str:
    """The card of a converted folder, rendered again from its records.

    Args:
        folder: the folder.
        entries: the catalogue. An entry is used if name, architecture and hyper-parameters match
            the folder.
        repo_id: as for `render`.

    Raises:
        ConfigError: a record is absent or malformed.
        HubError: a record is a link out of the folder, or not a regular file.
        UsageError: as `render` does.
    """
    config = RepositoryConfig.load(find_file(folder, CONFIG) or folder / CONFIG)
    record = ConversionRecord.load(find_file(folder, CONVERSION) or folder / CONVERSION)
    entry = entries.get(record.name)
    if entry is not None and not entry.is_of(
        config.architecture, config.hyper_parameters, record.facts
    ):
        entry = None
    there = [name for name in PICTURES if find_file(folder, name)]
    return render(config, record, entry, repo_id=repo_id, pictures=there)


def addressed(card: str, name: str, repo_id: str) -> str:
    """The same card with its commands naming the repository that it is pushed to.

    Args:
        card: a card that names the repository ``detrex/<name>``.
        name: ``name`` in `conversion.json`.
        repo_id: the repository.

    Raises:
        UsageError: ``repo_id`` is not of the form ``owner/name``.
    """
    known = re.escape(_default_repo_id(name))
    return re.sub(rf"(?<![\w./-]){known}(?![\w/-]|\.\w)", _checked(repo_id), card)


def linked(card: str, repo_id: str) -> str:
    """The same card with a link to the repository that holds the weights for transformers or timm.

    Args:
        card: a card of a converted folder; another link in it is replaced.
        repo_id: the repository.

    Raises:
        UsageError: ``repo_id`` is not of the form ``owner/name``.
    """
    known = _checked(repo_id)
    line = f"Published as [{known}](https://huggingface.co/{known}).\n"
    if _LINKED.search(card) is not None:
        return _LINKED.sub(line, card, count=1)
    if _EXPORT_HEADING in card:
        return card.replace(_EXPORT_HEADING, f"{_EXPORT_HEADING}\n{line}", 1)
    return f"{card.rstrip()}\n\n{_EXPORT_HEADING}\n{line}"


def linked_to(card: str) -> str | None:
    """The repository that `linked` put into a card; None where there is none."""
    found = _LINKED.search(card)
    return found["repo"] if found else None


def license_of(card: str) -> str | None:
    """The licence in a card's metadata; None if it states none.

    Raises:
        ConfigError: the metadata is not valid.
    """
    found = read_metadata(card, where=CARD).get("license")
    return found if isinstance(found, str) else None


def licensed(card: str, license: str) -> str:
    """The same card with a licence, for weights whose licence only their publisher knows.

    Args:
        card: a card without a licence.
        license: an identifier of the Hub, such as ``apache-2.0``.

    Raises:
        UsageError: the card states another licence, or the Hub does not know the identifier.
    """
    if license not in HUB_LICENSES:
        raise UsageError(
            f"{license[:80]!r} is not a licence that the Hub knows",
            hint="Its identifiers: https://huggingface.co/docs/hub/repositories-licenses",
        )
    said = license_of(card)
    if said is not None:
        if said != license:
            raise UsageError(f"the licence of these weights is {said}, not {license}")
        return card
    head, dashes, body = card.partition("\n---\n")
    head = re.sub(r"(?m)^(pipeline_tag: .*)$", rf"\1\nlicense: {license}", head, count=1)
    table = re.search(r"(?m)^\| Architecture \|(.*\n\|)*.*$", body)
    end = table.end() if table else 0
    row = f"\n| Licence | {license} |" if table else ""
    return f"{head}{dashes}{body[:end]}{row}{body[end:]}"


def write_model_cards(folder: Path) -> list[Path]:
    """Write the card of every catalogue entry as ``<name>.md``, and remove cards without an entry.

    Returns:
        the files that changed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cards = {f"{name}.md": render_for(entry) for name, entry in catalogue.load_entries().items()}
    changed = []
    for path in sorted(folder.glob("*.md")):
        # the folder may be the wrong one: only cards of this function are removed
        if path.name not in cards and path.read_text(encoding="utf-8").startswith(_BEGINNING):
            path.unlink()
            changed.append(path)
    for name, card in sorted(cards.items()):
        path = folder / name
        if not path.is_file() or path.read_bytes() != card.encode():
            path.write_text(card, encoding="utf-8", newline="\n")
            changed.append(path)
    return changed


def _before_conversion(entry: CatalogueEntry) -> tuple[RepositoryConfig, PlannedConversion]:
    """The records of a conversion, without what only the conversion itself knows."""
    kind = architecture(entry.architecture)
    preprocessing: dict[str, Any] = {}
    overrides = Overrides()
    set_by_model: tuple[str, ...] = ()
    plan: RecordedPlan | None = None
    parameters: int | None = None
    notes: tuple[str, ...] = ()
    layout = layout_of(entry)
    if entry.hyper_parameters:
        made = model_of(entry)
        preprocessing = made.preprocessing(entry.facts)
        overrides = made.overrides(preprocessing)
        specs, _ = made.original(layout)
        planned = made.plan(specs, layout)
        set_by_model = tuple(sorted(made.set_by_model() - planned.specs.keys()))
        notes = made.notes_on(layout)
        plan = recorded_plan(planned, specs)
        parameters = sum(move.spec.numel for move in planned.moves.values())
    config = RepositoryConfig(
        architecture=entry.architecture,
        hyper_parameters=dict(entry.hyper_parameters),
        preprocessing=preprocessing,
        overrides=overrides,
        base_config=entry.base_config,
        checkpoint=StoredCheckpoint(
            file=WEIGHTS["safetensors"],
            sha256="",
            author="",
            matching_heuristics=kind.backbone,
            ties={},
            set_by_model=set_by_model,
        ),
    )
    source = entry.sources[0]
    planned_conversion = PlannedConversion(
        name=entry.name,
        source=RecordedSource(
            url=source.url,
            file=source.file,
            size=source.size,
            sha256=source.sha256,
            layout=layout,
        ),
        facts=entry.facts,
        plan=plan,
        parameters=parameters,
        notes=notes,
    )
    return config, planned_conversion


def _default_repo_id(name: str) -> str:
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip(".-")[:96] or "weights"
    return f"{NAMESPACE}/{slug}"


def _checked(repo_id: str) -> str:
    if not _REPO_ID.fullmatch(repo_id):
        raise UsageError(
            f"{repo_id[:120]!r} is not the name of a repository", hint="Write it as owner/name"
        )
    return repo_id
