"""Plain ViTs, such as MAE's: the original's and timm's names are those of detectron2's `ViT`.

Facts: facebookresearch/mae efb2a80, timm 1.0.31 and detectron2 02b5c4e2,
`modeling/backbone/vit.py`. The outputs of the last block are equal in float64, without the class
token in the original and with relative positions of zero in detectron2, as it begins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from detrex_hub.architectures.base import Fact, Facts, Layout, Specs
from detrex_hub.architectures.blocks import StateDict, linear, norm, tensor, under
from detrex_hub.architectures.plain_vit import (
    HEADS_DROPPED,
    PlainViT,
    heads,
    num_heads,
    positions,
    usual_windows,
)
from detrex_hub.architectures.stages import Shapes, kept, mlp_ratio
from detrex_hub.mapping import Drop, Rule
from detrex_hub.specs import TensorSpec

BODY: tuple[Rule, ...] = kept(
    "pos_embed",
    "patch_embed.proj.*",
    "blocks.{i}.norm1.*",
    "blocks.{i}.attn.qkv.*",
    "blocks.{i}.attn.proj.*",
    "blocks.{i}.norm2.*",
    "blocks.{i}.mlp.fc1.*",
    "blocks.{i}.mlp.fc2.*",
)

_DECODER = "decoder of the pretraining"
DECODER_DROPPED: tuple[Rule, ...] = tuple(
    Drop(text, _DECODER, optional=True)
    for text in (
        "decoder_embed.*",
        "decoder_pos_embed",
        "decoder_blocks.**",
        "decoder_norm.*",
        "decoder_pred.*",
    )
)

_KEYS = ("pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight")
# layer scales and separate biases, as DINOv2, BEiT and EVA have them
_OTHERS = ("blocks.{i}.ls1.gamma", "blocks.{i}.gamma_1", "blocks.{i}.attn.q_bias")


def _head_dim(specs: Specs) -> int | None:
    """Channels of a head, which relative positions show."""
    table = specs.get("blocks.0.attn.rel_pos_h")
    return table.shape[-1] if table and table.shape else None


@dataclass(frozen=True, kw_only=True)
class ViTMAE(PlainViT):
    """A plain ViT, as MAE and timm write it.

    Args:
        relative_positions: whether the weights hold the relative positions of detectron2's `ViT`:
            none but those that it was trained with.
    """

    mlp_ratio: float = 4.0
    window_size: int = 14
    relative_positions: bool = False

    name: ClassVar[str] = "vit_mae"
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(present=(*_KEYS, "cls_token"), absent=_OTHERS),
        "detrex": Layout(present=_KEYS, absent=("cls_token", "norm.*", "head.*", *_OTHERS)),
    }
    facts: ClassVar[Mapping[str, Fact]] = {"num_heads": num_heads(_head_dim)}
    built_by: ClassVar[str] = "detectron2.modeling.backbone.vit.ViT"
    taken_by: ClassVar[frozenset[str]] = frozenset({"ViT"})
    defaults: ClassVar[Mapping[str, Any]] = {
        "patch_size": 16,
        "mlp_ratio": 4.0,
        "qkv_bias": True,
        "pretrain_img_size": 224,
        "pretrain_use_cls_token": True,
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> ViTMAE:
        shapes = Shapes(specs, "plain ViT")
        embed_dim, _, patch_size, _ = shapes("patch_embed.proj.weight", 4)
        depth = shapes.count("blocks.{n}.norm1.weight")
        hidden, _ = shapes("blocks.0.mlp.fc1.weight", 2)
        pretrain_img_size, token = positions(shapes, patch_size)
        holds = "blocks.0.attn.rel_pos_h" in shapes
        tables = [shapes(f"blocks.{i}.attn.rel_pos_h", 2) for i in range(depth)] if holds else []
        widths = [(rows + 1) // 2 for rows, _ in tables]
        made = cls(
            embed_dim=embed_dim,
            depth=depth,
            num_heads=heads(shapes, facts, embed_dim),
            patch_size=patch_size,
            mlp_ratio=mlp_ratio(hidden, embed_dim),
            qkv_bias="blocks.0.attn.qkv.bias" in shapes,
            pretrain_img_size=pretrain_img_size,
            pretrain_use_cls_token=token,
            window_block_indexes=usual_windows(depth),
            relative_positions=holds,
        )
        if not holds:
            return made
        return dataclasses.replace(
            made,
            img_size=max(widths) * patch_size,
            window_size=min(widths),
            window_block_indexes=tuple(i for i in range(depth) if widths[i] < max(widths)),
        )

    def rules(self, layout: str) -> tuple[Rule, ...]:
        if layout == "original":
            return (*BODY, *HEADS_DROPPED, *DECODER_DROPPED)
        if not self.relative_positions:
            return BODY
        return (*BODY, *kept("blocks.{i}.attn.rel_pos_h", "blocks.{i}.attn.rel_pos_w"))

    def target(self) -> StateDict:
        return self.embeddings() | self.blocks() | self._relative_positions()

    def block(self) -> StateDict:
        width, hidden = self.embed_dim, int(self.embed_dim * self.mlp_ratio)
        return (
            under("norm1", norm(width))
            | under("attn.qkv", linear(3 * width, width, bias=self.qkv_bias))
            | under("attn.proj", linear(width, width))
            | under("norm2", norm(width))
            | under("mlp.fc1", linear(hidden, width))
            | under("mlp.fc2", linear(width, hidden))
        )

    def _relative_positions(self) -> StateDict:
        """Rows for every distance along a side, of a window or of the detector's map."""
        found: StateDict = {}
        for index in range(self.depth):
            windowed = index in self.window_block_indexes
            side = self.window_size if windowed else self.img_size // self.patch_size
            table = tensor(2 * side - 1, self.embed_dim // self.num_heads)
            found[f"blocks.{index}.attn.rel_pos_h"] = table
            found[f"blocks.{index}.attn.rel_pos_w"] = table
        return found

    def set_by_model(self) -> frozenset[str]:
        return frozenset() if self.relative_positions else frozenset(self._relative_positions())

    def dropped(self) -> dict[str, TensorSpec]:
        if self.relative_positions:
            return {}
        return {"cls_token": tensor(1, 1, self.embed_dim)} | under("norm", norm(self.embed_dim))
