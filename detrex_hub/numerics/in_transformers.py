"""Run originals in transformers, under transformers' names or after renaming."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from detrex_hub.architectures.detector import Detector
from detrex_hub.architectures.resnet import BLOCKS
from detrex_hub.architectures.torchvision_resnet import TorchvisionResNet
from detrex_hub.errors import UsageError, VerificationError
from detrex_hub.numerics.common_rows import common_rows
from detrex_hub.numerics.detector_resnets import resnet_of
from detrex_hub.numerics.strict import complete

if TYPE_CHECKING:
    from detrex_hub.numerics import Outputs, State


def body(made: Detector, *, own: bool, stages: int = 1) -> dict[str, Any]:
    """The part of a detector's config that describes its ResNet.

    Args:
        made: the detector.
        own: whether it is transformers' own ResNet instead of timm's.
        stages: its last stages, which the detector reads.

    Raises:
        UsageError: the detector has another backbone, or transformers' own is to be dilated.
    """
    resnet = resnet_of(made)
    depth, dilation = resnet.depth, isinstance(resnet, TorchvisionResNet) and bool(resnet.dilation)
    if own and dilation:
        raise UsageError("--numerics has no forward pass of transformers' own ResNet with dilation")
    from transformers import ResNetConfig, TimmBackboneConfig

    read = range(5 - stages, 5)
    if own:
        config = ResNetConfig(
            depths=list(BLOCKS[depth]),
            hidden_sizes=[64, 128, 256, 512] if depth < 50 else [256, 512, 1024, 2048],
            layer_type="basic" if depth < 50 else "bottleneck",
            out_features=[f"stage{number}" for number in read],
        )
    else:
        config = TimmBackboneConfig(
            backbone=f"resnet{depth}",
            use_pretrained_backbone=False,
            out_indices=list(read),
            output_stride=16 if dilation else 32,
        )
    return {"backbone_config": config}


def layers(made: Detector) -> dict[str, int | None]:
    """The part of a detector's config that describes its layers, without their width."""
    return {
        "encoder_layers": made.encoder_layers,
        "decoder_layers": made.decoder_layers,
        "encoder_ffn_dim": made.feedforward_dim,
        "decoder_ffn_dim": made.feedforward_dim,
        "encoder_attention_heads": made.num_heads,
        "decoder_attention_heads": made.num_heads,
    }


def outputs(made: Detector, found: Any) -> Outputs:
    """The outputs of detectors on one feature map, in the order in which they compute them."""
    kept, _ = common_rows(made)
    return {
        "encoder": found.encoder_last_hidden_state[0],
        "decoder": found.last_hidden_state[0],
        "logits": found.logits[0][:, kept],
        "boxes": found.pred_boxes[0],
    }


_COUNTERS = ".num_batches_tracked"

# patterns and replacements: names of the originals of the DETR family, and of transformers'
# files
FAMILY: tuple[tuple[str, str], ...] = (
    (r"^backbone\.0\.body\.", "model.backbone.conv_encoder.model."),
    (r"^backbone\.1\.row_embed\.", "model.position_embedding.row_embeddings."),
    (r"^backbone\.1\.col_embed\.", "model.position_embedding.column_embeddings."),
    (r"^transformer\.", "model."),
    (r"\.linear([12])\.", r".fc\1."),
    (r"\.norm1\.", ".self_attn_layer_norm."),
    (r"\.encoder\.layers\.(\d+)\.norm2\.", r".encoder.layers.\1.final_layer_norm."),
    (r"\.decoder\.layers\.(\d+)\.norm2\.", r".decoder.layers.\1.encoder_attn_layer_norm."),
    (r"\.norm3\.", ".final_layer_norm."),
    (r"\.decoder\.norm\.", ".decoder.layernorm."),
    (r"^input_proj\.", "model.input_projection."),
    (r"^query_embed\.", "model.query_position_embeddings."),
    (r"^class_embed\.", "class_labels_classifier."),
    (r"^bbox_embed\.", "bbox_predictor."),
)


def renamed(state: State, names: Iterable[tuple[str, str]]) -> dict[str, torch.Tensor]:
    """An original's tensors under the names of transformers' files, with separate queries, keys and
    values.

    Args:
        state: the tensors of the original.
        names: patterns and replacements for `re.sub`, applied in order.
    """
    names = tuple(names)
    found: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        for pattern, name in names:
            key = re.sub(pattern, name, key)
        module, _, parameter = key.rpartition(".in_proj_")
        if module:
            parts = value.chunk(3)
            found |= {f"{module}.{one}_proj.{parameter}": parts[i] for i, one in enumerate("qkv")}
        else:
            found[key] = value
    return found


def load(kind: Any, config: Any, state: State) -> Any:
    """A detector with the tensors of a state dict, ready to be run in float64.

    Args:
        kind: a model's class.
        config: its config.
        state: all of its tensors under the names of transformers' files, which may differ from the
            names in its models.

    Raises:
        VerificationError: keys are missing or unexpected, or shapes differ.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    # some files have counters of BatchNorm, which no model reads
    state = {key: value for key, value in state.items() if not key.endswith(_COUNTERS)}
    try:
        model, report = kind.from_pretrained(
            None, config=config, state_dict=state, output_loading_info=True, dtype=torch.float64
        )
    except RuntimeError as error:
        raise VerificationError(" ".join(str(error).split())[:500]) from None
    complete(kind.__name__, report["missing_keys"], report["unexpected_keys"])
    return model.eval()


@contextmanager
def in_float64() -> Iterator[None]:
    """Compute everything in float64. A model computes some parts in float32, such as its position
    embeddings, even if the model itself is float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Float64():
            yield
    finally:
        torch.set_default_dtype(before)


class _Float64(TorchFunctionMode):  # type: ignore[misc]
    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        args = tuple(map(_wider, args))
        kwargs = {name: _wider(value) for name, value in (kwargs or {}).items()}
        return (torch.Tensor.double if function is torch.Tensor.float else function)(
            *args, **kwargs
        )


def _wider(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value
