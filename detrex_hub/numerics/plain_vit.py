"""The shared parts of plain ViTs: the tensors of the original that are run, and the patches.

Both sides read one image of the pretraining's width, so no position is resized. Both attend to the
whole image, without the class token, because detectors have none. Every converted tensor takes
part. On larger images a config uses windows and resized positions. These need no weight and are not
compared. No shape shows the number of heads: both sides use the number that the conversion found or
was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from detrex_hub.architectures.plain_vit import PlainViT

if TYPE_CHECKING:
    from detrex_hub.numerics import Outputs, Settings, State

# tensors of the original that no detector has
_NOT_RUN = (
    "cls_token",
    "mask_token",
    "reg_token",
    "register_tokens",
    "norm.",
    "fc_norm.",
    "head.",
    "lm_head.",
    "decoder_",
)


def run_by_detectors(made: PlainViT, state: State) -> dict[str, torch.Tensor]:
    """The original's tensors without the class token and its position, the final norm, and
    everything after the last block."""
    kept = {key: value for key, value in state.items() if not key.startswith(_NOT_RUN)}
    if made.pretrain_use_cls_token:
        kept["pos_embed"] = kept["pos_embed"][:, 1:]
    return kept


def sizes(made: PlainViT) -> dict[str, Any]:
    """The arguments of timm's models."""
    return {
        "img_size": made.pretrain_img_size,
        "patch_size": made.patch_size,
        "embed_dim": made.embed_dim,
        "depth": made.depth,
        "num_heads": made.num_heads,
        "mlp_ratio": made.mlp_ratio,
        "qkv_bias": made.qkv_bias,
        "class_token": False,
        "num_classes": 0,
    }


def outputs_in_timm(
    model: Any, images: torch.Tensor, *, rope: torch.Tensor | None = None
) -> Outputs:
    """The outputs of timm's patches and blocks.

    Args:
        model: one without class token.
        images: ``(1, 3, h, w)``.
        rope: rotary embedding given to each block, for models that have one.
    """
    x = model.patch_embed(images) + model.pos_embed
    found, names = {"patches": x[0]}, compared(len(model.blocks))
    for number, block in enumerate(model.blocks):
        x = block(x) if rope is None else block(x, rope=rope)
        if number in names:
            found[names[number]] = x[0]
    return found


def compared(depth: int) -> Mapping[int, str]:
    """The blocks whose outputs are compared: the last of each quarter of the depth."""
    last = (-(-depth * fourth // 4) - 1 for fourth in range(1, 5))
    return {number: f"block {number}" for number in last}


def patches(settings: Settings, state: State, images: torch.Tensor) -> torch.Tensor:
    """Patches with positions, from the converted weights: ``(1, 3, h, w) -> (patches, c)``.

    detectron2/modeling/backbone/utils.py, 02b5c4e2.
    """
    weight, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
    x = functional.conv2d(images, weight, bias, stride=weight.shape[-1])
    # the class token has the first position
    first = int(settings.get("model.backbone.net.pretrain_use_cls_token", True))
    return x[0].flatten(1).T + state["pos_embed"][0, first:]
