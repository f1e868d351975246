"""The content of a card, from the records and the catalogue. The template defines its form."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import msgspec

from detrex_hub.architectures import architecture, coco
from detrex_hub.architectures.base import Architecture
from detrex_hub.architectures.foreign_models import for_transformers
from detrex_hub.card.markdown import (
    Markdown,
    clean,
    code,
    joined,
    link,
    md,
    number,
    text,
    web_address,
)
from detrex_hub.card.relatives import relatives
from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.catalogue.entry import ORIGINS, Metric, Source, hub_file, same_address
from detrex_hub.configs.settings import DECIDED_BY_CONFIG
from detrex_hub.errors import ArchitectureError
from detrex_hub.mapping.fold import Pair, Pattern, fold, fold_keys
from detrex_hub.records import (
    ACCURACY,
    FILTERS,
    ComputedTensor,
    ConversionRecord,
    FreshRows,
    RecordedPlan,
    RecordedSource,
    RepositoryConfig,
    TakenRows,
)
from detrex_hub.specs import TORCH_DTYPES, TensorSpec

DETREX = "https://github.com/IDEA-Research/detrex"

_BASE_CONFIG = re.compile(r"(?=.{0,200}$)([\w.-]+/)*(?P<module>[A-Za-z_]\w*)\.py", re.ASCII)
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,95}")
_IMAGES = ("image_format", "pixel_mean", "pixel_std")
_MOST_PATTERNS = 80
# pieces of one tensor
_MOST_PIECES = 16

# where the Hub has a name of its own for a metric
_METRIC_TYPES = {"acc@1": "accuracy", "acc@5": "top_5_accuracy"}


@dataclass(frozen=True, kw_only=True)
class PlannedConversion:
    """The part of a conversion's record that a card shows and that is known before the
    conversion."""

    name: str
    source: RecordedSource
    facts: Mapping[str, Any]
    plan: RecordedPlan | None
    parameters: int | None
    notes: Sequence[str]
    assumed: Mapping[str, Any] = field(default_factory=dict)


Record: TypeAlias = ConversionRecord | PlannedConversion


def metadata(
    config: RepositoryConfig, record: Record, entry: CatalogueEntry | None
) -> dict[str, Any]:
    """The metadata between the dashes: plain values for the Hub's search and filters.

    Synthetic weights claim no accuracy, no data that they were trained on, and no model that they
    were made from.
    """
    kind = architecture(config.architecture)
    tags = ["detrex", "detectron2", config.architecture, *kind.tags]
    found: dict[str, Any] = {
        "library_name": "detrex",
        "pipeline_tag": kind.task,
    }
    if entry is not None and entry.license is not None:
        found["license"] = entry.license
        if entry.license == "other":
            found["license_name"] = _slug(entry.license_name or "other")
            if entry.license_link and web_address(entry.license_link):
                found["license_link"] = web_address(entry.license_link)
    if config.synthetic:
        return found | {"tags": [*tags, "synthetic"]}
    found["tags"] = tags
    if entry is not None and entry.datasets:
        found["datasets"] = [clean(name) for name in entry.datasets]
    on_hub = _on_hub(record, entry)
    if on_hub is not None:
        found["base_model"] = on_hub
        # Without a relation the Hub infers a fine-tuned model. It lists models whose format was
        # converted as quantized ones: it knows no nearer relation.
        found["base_model_relation"] = "quantized"
    if entry is not None and entry.metrics:
        found["model-index"] = [
            {"name": clean(entry.name), "results": _results(entry.metrics, entry.datasets)}
        ]
    return found


def body_values(
    config: RepositoryConfig,
    record: Record,
    entry: CatalogueEntry | None,
    repo_id: str,
    *,
    another: bool,
    pictures: Collection[str] = (),
) -> dict[str, Any]:
    """The values of the body, by the names that the template uses.

    Args:
        config: what is described.
        record: its `conversion.json`.
        entry: what the catalogue says of the weights.
        repo_id: the repository that the commands name, which is checked.
        another: whether the weights are known to be of another file than the entry's.
        pictures: the names of the pictures that lie beside the card.

    Raises:
        ConfigError: the recorded plan is malformed.
    """
    kind = architecture(config.architecture)
    name = record.name
    # weights that were trained here and not published elsewhere have no source
    trained = entry is not None and not entry.sources
    plan = _plan(record.plan)
    return {
        "name": name,
        "title": clean(entry.title if entry else name, 200),
        "summary": entry.summary if entry else "",
        "repo_id": Markdown(repo_id),
        "backbone": kind.backbone,
        "synthetic": config.synthetic,
        "another": another,
        # in the order of the record, which is sorted
        "assumed": [(name, _python(value)) for name, value in sorted(record.assumed.items())],
        "non_commercial": entry is not None and entry.non_commercial,
        "licence": _licence(entry),
        "licence_evidence": entry.license_evidence if entry else None,
        **_snippet(config, name),
        **_overrides(config),
        **plan,
        "facts": _facts(config, record, entry, plan["types"]),
        "metrics": _metrics(entry),
        "filters": FILTERS in pictures,
        "plotted": _plotted(entry) if ACCURACY in pictures else None,
        "relatives": [] if config.synthetic else _relatives(entry),
        "metric_pages": _links(one.source for one in entry.metrics if one.source) if entry else "",
        # weights that were trained in detrex have no original to differ from
        "differences": []
        if trained or (entry and entry.origin == "trained")
        else _differences(config, record.facts),
        "transformers": _in_transformers(config, name),
        "trained": trained,
        "authors": ", ".join(entry.authors) if entry else "",
        "pages": _pages(entry),
        "citation": entry.citation if entry else None,
        "provenance": [
            *_source_rows(record, entry, synthetic=config.synthetic),
            *_result_rows(config, record),
        ],
        "proof": _proof(record),
        "notes": record.notes,
        "set_by_model": _codes(one.target for one in fold_keys(config.checkpoint.set_by_model)),
    }


def _on_hub(record: Record, entry: CatalogueEntry | None) -> str | None:
    """The repository on the Hub that holds the original, be it as one of several sources."""
    own = record.source.url or ""
    addresses = [one.url for one in entry.sources] if entry is not None else []
    if not any(same_address(own, one) for one in addresses):
        addresses = []
    addresses.insert(0, own)
    return next((found[0] for found in map(hub_file, addresses) if found), None)


def _in_transformers(config: RepositoryConfig, name: str) -> Markdown | None:
    """How transformers opens an export of the weights; None where it has no such model, or too
    little is known."""
    if not config.preprocessing or not _FILE_NAME.fullmatch(name):
        return None
    made = architecture(config.architecture).from_hyper_parameters(config.hyper_parameters)
    try:
        model = for_transformers(made, "transformers", config.preprocessing)
    except ArchitectureError:
        return None
    # where `export` writes if nothing says it
    return Markdown(model.snippet(f"./{name}-transformers"))


def _results(metrics: Sequence[Metric], datasets: Sequence[str]) -> list[dict[str, Any]]:
    """Metrics as the Hub's model-index wants them: one result for a task, a dataset and a page."""
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for one in metrics:
        kind = _METRIC_TYPES.get(one.name, _slug(one.name, "_"))
        found.setdefault((one.task, one.dataset, one.source), []).append(
            {"type": kind, "value": one.value, "name": clean(one.name)}
        )
    results = []
    for (task, dataset, page), figures in found.items():
        result: dict[str, Any] = {
            "task": {"type": _slug(task), "name": clean(task).replace("-", " ").title()},
            "dataset": {"type": _dataset_type(dataset, datasets), "name": clean(dataset)},
            "metrics": figures,
        }
        if address := web_address(page):
            result["source"] = {"name": urlsplit(address).hostname, "url": address}
        results.append(result)
    return results


