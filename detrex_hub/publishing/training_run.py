"""Prepare the output of a detrex training run for a push: checkpoint, config and metrics.

The config states facts that no shape shows, and must fit the weights.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from detrex_hub.architectures.base import Architecture
from detrex_hub.catalogue import CatalogueEntry
from detrex_hub.catalogue.entry import Metric
from detrex_hub.configs import nodes, placing, settings
from detrex_hub.configs.interpolation import readable
from detrex_hub.configs.lazy import has_detectron2, load_config
from detrex_hub.conversion import Conversion, prepare
from detrex_hub.errors import (
    ArchitectureError,
    ConfigError,
    DetrexHubError,
    UsageError,
    refuse_special,
)
from detrex_hub.originals.conversion_options import ConversionOptions
from detrex_hub.publishing.evaluations import evaluation_of
from detrex_hub.repositories import names

_DATASETS = {"coco_2017_val": "COCO val2017", "lvis_v1_val": "LVIS v1 val"}


_NO_ACCURACY = (
    "the card states no accuracy, because metrics.json has no evaluation of these weights. If the "
    "averaged weights were evaluated, push them with --ema"
)


class TrainingRun(Struct, frozen=True, kw_only=True):
    """The files and options that describe a training run.

    Attributes:
        config: the config that it was trained with: a ``.py`` where detectron2 is installed to run
            it, or the ``config.yaml`` that training wrote.
        metrics: the ``metrics.json`` of the run, for the accuracy on the card.
        ema: take the averaged weights.
        facts: facts that no shape shows. They override the config.
        metrics_found: whether the metrics were found beside the checkpoint instead of given. If
            they
            do not belong to the weights, the card has no accuracy.
    """

    config: Path | None = None
    metrics: Path | None = None
    ema: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    metrics_found: bool = False


CONFIG, METRICS = "config.yaml", "metrics.json"
"""The files that detrex's training writes beside its checkpoints (tools/train_net.py, e244e6c)."""


def is_output(folder: Path) -> bool:
    """Whether a folder is the output of a training run."""
    return (folder / "last_checkpoint").is_file() or (folder / CONFIG).is_file()


def beside(folder: Path, run: TrainingRun) -> TrainingRun:
    """The run with the config and the metrics from its output folder, unless others are given.

    Raises:
        UsageError: there is no config.
    """
    config, metrics = run.config or folder / CONFIG, run.metrics
    if not config.is_file():
        refuse_special(config)
        raise UsageError(
            f"{config} does not exist, so it is not known how the weights in {folder} were trained",
            hint="Give their config with --config. Without one, convert them, and push the result: "
            f"detrex-hub convert {shlex.quote(os.fspath(folder))}",
        )
    found = metrics is None and (folder / METRICS).is_file()
    return replace(
        run,
        config=config,
        metrics=folder / METRICS if found else metrics,
        metrics_found=found,
    )


