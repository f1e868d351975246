"""A folder that transformers or timm opens: weights, config, image processor and card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from detrex_hub.architectures.base import Architecture
from detrex_hub.architectures.declared import as_options
from detrex_hub.architectures.detector import Detector
from detrex_hub.architectures.foreign_models import TimmModel, TransformersModel, check_images
from detrex_hub.architectures.transformers_layout import LAYOUTS as TRANSFORMERS
from detrex_hub.errors import UsageError
from detrex_hub.exporting import folder_card
from detrex_hub.exporting.export_source import ExportSource
from detrex_hub.exporting.exported import Exported
from detrex_hub.exporting.labels import Labels, labels_of
from detrex_hub.exporting.weights import write_weights
from detrex_hub.records import CARD, CONFIG, WEIGHTS, read_bytes
from detrex_hub.staging import publish_files, staging_folder
from detrex_hub.strict_json import dump_json

if TYPE_CHECKING:
    from detrex_hub.progress import Progress

SOFTWARE = (*TRANSFORMERS, "timm")
"""The software that an export writes a folder for."""
PROCESSOR = "preprocessor_config.json"
FILES = (CONFIG, PROCESSOR, WEIGHTS["safetensors"], CARD)

# the image sizes of detrex's configs for evaluation, in pixels
_SHORTEST, _LONGEST = 800, 1333
# PIL's number for bilinear resampling
_BILINEAR = 2


class Described(Struct, frozen=True, kw_only=True):
    """The content of an exported folder, except the weights.

    Args:
        source: the weights.
        software: one of `SOFTWARE`.
        made: the architecture in the exported layout.
        model: the model of the software.
        labels: names of the classes; None for a backbone.
        assumed: facts that nothing states, with the assumed values.
    """

    source: ExportSource
    software: str
    made: Architecture
    model: TransformersModel | TimmModel
    labels: Labels | None
    assumed: Mapping[str, Any]

    @property
    def layout(self) -> str:
        """The layout of the keys."""
        return self.made.written_as.get(self.software, self.software)

    def documents(self) -> dict[str, dict[str, Any]]:
        """The JSON documents by file name."""
        images = self.source.preprocessing
        if isinstance(self.model, TimmModel):
            return {CONFIG: timm_config_of(self.model, images)}
        return {
            CONFIG: config_of(self.model, self.labels),
            PROCESSOR: processor_of(self.model, images),
        }

    def notes(self) -> tuple[str, ...]:
        """Remarks for the user, one line each."""
        notes = []
        if self.assumed:
            notes.append(
                f"Assumed, because no file states it: {as_options(self.assumed)}. Set "
                "other values with --fact"
            )
        if self.labels is not None and not self.labels.known:
            names = self.labels.names
            notes.append(
                f"Assumed names of the {len(names)} classes: {self.labels.origin} ({names[0]} … "
                f"{names[-1]}). Give them with --classes-from FILE"
            )
        return (*notes, *self._differences())

    def card(self, place: str, license: str | None) -> str:
        """The card.

        Args:
            place: the folder's path or its repository, for the card's commands.
            license: an identifier of the Hub; None if it is unknown.
        """
        task: str | None = None
        packages: tuple[str, ...] = ("timm",)
        if isinstance(self.model, TransformersModel):
            task, packages = self.model.task, ("transformers", *self.model.needs)
        return folder_card.render(
            self.source,
            software=self.software,
            architecture=self.model.name,
            task=task,
            snippet=self.model.snippet(place),
            packages=packages,
            differences=(*self._differences(), *(folder_card.PIPELINE_DIFFERENCES if task else ())),
            classes=self._classes(),
            assumed=dict(self.assumed),
            license=license,
        )

    def _classes(self) -> str | None:
        if self.labels is None:
            return None
        assumed = "" if self.labels.known else ", assumed"
        return f"{len(self.labels.names)} ({self.labels.origin}{assumed})"

    def _differences(self) -> tuple[str, ...]:
        library = "timm" if self.software == "timm" else "transformers"
        found = self.model.initialised
        own = () if found is None else (f"{library} initialises {found}.",)
        return (*own, *self.model.differences)


def describe_export(
    source: ExportSource, software: str, class_names: Sequence[str] | None
) -> Described:
    """Describe weights as an export does. Arguments and errors are those of `export`."""
    made, released = source.architecture.as_stored().as_released()
    labels = None
    if isinstance(source.architecture, Detector):
        trained = source.facts.get("class_names") or source.facts.get("source_classes")
        labels = labels_of(source.architecture, given=class_names, recorded=trained)
    elif class_names is not None:
        raise UsageError(f"{source.name} is a backbone, which has no classes")
    model: TransformersModel | TimmModel
    if software == "timm":
        check_images(source.preprocessing, "timm")
        model = made.in_timm()
    else:
        check_images(source.preprocessing, "transformers")
        model = made.in_transformers(software, source.preprocessing)
    return Described(
        source=source,
        software=software,
        made=made,
        model=model,
        labels=labels,
        assumed={**source.assumed, **released},
    )


def write_folder(
    described: Described, target: Path, *, license: str | None, progress: Progress | None
) -> Exported:
    """Write a folder that transformers or timm opens. Errors are those of `export`.

    Args:
        described: the weights and the other files.
        target: the folder.
        license: the licence in the card; None if it is unknown.
        progress: reports copying.
    """
    _check_target(target)
    source, layout = described.source, described.layout
    documents = {name: dump_json(one) for name, one in described.documents().items()}
    documents[CARD] = described.card(_shown(target), license)
    with staging_folder(target.absolute(), option="-o") as staging:
        staged = staging / WEIGHTS["safetensors"]
        written = write_weights(
            source, described.made, layout, staged, "safetensors", progress=progress
        )
        for name, text in documents.items():
            (staging / name).write_text(text, encoding="utf-8", newline="\n")
        publish_files(staging, target.absolute())
    return Exported(
        path=target,
        sha256=written.sha256,
        size=written.size,
        architecture=described.made,
        layout=layout,
        plan=written.plan,
        absent=source.absent,
        synthetic=source.synthetic,
        labels=described.labels,
        assumed=described.assumed,
        notes=described.notes(),
    )


def _shown(target: Path) -> str:
    """The path of the folder in a card. It does not depend on the folder's place."""
    return f"./{target.name}"


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
    """
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
    """The content of ``preprocessor_config.json``, which every pipeline needs.

    Args:
        model: the model.
        preprocessing: of the detrex model; mean and std in 0..255.
    """
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


def _unit(value: float) -> float:
    """A number in 0..255 as one in 0..1, without the rounding error of the division."""
    return float(f"{value / 255:.10g}")


def _check_target(target: Path) -> None:
    """
    Raises:
        UsageError: the target holds files that an export would delete.
    """
    if not target.exists():
        return
    if not target.is_dir() or not _replaceable(target):
        raise UsageError(
            f"{target} exists and is not an exported folder",
            choices=[f"-o {quote(f'{target.name}_exported')}"],
        )


def _replaceable(folder: Path) -> bool:
    """Whether a folder is empty, or has the card of an export and no other files than it writes.

    Repositories of other projects have files with the same names.
    """
    names = {path.name for path in folder.iterdir()}
    if not names:
        return True
    if CARD not in names or not names <= {*FILES}:
        return False
    return b"detrex-hub export " in read_bytes(folder / CARD)