def _dataset_type(name: str, datasets: Sequence[str]) -> str:
    """The dataset's identifier on the Hub where the catalogue has it."""
    slug = _slug(name)
    for one in datasets:
        if slug.startswith(_slug(one.rpartition("/")[2])):
            return clean(one)
    return slug


def _slug(value: str, blank: str = "-") -> str:
    return re.sub(r"[^a-z0-9.]+", blank, clean(value).lower()).strip(blank) or "unknown"


def _licence(entry: CatalogueEntry | None) -> Markdown | None:
    if entry is None or entry.license is None:
        return None
    name = entry.license_name if entry.license == "other" else entry.license
    shown = text(name or entry.license)
    return link(entry.license_link, shown) if entry.license_link else shown


def _snippet(config: RepositoryConfig, name: str) -> dict[str, Any]:
    """The config to write: its name, the config to start from, and the values to set."""
    base_config = config.base_config
    found = _BASE_CONFIG.fullmatch(base_config or "")
    own = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:60].lower().removeprefix("my_")
    own = f"my_{own}.py"
    if found is None or base_config is None or ".." in base_config:
        return {
            "base_module": Markdown("your_config"),
            "base_link": None,
            "own": Markdown(own),
            "decided": [],
            "build": False,
        }
    path = PurePosixPath(base_config)
    lazy = config.overrides.lazy
    return {
        # the dataset decides these, not the weights; detrex's configs are for COCO
        "decided": [
            Markdown(f"{decided} = {lazy[decided]:d}")
            for decided in sorted(DECIDED_BY_CONFIG.intersection(lazy))
            if type(lazy[decided]) is int and lazy[decided] != len(coco.CATEGORIES)
        ],
        "build": replaces_backbone(_made(config), base_config, lazy),
        "base_module": Markdown(found["module"]),
        "base_link": link(f"{DETREX}/blob/main/{path}", code(path.name)),
        "own": Markdown(str(path.parent / own)),
    }