@contextmanager
def prepared(
    checkpoint: str | os.PathLike[str],
    run: TrainingRun,
    *,
    name: str | None = None,
    license: str | None = None,
    extra_catalogues: Sequence[Path] = (),
) -> Iterator[Conversion]:
    """The weights of a training run, planned and proven, with the data of config and metrics.

    Args:
        checkpoint: a file of `DetectionCheckpointer`, such as ``output/model_final.pth``.
        run: its config, metrics and facts.
        name: of the weights; the config's name where none is given.
        license: the licence of the weights, an identifier of the Hub.
        extra_catalogues: catalogue files in addition to the built-in ones.

    Raises:
        UsageError: there is no config, it needs detectron2, the weights need a name, or the
            metrics belong to other weights.
        ConfigError: the config cannot be read, or belongs to other weights.
        DetrexHubError: as `prepare`.
    """
    config = _config_of(checkpoint, run, name)
    conversion = ConversionOptions(
        ema=run.ema, facts=run.facts, extra_catalogues=tuple(extra_catalogues)
    )
    cfg = load_config(config)
    with readable(os.fspath(checkpoint)):
        if not hasattr(cfg.get("model"), "keys"):
            raise ConfigError(f"{config} is not a config: it has no model")
        made = _without_config(checkpoint, cfg, conversion)
        informed = replace(
            conversion,
            # if no class decides, the card says that the keys fit several architectures
            architecture=made.name if placing.detectors_of(cfg.model) else None,
            facts={**_facts(cfg, made), **conversion.facts},
        )
    named = name or config.stem
    with prepare(checkpoint, informed) as planned:
        _check_config(planned, cfg, config)
        iteration = planned.checkpoint.metadata.get("iteration")
        measured: tuple[Metric, ...] = ()
        notes = planned.notes
        try:
            measured = _measured(run, cfg, iteration, os.fspath(checkpoint))
        except DetrexHubError:
            if not run.metrics_found:
                raise
            notes = (*notes, _NO_ACCURACY)
        entry = CatalogueEntry(
            name=named,
            family="",
            architecture=planned.architecture.name,
            title=named,
            summary=_summary(iteration, ema=run.ema),
            sources=(),
            license=license,
            metrics=measured,
        )
        yield replace(planned, name=named, entry=entry, notes=notes)


def _config_of(checkpoint: str | os.PathLike[str], run: TrainingRun, name: str | None) -> Path:
    """The config of a run.

    Raises:
        UsageError: there is none, it needs detectron2, or the weights need a name.
    """
    path, quoted = run.config, shlex.quote(os.fspath(checkpoint))
    if path is None:
        raise UsageError(
            f"{os.fspath(checkpoint)} is a checkpoint, and it is not known how it was trained",
            hint="Give its config with --config. Without one, convert it, and push the result: "
            f"detrex-hub convert {quoted}",
        )
    if name is None and path.stem == "config":
        raise UsageError(
            f"no name for the weights follows from {path}",
            hint=f"Name them: detrex-hub push {quoted} {_suggested_name(checkpoint)} "
            f"--config {shlex.quote(os.fspath(path))}",
        )
    if path.suffix == ".py" and path.is_file() and not has_detectron2():
        raise UsageError(
            f"{path} is a Python config, which needs detectron2; it is not installed here",
            hint="Give the config.yaml that training wrote beside the checkpoint",
        )
    return path


def _suggested_name(checkpoint: str | os.PathLike[str]) -> str:
    """The name of the output folder, if the Hub allows it."""
    name = Path(checkpoint).resolve().parent.name
    return name if names.is_repo_id(f"owner/{name}") else "my_model"


def _without_config(
    checkpoint: str | os.PathLike[str], cfg: Any, conversion: ConversionOptions
) -> Architecture:
    """The architecture of trained weights, before the config's values are known. The class of the
    config's model decides it. If that class is unknown, the keys of the weights do.

    Raises:
        ConfigError: the model is of another class than the weights belong to.
    """
    classes = placing.detectors_of(cfg.model)
    named = classes[0].name if classes else None
    try:
        with prepare(checkpoint, replace(conversion, architecture=named)) as found:
            made = found.architecture
    except ArchitectureError as error:
        if classes or not nodes.lineage_of(cfg.model):
            raise
        raise ConfigError(
            f"{error.message}; the config's model has no known architecture: "
            f"{nodes.described(cfg.model)}"
        ) from None
    placing.check_model(type(made), cfg.model, os.fspath(checkpoint))
    placing.check_inside(type(made), made.hyper_parameters(), cfg.model, os.fspath(checkpoint))
    return made


def _summary(iteration: Any, *, ema: bool) -> str:
    trained = f" for {iteration + 1} iterations" if type(iteration) is int else ""
    return f"Trained with detrex{trained}.{' The averaged weights (EMA).' if ema else ''}"


