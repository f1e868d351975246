"""The description of a model in folders for transformers and timm.

Fields and their effects were measured with transformers 4.57.1 and 5.24.0. A config in the old
style names timm's backbone and opens in both: 4.57 refuses a `timm_backbone` as backbone_config.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from detrex_hub.architectures.declared import IMAGE_FACTS
from detrex_hub.errors import ArchitectureError

if TYPE_CHECKING:
    from detrex_hub.architectures.base import Architecture


class TransformersModel(Struct, frozen=True, kw_only=True):
    """The description of a model of transformers, without its weights and class names.

    Args:
        config: the fields of its ``config.json``.
        image_processor: the class that prepares images for it.
        opened_by: the auto class that opens the folder.
        task: of a pipeline; None for a backbone.
        needs: packages that it needs in addition to transformers.
        differences: what it computes differently from the detrex model, one sentence or more each.
        initialised: the tensors that transformers initialises itself, for users; None if there are
            none.
    """

    config: Mapping[str, Any]
    image_processor: str
    opened_by: str = "AutoModelForObjectDetection"
    task: str | None = "object-detection"
    needs: tuple[str, ...] = ("torch",)
    differences: tuple[str, ...] = ()
    initialised: str | None = None

    @property
    def name(self) -> str:
        """The name in transformers."""
        return str(self.config["model_type"])

    def snippet(self, folder: str) -> str:
        """The lines that open an export.

        Args:
            folder: its path, or the name of its repository.
        """
        if self.task is not None:
            return (
                "from transformers import pipeline\n\n"
                f'detect = pipeline("{self.task}", model="{folder}")\n'
                'detect("image.jpg")'
            )
        name = self.opened_by
        return f'from transformers import {name}\n\nbackbone = {name}.from_pretrained("{folder}")'


def needs(layout: str) -> tuple[str, ...]:
    """The packages that a detector in a layout needs in addition to transformers."""
    return ("torch",) if layout == "transformers_no_timm" else ("torch", "timm")


class TimmModel(Struct, frozen=True, kw_only=True):
    """The description of a model of timm, without its weights.

    Args:
        architecture: timm's name of the model.
        model_args: its arguments.
        initialised: the tensors that timm initialises itself, for users; None if there are none.
    """

    architecture: str
    model_args: Mapping[str, Any]
    initialised: str | None = None

    @property
    def name(self) -> str:
        """The name in timm."""
        return self.architecture

    @property
    def differences(self) -> tuple[str, ...]:
        """No difference is known."""
        return ()

    def snippet(self, folder: str) -> str:
        """The lines that open an export.

        Args:
            folder: its path, or the name of its repository.
        """
        place = "local-dir" if folder.startswith((".", "/", "~")) else "hf-hub"
        return (
            "import timm\n\n"
            f'model = timm.create_model("{place}:{folder}", pretrained=True, features_only=True)'
        )


def check_positions(
    name: str,
    grid: Sequence[int] | None,
    *,
    temperature: float | None = None,
    offset: float | None = None,
    fixed_temperature: float | None = None,
    fixed_offset: float,
) -> None:
    """Refuse position embeddings that transformers' model cannot have.

    Args:
        name: of the architecture.
        grid: of learned embeddings, None for sine ones.
        temperature, offset: of sine ones.
        fixed_temperature: that of transformers' model; None if its config takes any value.
        fixed_offset: the same of the offset.

    Raises:
        ArchitectureError: it names them, and the nearest possible ones.
    """
    if grid is not None:
        raise ArchitectureError(
            f"this {name} has learned position embeddings, whose names differ between "
            "transformers 4.57 and 5, so one folder cannot open in both",
            hint="Write the original's layout instead: --to original",
        )
    wrong = []
    if fixed_temperature is not None and temperature != fixed_temperature:
        wrong.append(f"temperature {temperature} instead of {fixed_temperature}")
    if offset != fixed_offset:
        wrong.append(f"offset {offset} instead of {fixed_offset}")
    if wrong:
        raise ArchitectureError(
            f"transformers' {name} has different position embeddings, and no field for them: "
            + ", ".join(wrong),
            hint="Write the original's layout instead: --to original",
        )


def backbone(
    model_type: str, fields: Mapping[str, Any], *, name: str, initialised: str | None = None
) -> TransformersModel:
    """A backbone of transformers.

    Args:
        model_type: transformers' name of the model.
        fields: of its config.
        name: the class of the backbone.
        initialised: as for `TransformersModel`.
    """
    return TransformersModel(
        config={"model_type": model_type, "architectures": [name], **fields},
        image_processor="ViTImageProcessor",
        # AutoBackbone of 5.24 cannot open a local folder
        opened_by=name,
        task=None,
        initialised=initialised,
    )


def for_transformers(
    made: Architecture, layout: str, preprocessing: Mapping[str, Any]
) -> TransformersModel:
    """The model of transformers that reads an export of weights.

    Args:
        made: the architecture.
        layout: one of transformers'.
        preprocessing: of the detrex model.

    Raises:
        ArchitectureError: transformers has no such model, or reads no such images.
    """
    check_images(preprocessing, "transformers")
    whole, _ = made.as_stored().as_released()
    return whole.in_transformers(layout, preprocessing)


def check_images(preprocessing: Mapping[str, Any], software: str) -> None:
    """
    Raises:
        ArchitectureError: the weights read BGR images, and other software provides RGB ones; or
            the record has no valid image settings.
    """
    wrong = [n for n in IMAGE_FACTS if not IMAGE_FACTS[n].kind.accepts(preprocessing.get(n))]
    if wrong:
        # a stranger's record
        raise ArchitectureError(f"the record of the weights has no valid {', '.join(wrong)}")
    if preprocessing["image_format"] != "RGB":
        raise ArchitectureError(
            f"the weights need BGR images, but the image processors of {software} give RGB",
            hint="Use the weights in detrex, with from_hub",
        )