def _made(config: RepositoryConfig) -> Architecture | None:
    if not config.hyper_parameters:
        return None
    return architecture(config.architecture).from_hyper_parameters(config.hyper_parameters)


def replaces_backbone(made: Architecture | None, base_config: str, lazy: Mapping[str, Any]) -> bool:
    """Whether the weights need another backbone than the config to start from has.

    Args:
        made: the architecture with its hyper-parameters; None if they are unknown.
        base_config: the path of the config.
        lazy: what the weights set on it.
    """
    # detrex has configs with a dilated backbone for some detectors, and says so in their names
    dilated = lazy.get("model.backbone.dilation") is True and "dc5" not in base_config
    return dilated or (made is not None and made.of_no_config)


def _overrides(config: RepositoryConfig) -> dict[str, Any]:
    """Overrides as (path, value, remark)."""
    overrides = config.overrides
    lazy = [
        *(
            (path, _python(value), "assumed" if path in overrides.assumed else "")
            for path, value in overrides.lazy.items()
        ),
        *(
            (path, _python(value), "if the config has it")
            for path, value in overrides.lazy_if_present.items()
        ),
        *((path, "", "must not be there") for path in overrides.lazy_remove),
    ]
    return {
        # settings that always apply come first, and the model before the data
        "lazy": sorted(lazy, key=lambda row: (row[2], row[0].startswith("dataloader."), row[0])),
        "yacs": [(key, _python(value)) for key, value in sorted(overrides.yacs.items())],
        "classic": any(key.startswith("MODEL.RESNETS.") for key in overrides.yacs),
    }


def _python(value: Any) -> str:
    """A value as a config says it, the same before and after it was JSON."""
    return repr(list(value) if isinstance(value, tuple) else value)


