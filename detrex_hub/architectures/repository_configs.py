"""The facts that a repository of transformers or timm states about its weights.

A checkpoint's metadata holds its ``config.json`` and ``preprocessor_config.json`` under their
names.
They are untrusted: values of an unexpected kind are ignored. A setting that changes the model and
that detrex does not have is refused.

Sources: transformers 4.57.1 and 5.24.0, ``configuration_*.py`` of the models named below and
``image_processing_*.py``; timm 1.0.20, ``models/_hub.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detrex_hub import kinds
from detrex_hub.errors import ArchitectureError

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"

# transformers' ``model_type``
_PLAIN_VITS = ("vit", "vit_mae", "dinov2", "dinov2_with_registers")

# values in a list of a record
_MOST_CLASSES = 1000
_BYTES = 255.0
# 0.485 * 255 and the like, without the last digits of a product
_DIGITS = 6

# timm's ResNets have the stride in the 3x3 convolution: timm/models/resnet.py, ``Bottleneck``
_TIMM_RESNET = {"stride_in_1x1": False}

# The defaults of transformers, which are fixed in detrex. With another value the model computes
# something that detrex has no setting for.
_ALWAYS: Mapping[str, Mapping[str, Any]] = {
    "detr": {"activation_function": "relu", "auxiliary_loss": False},
    "conditional_detr": {"activation_function": "relu", "auxiliary_loss": False},
    "deformable_detr": {"activation_function": "relu"},
    "dab-detr": {
        "activation_function": "prelu",
        "normalize_before": False,
        "keep_query_pos": False,
    },
}


def stated(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Every fact that a repository states. Not every architecture has all of them.

    Args:
        metadata: the plain values beside the weights in a checkpoint.

    Raises:
        ArchitectureError: the model computes something that detrex has no setting for.
    """
    config = _config_of(metadata)
    # the backbone of a detector may be taken alone
    return {
        **_body(config),
        **_images(metadata, config),
        **_detector(config),
        **_backbone(config),
    }


