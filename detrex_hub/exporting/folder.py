"""A folder that transformers or timm opens: weights, config, image processor and card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detrex_hub.architectures.base import Architecture
from detrex_hub.architectures.declared import as_options
from detrex_hub.architectures.detector import Detector
from detrex_hub.architectures.foreign_models import TimmModel, TransformersModel
from detrex_hub.architectures.transformers_layout import LAYOUTS as TRANSFORMERS
from detrex_hub.errors import ArchitectureError, UsageError
from detrex_hub.exporting.labels import Labels, labels_of
from detrex_hub.exporting.result import Exported
from detrex_hub.exporting.source import Source
from detrex_hub.exporting.weights import write_weights
from detrex_hub.records import CARD, CONFIG, WEIGHTS, dump_json
from detrex_hub.staging import publish_files, staging_folder

if TYPE_CHECKING:
    from detrex_hub.progress import Progress

SOFTWARE = (*TRANSFORMERS, "timm")
"""What an export writes a folder for."""
PROCESSOR = "preprocessor_config.json"
FILES = (CONFIG, PROCESSOR, WEIGHTS["safetensors"], CARD)

# of detrex's configs for evaluation, in pixels
_SHORTEST, _LONGEST = 800, 1333
# PIL's number of bilinear resampling
_BILINEAR = 2


def write_folder(
    source: Source,
    software: str,
    target: Path,
    *,
    class_names: Sequence[str] | None,
    progress: Progress | None,
) -> Exported:
    """Write a folder that transformers or timm opens. Arguments and errors are those of `export`.

    Args:
        software: one of `SOFTWARE`.
    """
    _check_target(target)
    made, assumed = source.architecture.as_stored(), dict(source.assumed)
    labels = None
    if isinstance(made, Detector):
        made, released = made.as_released()
        assumed |= released
        named = source.architecture
        assert isinstance(named, Detector)
        trained = source.facts.get("class_names") or source.facts.get("source_classes")
        labels = labels_of(named, given=class_names, recorded=trained)
    elif class_names is not None:
        raise UsageError(f"{source.name} is a backbone, which has no classes")
    layout = made.written_as.get(software, software)
    documents, notes = _described(source, made, software, layout, labels)
    with staging_folder(target.absolute(), option="-o") as staging:
        staged = staging / WEIGHTS["safetensors"]
        written = write_weights(source, made, layout, staged, "safetensors", progress=progress)
        for name, document in documents.items():
            (staging / name).write_text(dump_json(document), encoding="utf-8", newline="\n")
        publish_files(staging, target.absolute())
    return Exported(
        path=target,
        sha256=written.sha256,
        size=written.size,
        architecture=made,
        layout=layout,
        plan=written.plan,
        absent=source.absent,
        synthetic=source.synthetic,
        labels=labels,
        assumed=assumed,
        notes=(*_notes(labels, assumed), *notes),
    )


def _described(
    source: Source, made: Architecture, software: str, layout: str, labels: Labels | None
) -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    """The documents beside the weights by file name, and what a user should know of the model."""
    if software == "timm":
        in_timm = made.in_timm()
        notes = _initialised("timm", in_timm.initialised)
        return {CONFIG: timm_config_of(in_timm, source.preprocessing)}, notes
    model = made.in_transformers(software, source.preprocessing)
    documents = {
        CONFIG: config_of(model, labels),
        PROCESSOR: processor_of(model, source.preprocessing),
    }
    notes = _initialised("transformers", model.initialised)
    return documents, (*notes, *model.differences)


def _initialised(software: str, what: str | None) -> tuple[str, ...]:
    return () if what is None else (f"{software} initialises {what}",)


def config_of(model: TransformersModel, labels: Labels | None) -> dict[str, Any]:
    """The content of ``config.json``."""
    config = dict(model.config)
    if labels is not None:
        config["id2label"] = {str(row): name for row, name in enumerate(labels.names)}
        config["label2id"] = {name: row for row, name in enumerate(labels.names)}
    return config


def timm_config_of(model: TimmModel, preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """The content of timm's ``config.json``, for ``timm.create_model("local-dir:...")``.

    Args:
        model: the model.
        preprocessing: of the detrex model; mean and std in 0..255.

    Raises:
        ArchitectureError: the weights read BGR images.
    """
    _check_images(preprocessing, "timm")
    return {
        "architecture": model.architecture,
        "num_classes": 0,
        "model_args": dict(model.model_args),
        "pretrained_cfg": {
            "mean": [_unit(value) for value in preprocessing["pixel_mean"]],
            "std": [_unit(value) for value in preprocessing["pixel_std"]],
            "interpolation": "bilinear",
            "num_classes": 0,
        },
    }


def processor_of(model: TransformersModel, preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """The content of ``preprocessor_config.json``, without which no pipeline starts.

    Args:
        model: the model.
        preprocessing: of the detrex model; mean and std in 0..255.

    Raises:
        ArchitectureError: the weights read BGR images, and image processors give RGB ones.
    """
    _check_images(preprocessing, "transformers")
    if model.task is None:
        # a backbone reads images of any size
        sizes: dict[str, Any] = {"do_resize": False}
    else:
        sizes = {
            "format": "coco_detection",
            "do_resize": True,
            "size": {"shortest_edge": _SHORTEST, "longest_edge": _LONGEST},
            "resample": _BILINEAR,
            "do_pad": True,
        }
    return {
        "image_processor_type": model.image_processor,
        **sizes,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [_unit(value) for value in preprocessing["pixel_mean"]],
        "image_std": [_unit(value) for value in preprocessing["pixel_std"]],
    }


def _check_images(preprocessing: Mapping[str, Any], software: str) -> None:
    """
    Raises:
        ArchitectureError: the weights read BGR images, and other software gives RGB ones.
    """
    if preprocessing["image_format"] != "RGB":
        raise ArchitectureError(
            f"the weights read BGR images, and the image processors of {software} give RGB ones",
            hint="Use the weights in detrex, with from_hub",
        )


def _unit(value: float) -> float:
    """A number of 0..255 in 0..1, without the noise of the division."""
    return float(f"{value / 255:.10g}")


def _notes(labels: Labels | None, assumed: Mapping[str, Any]) -> list[str]:
    notes = []
    if assumed:
        notes.append(
            f"Assumed, since nothing states it: {as_options(assumed)}. Set what is otherwise with "
            "--fact"
        )
    if labels is not None and not labels.known:
        names = f"{labels.names[0]} … {labels.names[-1]}"
        notes.append(
            f"Assumed names of the {len(labels.names)} classes: {labels.origin} ({names}). Give "
            "them with --classes-from FILE"
        )
    return notes


def _check_target(target: Path) -> None:
    """
    Raises:
        UsageError: the target holds what an export would delete.
    """
    if not target.exists():
        return
    if not target.is_dir() or any(path.name not in FILES for path in target.iterdir()):
        raise UsageError(
            f"{target} exists and is not an exported folder", hint="Choose another place with -o"
        )