def _facts(
    config: RepositoryConfig, record: Record, entry: CatalogueEntry | None, types: str
) -> list[tuple[str, Markdown]]:
    """The few things to know at a glance, as (name, Markdown)."""
    chosen = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in sorted(config.hyper_parameters.items())
        if value is not None
    ]
    rows = [("Architecture", code(config.architecture))]
    if chosen:
        rows.append(("Hyper-parameters", text(", ".join(chosen))))
    made = record.result if isinstance(record, ConversionRecord) else record
    if record.plan is not None and made.parameters is not None:
        size = f"{made.parameters / 1e6:,.1f} M in {number(len(record.plan.moves))} tensors"
        rows.append(("Parameters", text(f"{size} of {types}" if types else size)))
    images = config.preprocessing
    if all(name in images for name in _IMAGES):
        order, mean, std = (images[name] for name in _IMAGES)
        scale = {"order": order, "mean": code(mean), "std": code(std)}
        rows.append(("Images", md("{order}, mean {mean}, std {std}, in 0..255", **scale)))
    if entry is not None:
        licence = _licence(entry) or text("not stated by the authors")
        rows.append(("Licence", licence))
        if entry.sources:
            rows.append(("Origin", text(ORIGINS[entry.origin])))
        if entry.aliases:
            rows.append(("Also called", joined(", ", map(code, entry.aliases))))
    return rows


def _element_types(moves: Iterable[Pair], specs: Mapping[str, TensorSpec]) -> str:
    found = {specs[key].dtype for one in moves for key in one.sources if key in specs}
    return " and ".join(sorted(name for name, ours in TORCH_DTYPES.items() if ours in found))


def _metrics(entry: CatalogueEntry | None) -> list[tuple[str, str, str]]:
    """Published figures as (dataset, metric, value), all with as many decimals."""
    if entry is None:
        return []
    decimals = max((len(str(m.value).partition(".")[2]) for m in entry.metrics), default=0)
    return [
        (one.dataset, one.name, f"{one.value:.{decimals}f}{f' {one.unit}' if one.unit else ''}")
        for one in entry.metrics
    ]


def _plotted(entry: CatalogueEntry | None) -> str | None:
    """The label of the plot's vertical axis."""
    found = entry.accuracy if entry is not None else None
    return f"{found.name} on {found.dataset}" if found is not None else None


def _relatives(entry: CatalogueEntry | None) -> list[tuple[str, str, Markdown]]:
    """Relatives as (name, title, figure)."""
    if entry is None:
        return []
    return [
        (one.name, one.title, md("{name} {value}", name=one.accuracy.name, value=f"{value:.1f}"))
        for one in relatives(entry)
        if one.accuracy is not None and (value := one.accuracy.value) is not None
    ]


def _plan(plan: RecordedPlan | None) -> dict[str, Any]:
    """The fate of each tensor, and the types of the tensors that were read."""
    if plan is None:
        return {"planned": False, "types": ""}
    specs = plan.specs()
    moves = list(_moves(plan, specs))
    patterns = fold(moves)
    moved = [one for one in patterns if not one.same_name or one.note]
    return {
        "planned": True,
        "types": _element_types(moves, specs),
        "moved": _rows(moved),
        "how": "Rows or operation" if any(_COMPUTED in one.note for one in moved) else "Rows",
        "fate": _fate(patterns, moved, len(plan.dropped)),
        "dropped": list(_dropped(plan)),
        "ties": _rows(fold(_ties(plan))),
    }


def _fate(
    patterns: Sequence[Pattern],
    moved: Sequence[Pattern],
    dropped: int,
) -> str:
    """How many tensors were renamed, computed, kept and dropped."""
    total, changed = sum(one.tensors for one in patterns), sum(one.tensors for one in moved)
    computed = sum(one.tensors for one in patterns if _COMPUTED in one.note)
    counts = {
        "were renamed or cut": changed - computed,
        "were computed": computed,
        "keep their names": total - changed,
        "of the original were dropped": dropped,
    }
    return "Tensors: " + ", ".join(f"{number(n)} {what}" for what, n in counts.items() if n)


