"""EVA-02: timm's beside detrex's (modeling/backbone/eva_02.py and eva_02_utils.py, e244e6c).

Rotary positions are computed by both, for the pretraining's image, and in float64 as well; files
have tables of them that neither reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from detrex_hub.architectures.eva02 import EVA02
from detrex_hub.numerics.layers import attention, linear, norm
from detrex_hub.numerics.plain_vit import (
    compared,
    outputs_in_timm,
    patches,
    run_by_detectors,
    sizes,
)
from detrex_hub.numerics.strict import load_strictly

if TYPE_CHECKING:
    from detrex_hub.numerics import Outputs, Settings, State

NEEDS = ("timm",)
LAYOUTS = ("original",)

_EPS = 1e-6
# width of the map that rotary positions are scaled to, in patches: that of the first pretraining
_ROTATED = 16


def image_size(made: EVA02) -> int:
    return made.pretrain_img_size


def original(made: EVA02, layout: str, state: State, images: torch.Tensor) -> Outputs:
    from timm.models.eva import Eva, checkpoint_filter_fn

    model = Eva(
        **sizes(made),
        qkv_fused=False,
        swiglu_mlp=True,
        scale_mlp=True,
        use_rot_pos_emb=True,
        ref_feat_shape=_ROTATED,
    )
    # timm's own reading of the original's names
    kept = checkpoint_filter_fn(run_by_detectors(made, state), model)
    load_strictly(model, kept, absent=("fc_norm.weight", "fc_norm.bias"))
    return outputs_in_timm(model, images, rope=_timm_rotations(made))


def _timm_rotations(made: EVA02) -> torch.Tensor:
    """The rotations in timm's models, which are rounded to float32: ``(patches, 2 * head)``."""
    from timm.layers import build_rotary_pos_embed, freq_bands

    side = made.pretrain_img_size // made.patch_size
    tables = build_rotary_pos_embed(
        [side, side],
        bands=freq_bands(made.embed_dim // made.num_heads // 4, step=1).double(),
        in_pixels=False,
        ref_feat_shape=[_ROTATED, _ROTATED],
        dtype=torch.float64,
    )
    return torch.cat(tables, -1)


def converted(made: EVA02, settings: Settings, state: State, images: torch.Tensor) -> Outputs:
    x = patches(settings, state, images)
    found = {"patches": x}
    names, heads = compared(made.depth), settings["model.backbone.net.num_heads"]
    cos, sin = _rotations(made.pretrain_img_size // made.patch_size, x.shape[-1] // heads)
    for number in range(made.depth):
        at = f"blocks.{number}."
        y = norm(state, f"{at}norm1", x, eps=_EPS)
        q, k, v = (
            functional.linear(
                y, state[f"{at}attn.{name}_proj.weight"], state.get(f"{at}attn.{name}_bias")
            )
            for name in "qkv"
        )
        q, k = (_rotated(one, heads, cos, sin) for one in (q, k))
        x = x + linear(state, f"{at}attn.proj", attention(q, k, v, heads))
        x = x + _feed_forward(state, f"{at}mlp.", norm(state, f"{at}norm2", x, eps=_EPS))
        if number in names:
            found[names[number]] = x
    return found


def _feed_forward(state: State, at: str, x: torch.Tensor) -> torch.Tensor:
    """SwiGLU, with a norm."""
    x = functional.silu(linear(state, f"{at}w1", x)) * linear(state, f"{at}w2", x)
    return linear(state, f"{at}w3", norm(state, f"{at}ffn_ln", x, eps=_EPS))


def _rotations(side: int, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines, one half of a head for the row and the other for the column:
    ``(patches, head)`` each, every angle twice."""
    half = channels // 2
    frequencies = 1.0 / (10000 ** (torch.arange(0, half, 2)[: half // 2].float() / half))
    places = torch.arange(side) / side * _ROTATED
    angles = (places.double()[:, None] * frequencies.double()).repeat_interleave(2, -1)
    rows = angles[:, None].expand(-1, side, -1)
    columns = angles[None].expand(side, -1, -1)
    angles = torch.cat((rows, columns), -1).flatten(0, 1)
    return angles.cos(), angles.sin()


def _rotated(x: torch.Tensor, heads: int, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate neighbouring channels as pairs, ``(patches, c) -> (patches, c)``."""
    x = x.unflatten(-1, (heads, -1))
    turned = torch.stack((-x[..., 1::2], x[..., 0::2]), -1).flatten(-2)
    return (x * cos[:, None] + turned * sin[:, None]).flatten(1)