def _config_of(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """A repository's ``config.json``; empty where there is none."""
    found = metadata.get(CONFIG)
    return found if isinstance(found, Mapping) else {}


def _images(metadata: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of the images, if the repository states them: format, mean and std (0..255)."""
    found = metadata.get(PREPROCESSOR)
    if isinstance(found, Mapping):
        return _of_processor(found)
    trained = config.get("pretrained_cfg")
    if isinstance(trained, Mapping):
        return _in_bytes(trained.get("mean"), trained.get("std"), 1 / _BYTES, flipped=False)
    return {}


def _of_processor(processor: Mapping[str, Any]) -> dict[str, Any]:
    """transformers' image processors first scale the image and then normalise it."""
    scale = processor.get("rescale_factor", 1 / _BYTES)
    if processor.get("do_rescale", True) is False:
        scale = 1.0
    mean, std = processor.get("image_mean"), processor.get("image_std")
    if processor.get("do_normalize", True) is False:
        mean, std = [0.0] * 3, [1.0] * 3
    return _in_bytes(mean, std, scale, flipped=processor.get("do_flip_channel_order") is True)


def _in_bytes(mean: Any, std: Any, scale: Any, *, flipped: bool) -> dict[str, Any]:
    if not kinds.Number(positive=True).accepts(scale):
        return {}
    found: dict[str, Any] = {}
    for name, values, kind in (
        ("pixel_mean", mean, kinds.THREE_CHANNELS),
        ("pixel_std", std, kinds.THREE_DEVIATIONS),
    ):
        values = list(values) if isinstance(values, list | tuple) else values
        if kind.accepts(values):
            found[name] = [round(float(value) / scale, _DIGITS) for value in values]
    return {"image_format": "BGR" if flipped else "RGB", **found} if found else {}


def _detector(config: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of a detector of transformers; none where the config is of no such model.

    Raises:
        ArchitectureError: the model computes something that detrex has no setting for.
    """
    kind = str(config.get("model_type"))
    if kind not in _ALWAYS:
        return {}
    for name, value in _ALWAYS[kind].items():
        if config.get(name, value) != value:
            raise ArchitectureError(
                f"{CONFIG} says {name} {config[name]!r}, but detrex's model has no setting for it: "
                f"it computes as with {value!r}",
                hint="Train in detrex from a model with the usual setting",
            )
    found = {
        "dilation": _dilation(config),
        "num_heads": _same(config, "encoder_attention_heads", "decoder_attention_heads", 8),
        "position_temperature": 10000,
        "position_offset": -0.5 if kind == "deformable_detr" else 0.0,
    }
    if kind == "dab-detr":
        found["position_temperature"] = _same(config, "temperature_height", "temperature_width", 20)
    if config.get("position_embedding_type", "sine") != "sine":
        del found["position_temperature"], found["position_offset"]
    if (names := _class_names(config.get("id2label"))) is not None:
        found["source_classes"] = names
    if kind == "deformable_detr" and config.get("two_stage") is True:
        found["num_queries"] = config.get("two_stage_num_proposals", 300)
    body = _body(config) or _TIMM_RESNET
    return found | {f"backbone_{name}": value for name, value in body.items()}


def _body(config: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of the backbone in a model of transformers; none if the config does not describe it."""
    inner = config.get("backbone_config")
    return _backbone(inner) if isinstance(inner, Mapping) else {}


def _class_names(labels: Any) -> list[str] | None:
    """The names of classes by row; None where there are none, or only transformers' own names."""
    if not isinstance(labels, Mapping) or not 0 < len(labels) <= _MOST_CLASSES:
        return None
    found = [labels.get(str(row)) for row in range(len(labels))]
    names = [name for name in found if isinstance(name, str) and name]
    if len(names) < len(found):
        return None
    return None if names == [f"LABEL_{row}" for row in range(len(names))] else names


def _backbone(config: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of a backbone alone; none where the config is of no known one.

    Raises:
        ArchitectureError: it computes something that detrex has no setting for.
    """
    if isinstance(config.get("pretrained_cfg"), Mapping):
        arguments = config.get("model_args")
        stride = arguments.get("output_stride") if isinstance(arguments, Mapping) else None
        if stride not in (None, 32):
            raise ArchitectureError(
                f"{CONFIG} says output_stride {stride!r}, but detectron2's backbones have 32"
            )
        return dict(_TIMM_RESNET) if "res" in str(config.get("architecture")) else {}
    kind = config.get("model_type")
    if kind in _PLAIN_VITS:
        return {"num_heads": config.get("num_attention_heads", 12)}
    if kind != "resnet":
        return {}
    if config.get("downsample_in_first_stage", False) is not False:
        raise ArchitectureError(
            f"{CONFIG} says downsample_in_first_stage, but the first stage of detectron2's "
            "ResNet does not downsample"
        )
    return {"stride_in_1x1": config.get("downsample_in_bottleneck") is True}


def _dilation(config: Mapping[str, Any]) -> bool:
    """Whether the last stage is dilated. transformers 5 reads it from the backbone's own config.
    ``dilation`` may then have another value, which nothing reads."""
    inner = config.get("backbone_config")
    if isinstance(inner, Mapping):
        return inner.get("output_stride") == 16
    arguments = config.get("backbone_kwargs")
    if isinstance(arguments, Mapping) and arguments.get("output_stride") == 16:
        return True
    return config.get("dilation") is True


def _same(config: Mapping[str, Any], one: str, other: str, default: int) -> Any:
    """The common value of two settings, for which detrex has only one setting.

    Raises:
        ArchitectureError: the two values differ.
    """
    first, second = config.get(one, default), config.get(other, default)
    if first != second:
        raise ArchitectureError(
            f"{CONFIG} says {one} {first!r} and {other} {second!r}, but detrex has one setting for "
            "both",
        )
    return first