def _proof(record: Record) -> dict[str, int] | None:
    """The counts of the conversion's proof; None before a conversion."""
    return msgspec.structs.asdict(record.proof) if isinstance(record, ConversionRecord) else None


def _result_rows(config: RepositoryConfig, record: Record) -> list[tuple[str, Markdown]]:
    """The output of a conversion, as (name, Markdown)."""
    if not isinstance(record, ConversionRecord):
        return []
    tool, size = record.tool, number(record.result.size)
    return [
        ("Converted by", text(f"{tool.name} {tool.version}, mapper {record.plan.mapper}")),
        ("Result", md("{file}, {size} bytes", file=code(config.checkpoint.file), size=size)),
        ("sha256", code(config.checkpoint.sha256)),
    ]


def _source_rows(
    record: Record, entry: CatalogueEntry | None, *, synthetic: bool
) -> list[tuple[str, Markdown]]:
    """The origin of the weights, as (name, Markdown)."""
    source = record.source
    file, url, size, sha256 = source.file, source.url, source.size, source.sha256
    shown = link(web_page(url), _label(url, file)) if url else code(file)
    if url and url.startswith("gdrive-folder"):
        command = code(f"detrex-hub convert {record.name} --source FILE")
        shown = md("{shown} (download it yourself): {command}", shown=shown, command=command)
    others = _links_to(entry.sources if entry else (), without=url)
    if synthetic:
        rows = [("Original", text("none: seeded random numbers")), ("Real weights", others)]
    else:
        if size:
            shown = md("{shown}, {size} bytes", shown=shown, size=number(size))
        rows = [("Original", shown), ("Also at", others)]
    rows = [row for row in rows if row[1]]
    if sha256 is not None:
        shown = code(sha256)
        if pinned_by := source.pinned_by:
            shown = md("{shown}, compared with {pinned_by}", shown=shown, pinned_by=pinned_by)
        rows.append(("sha256", shown))
    shown = code(source.layout)
    if container := source.container:
        shown = md("{shown}, under {container}", shown=shown, container=code(container))
    if wrapper := source.wrapper:
        shown = md("{shown}, without {wrapper}", shown=shown, wrapper=code(wrapper))
    if prefix := source.prefix:
        shown = md("{shown}, below {prefix}", shown=shown, prefix=code(prefix))
    rows.append(("Its layout", shown))
    facts = {name: value for name, value in sorted(record.facts.items()) if name not in _IMAGES}
    if facts:
        values = (code(f"{name} = {_python(value)}") for name, value in facts.items())
        rows.append(("Not shown by shapes", joined(", ", values)))
    return rows


def web_page(url: str) -> str:
    """The web page of a source of the catalogue."""
    scheme, _, rest = url.partition("://")
    if scheme == "gdrive":
        return f"https://drive.google.com/file/d/{rest}/view"
    if scheme == "gdrive-folder":
        return f"https://drive.google.com/drive/folders/{rest}"
    on_hub = hub_file(url)
    if on_hub is not None:
        repo, revision, path = on_hub
        return f"https://huggingface.co/{repo}/blob/{revision or 'main'}/{path}"
    return url


def _links_to(sources: Iterable[Source], *, without: str | None) -> Markdown:
    return joined(
        ", ",
        (
            link(web_page(one.url), _label(one.url, one.file))
            for one in sources
            if one.url != without
        ),
    )


def _label(url: str, file: str) -> Markdown:
    """The label of a source's file."""
    if url.startswith("gdrive-folder"):
        return text("a folder of Google Drive")
    on_hub = hub_file(url)
    return code(f"{on_hub[0]}/{on_hub[2]}" if on_hub else file)


