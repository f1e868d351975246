"""EVA-02: the original's names are those of detrex's `EVA02_ViT`.

Facts: baaivision/EVA 5623d08, `EVA-02/asuka`, and detrex e244e6c, `modeling/backbone/eva_02.py`.
The outputs of the last block are equal in float64, without the class token in the original.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt
from typing import Any, ClassVar

from msgspec.structs import replace

from detrex_hub.architectures.base import BackboneCall, Fact, Facts, Layout, Specs
from detrex_hub.architectures.blocks import StateDict, linear, norm, tensor, under
from detrex_hub.architectures.plain_vit import (
    HEADS_DROPPED,
    PlainViT,
    heads,
    num_heads,
    read_positions,
    usual_windows,
)
from detrex_hub.architectures.stages import Shapes, kept, mlp_ratio
from detrex_hub.mapping import Drop, Rule
from detrex_hub.specs import TensorSpec

BODY: tuple[Rule, ...] = kept(
    "pos_embed",
    "patch_embed.proj.*",
    "blocks.{i}.norm1.*",
    "blocks.{i}.attn.q_proj.weight",
    "blocks.{i}.attn.k_proj.weight",
    "blocks.{i}.attn.v_proj.weight",
    "blocks.{i}.attn.proj.*",
    "blocks.{i}.norm2.*",
    "blocks.{i}.mlp.w1.*",
    "blocks.{i}.mlp.w2.*",
    "blocks.{i}.mlp.ffn_ln.*",
    "blocks.{i}.mlp.w3.*",
)

_ROTATIONS = "rotary positions, which the model computes for its own image and window sizes"
ROTATIONS_DROPPED: Mapping[str, tuple[Rule, ...]] = {
    "original": (
        Drop("rope.*", _ROTATIONS, optional=True),
        Drop("blocks.{i}.attn.rope.*", _ROTATIONS, optional=True),
    ),
    "detrex": (
        Drop("rope_win.*", _ROTATIONS, optional=True),
        Drop("rope_glb.*", _ROTATIONS, optional=True),
        Drop("blocks.{i}.attn.rope.*", _ROTATIONS, optional=True),
    ),
}

_PREDICTION = Drop("lm_head.*", "predicts CLIP's features in pretraining", optional=True)

_KEYS = (
    "pos_embed",
    "patch_embed.proj.weight",
    "blocks.0.attn.q_proj.weight",
    "blocks.0.mlp.w1.weight",
)
# width of the pretraining's map, in patches of 14 pixels
_PRETRAINED = 16
# channels of the CLIP features that pretraining predicts
_CLIP = 1024


def _head_dim(specs: Specs) -> int | None:
    """Channels of a head, which rotary positions show."""
    table = specs.get("blocks.0.attn.rope.freqs_cos") or specs.get("rope.freqs_cos")
    return table.shape[-1] if table and table.shape else None


class EVA02(PlainViT, frozen=True, kw_only=True):
    """An EVA-02 backbone with a norm inside its feed-forward layers, as B and L have it."""

    mlp_ratio: float = 4 * 2 / 3
    window_size: int = 16

    name: ClassVar[str] = "eva02"
    not_in_transformers: ClassVar[str | None] = (
        "its attention rotates queries and keys by window positions"
    )
    family: ClassVar[str] = "EVA-02"
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(present=(*_KEYS, "cls_token")),
        "detrex": Layout(present=_KEYS, absent=("cls_token", "norm.*", "lm_head.*", "head.*")),
    }
    facts: ClassVar[Mapping[str, Fact]] = {"num_heads": num_heads(_head_dim)}
    built_by: ClassVar[str] = "detrex.modeling.backbone.eva_02.EVA02_ViT"
    taken_by: ClassVar[frozenset[str]] = frozenset({"EVA02_ViT"})
    defaults: ClassVar[Mapping[str, Any]] = {
        "patch_size": 16,
        "mlp_ratio": 4 * 2 / 3,
        "qkv_bias": True,
        "pretrain_img_size": 224,
        "pretrain_use_cls_token": True,
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> EVA02:
        shapes = Shapes(specs, "EVA-02")
        embed_dim, _, patch_size, _ = shapes("patch_embed.proj.weight", 4)
        depth = shapes.count("blocks.{n}.norm1.weight")
        hidden, _ = shapes("blocks.0.mlp.w1.weight", 2)
        pretrain_img_size, token = read_positions(shapes, patch_size)
        made = cls(
            embed_dim=embed_dim,
            depth=depth,
            num_heads=heads(shapes, facts, embed_dim),
            patch_size=patch_size,
            mlp_ratio=mlp_ratio(hidden, embed_dim, usual=4 * 2 / 3),
            qkv_bias="blocks.0.attn.q_bias" in shapes,
            pretrain_img_size=pretrain_img_size,
            pretrain_use_cls_token=token,
            window_block_indexes=usual_windows(depth),
        )
        if "rope_glb.freqs_cos" not in shapes:
            return made
        sides = [isqrt(shapes(f"blocks.{i}.attn.rope.freqs_cos", 2)[0]) for i in range(depth)]
        window, whole = (
            isqrt(shapes(f"{name}.freqs_cos", 2)[0]) for name in ("rope_win", "rope_glb")
        )
        return replace(
            made,
            img_size=whole * patch_size,
            window_size=window,
            window_block_indexes=tuple(i for i in range(depth) if sides[i] != whole),
        )

    def rules(self, layout: str) -> tuple[Rule, ...]:
        biases = kept("blocks.{i}.attn.q_bias", "blocks.{i}.attn.v_bias") if self.qkv_bias else ()
        heads = (*HEADS_DROPPED, _PREDICTION) if layout == "original" else ()
        return (*BODY, *biases, *heads, *ROTATIONS_DROPPED[layout])

    def target(self) -> StateDict:
        return self.embeddings() | self.blocks() | self._rotations()

    def block(self) -> StateDict:
        width, hidden = self.embed_dim, int(self.embed_dim * self.mlp_ratio)
        biases: StateDict = {}
        if self.qkv_bias:
            biases = {"attn.q_bias": tensor(width), "attn.v_bias": tensor(width)}
        return (
            under("norm1", norm(width))
            | biases
            | under("attn.q_proj", linear(width, width, bias=False))
            | under("attn.k_proj", linear(width, width, bias=False))
            | under("attn.v_proj", linear(width, width, bias=False))
            | under("attn.proj", linear(width, width))
            | under("norm2", norm(width))
            | under("mlp.w1", linear(hidden, width))
            | under("mlp.w2", linear(hidden, width))
            | under("mlp.ffn_ln", norm(hidden))
            | under("mlp.w3", linear(width, hidden))
        )

    def _rotations(self) -> StateDict:
        found: StateDict = {}
        for group in self.ties():
            windowed = group[0].startswith("rope_win.")
            side = self.window_size if windowed else self.img_size // self.patch_size
            table = tensor(side**2, self.embed_dim // self.num_heads)
            found.update(dict.fromkeys(group, table))
        return found

    def ties(self) -> tuple[tuple[str, ...], ...]:
        windowed = self.window_block_indexes
        whole = tuple(i for i in range(self.depth) if i not in windowed)
        return tuple(
            (f"{name}.{part}", *(f"blocks.{i}.attn.rope.{part}" for i in blocks))
            for name, blocks in (("rope_win", windowed), ("rope_glb", whole))
            for part in ("freqs_cos", "freqs_sin")
        )

    def notes(self) -> tuple[str, ...]:
        return (
            *super().notes(),
            f"its rotary positions fit only square images of {self.node}.img_size pixels. The "
            "detector in detrex's projects/dino_eva pads to that size, the one in projects/dino "
            "does not",
        )

    def build(
        self, preprocessing: Mapping[str, Any], stages: Sequence[int] = (1, 2, 3)
    ) -> BackboneCall | None:
        call = super().build(preprocessing, stages)
        return call and replace(call, square_images=self.img_size)

    def set_by_model(self) -> frozenset[str]:
        return frozenset(self._rotations())

    def dropped(self) -> dict[str, TensorSpec]:
        width = self.embed_dim
        table = tensor(_PRETRAINED, _PRETRAINED, width // self.num_heads)
        rotations = [
            f"{name}.{part}"
            for name in ("rope", *(f"blocks.{i}.attn.rope" for i in range(self.depth)))
            for part in ("freqs_cos", "freqs_sin")
        ]
        token = tensor(1, 1, width)
        return (
            {"cls_token": token, "mask_token": token}
            | under("norm", norm(width))
            | under("lm_head", linear(_CLIP, width))
            | dict.fromkeys(rotations, table)
        )