def _facts(cfg: Any, made: Architecture) -> dict[str, Any]:
    """The facts of the weights that a config states. Each fact has several possible paths; the
    first path that is present counts."""
    found = {}
    for name, fact in made.declared_facts().items():
        values = [value for path in fact.config if (value := _at(cfg, path)) is not None]
        if values:
            found[name] = values[0]
    number = made.hyper_parameters().get("num_classes")
    names = _registered_classes(cfg)
    if "source_classes" in made.declared_facts() and len(names) == number:
        found["source_classes"] = names
    return found


def _registered_classes(cfg: Any) -> list[str]:
    """The class names of the training dataset, if it is registered in detectron2 in this process;
    otherwise none."""
    if not has_detectron2():
        return []
    from detectron2.data import MetadataCatalog

    for part in ("train", "test"):
        names = _at(cfg, f"dataloader.{part}.dataset.names")
        name = names if isinstance(names, str) else names[0] if names else None
        # detectron2's catalogue would create an empty entry for an unknown name
        if isinstance(name, str) and name in MetadataCatalog:
            found = getattr(MetadataCatalog.get(name), "thing_classes", None)
            if isinstance(found, list) and found and all(isinstance(one, str) for one in found):
                return found
    return []


def _at(cfg: Any, path: str) -> Any:
    """A plain value of a config; None if it has none at this path."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        value = OmegaConf.select(cfg, path)
    except OmegaConfBaseException:
        return None
    if OmegaConf.is_list(value):
        value = OmegaConf.to_container(value, resolve=True)
    return value if isinstance(value, str | int | float | bool | list) else None


def _check_config(planned: Conversion, cfg: Any, path: Path) -> None:
    """
    Raises:
        ConfigError: the config contradicts the weights, so it did not train them.
    """
    changes = settings.plan_changes(
        planned.overrides,
        model=cfg.get("model"),
        dataloader=cfg.get("dataloader"),
        where=planned.provenance.file,
    )
    differing = [change for change in changes if change.before is not None]
    if differing:
        says = "; ".join(
            f"{one.path} is {one.before}, but they need {one.wanted}" for one in differing
        )
        raise ConfigError(
            f"{path} is not the config of the weights in {planned.provenance.file}: {says}",
            hint="Give the config.yaml that training wrote beside the checkpoint",
        )


def _measured(run: TrainingRun, cfg: Any, iteration: Any, checkpoint: str) -> tuple[Metric, ...]:
    """The accuracy of a checkpoint; empty if the run has no metrics.

    Raises:
        UsageError: the metrics are those of other weights.
        DetrexHubError: they cannot be read, or have no evaluation of this checkpoint.
    """
    if run.metrics is None:
        return ()
    _check_averaging(cfg, run.metrics, ema=run.ema)
    evaluation = evaluation_of(run.metrics, iteration, checkpoint)
    return tuple(evaluation.metrics(_dataset(cfg)))


def _check_averaging(cfg: Any, metrics: str | os.PathLike[str], *, ema: bool) -> None:
    # detrex evaluates both, and the figures of the averaged weights overwrite the plain ones
    # (do_test in tools/train_net.py, e244e6c)
    averaging = _at(cfg, "train.model_ema.enabled") is True
    if averaging and not ema:
        raise UsageError(
            f"the figures in {os.fspath(metrics)} are for the averaged weights, since the "
            "config sets train.model_ema.enabled",
            hint="Publish these with --ema, or leave --metrics out",
        )
    if ema and not averaging:
        raise UsageError(
            f"the figures in {os.fspath(metrics)} are not for the averaged weights, since the "
            "config does not set train.model_ema.enabled",
            hint="Leave --ema out, or --metrics",
        )


def _dataset(cfg: Any) -> str:
    names = _at(cfg, "dataloader.test.dataset.names")
    name = names if isinstance(names, str) else names[0] if names else "the config's test set"
    return _DATASETS.get(name, str(name))