def _moves(plan: RecordedPlan, specs: Mapping[str, TensorSpec]) -> Iterator[Pair]:
    """Every move of a plan.

    Raises:
        ConfigError: one is malformed.
    """
    for target in plan.moves:
        sources: list[str] = []
        notes: list[str] = []
        for piece in plan.pieces(target):
            match piece:
                case str():
                    sources.append(piece)
                case TakenRows(key=key, rows=rows):
                    sources.append(key)
                    notes.append(_rows_taken(rows, specs.get(key)))
                case ComputedTensor(op=name, of=of, args=parameters):
                    sources += of
                    notes.append(f"{_COMPUTED}{_operation(name, parameters)}")
                case FreshRows(fresh=count, seed=seed):
                    notes.append(f"{count} fresh rows, seed {seed}")
        yield Pair(tuple(sources), target, ", ".join(dict.fromkeys(notes)))


_COMPUTED = "computed: "


def _operation(name: str, parameters: Mapping[Any, Any]) -> str:
    """An operation with its parameters. The shape is left out, because the result shows it."""
    shown = ", ".join(
        f"{parameter} {value}"
        for parameter, value in sorted(parameters.items())
        if parameter != "shape"
    )
    return f"{name} ({shown})" if shown else name


def _rows_taken(rows: Sequence[tuple[int, int]], spec: TensorSpec | None) -> str:
    runs = [f"{start}..{stop - 1}" if stop - start > 1 else str(start) for start, stop in rows]
    return f"rows {', '.join(runs)}{f' of {spec.shape[0]}' if spec and spec.shape else ''}"


def _dropped(plan: RecordedPlan) -> Iterator[tuple[str, Markdown, int]]:
    """(reason, folded keys, number of keys) of dropped tensors, up to a card's limit."""
    by_reason: dict[str, list[str]] = {}
    for key, reason in plan.dropped.items():
        by_reason.setdefault(clean(reason), []).append(key)
    for reason, keys in sorted(by_reason.items())[:_MOST_PATTERNS]:
        yield reason, _codes(one.target for one in fold_keys(keys)), len(keys)


def _ties(plan: RecordedPlan) -> Iterator[Pair]:
    for alias, stored in plan.ties.items():
        yield Pair((clean(stored),), alias)


def _rows(patterns: Iterable[Pattern]) -> list[tuple[Markdown, str, str, int]]:
    """(sources, target, note, tensors) of patterns, up to a card's limit."""
    return [
        (_sum(one.sources) or md("new"), one.target, one.note, one.tensors)
        for one in itertools.islice(patterns, _MOST_PATTERNS)
    ]


def _sum(keys: Sequence[str]) -> Markdown:
    shown = [code(key) for key in keys[:_MOST_PIECES]]
    more = len(keys) - _MOST_PIECES
    return joined(" + ", [*shown, f"{more} more"] if more > 0 else shown)


def _codes(keys: Iterable[str]) -> Markdown:
    shown = [code(key) for key in keys]
    more = len(shown) - _MOST_PATTERNS
    codes = joined(", ", shown[:_MOST_PATTERNS])
    return md("{codes} and {more} more", codes=codes, more=more) if more > 0 else codes


def _links(pages: Iterable[str]) -> Markdown:
    return joined(", ", map(link, dict.fromkeys(pages)))


def _pages(entry: CatalogueEntry | None) -> list[Markdown]:
    """Paper and code of the original."""
    found = {"Paper": entry.paper, "Code": entry.homepage} if entry else {}
    return [
        md("{name}: {page}", name=name, page=link(page)) for name, page in found.items() if page
    ]


def _differences(config: RepositoryConfig, facts: Mapping[str, Any]) -> list[str]:
    """How the detrex model computes differently from the original, for any mapping."""
    if not config.hyper_parameters:
        # an entry of the catalogue that leaves them to the file's shapes
        return []
    kind = architecture(config.architecture)
    fields = kind.__struct_fields__
    # an entry of the catalogue leaves to its facts what shapes cannot show
    said = {name: value for name, value in facts.items() if name in fields}
    return [*kind.from_hyper_parameters({**said, **config.hyper_parameters}).differences()]
