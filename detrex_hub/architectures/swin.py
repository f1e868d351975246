"""Swin Transformers: the original's and timm's names to detectron2's `SwinTransformer`.

Facts: microsoft/Swin-Transformer f82860b, timm 1.0.31 and detectron2 02b5c4e2,
`modeling/backbone/swin.py`. Stage outputs are equal in float64 but where a map is no larger than
the window: the original then turns the shift off, detectron2 does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any, ClassVar

from detrex_hub.architectures.base import Facts, Layout, Specs
from detrex_hub.architectures.blocks import StateDict, conv, linear, norm, tensor, under
from detrex_hub.architectures.stages import (
    Shapes,
    StagedBackbone,
    found_norms,
    kept,
    mlp_ratio,
    output_norms,
)
from detrex_hub.mapping import Drop, Rename, Rule
from detrex_hub.specs import TensorSpec

BLOCKS: tuple[Rule, ...] = kept(
    "patch_embed.proj.*",
    "layers.{i}.blocks.{j}.norm1.*",
    "layers.{i}.blocks.{j}.attn.relative_position_bias_table",
    "layers.{i}.blocks.{j}.attn.qkv.*",
    "layers.{i}.blocks.{j}.attn.proj.*",
    "layers.{i}.blocks.{j}.norm2.*",
    "layers.{i}.blocks.{j}.mlp.fc1.*",
    "layers.{i}.blocks.{j}.mlp.fc2.*",
)

DOWNSAMPLES: Mapping[str, Rule] = {
    "original": Rename("layers.{i}.downsample.**", "layers.{i}.downsample.**"),
    # timm puts the downsampling before the blocks of the stage that it leads to
    "timm": Rename("layers.{i+1}.downsample.**", "layers.{i}.downsample.**"),
    "detrex": Rename("layers.{i}.downsample.**", "layers.{i}.downsample.**"),
}

_MASKS = Drop(
    "layers.{i}.blocks.{j}.attn_mask",
    "mask of the shifted windows at the pretraining size, computed from the image's",
    optional=True,
)
_CLASSIFIER = "ImageNet classifier"
_FINAL_NORM = "norm before the ImageNet classifier, which is no output norm of a stage"

HEADS_DROPPED: Mapping[str, tuple[Rule, ...]] = {
    "original": (Drop("norm.*", _FINAL_NORM), Drop("head.*", _CLASSIFIER, optional=True)),
    "timm": (
        Drop("norm.*", _FINAL_NORM, optional=True),
        Drop("head.*", _CLASSIFIER, optional=True),
        Drop("head.fc.*", _CLASSIFIER, optional=True),
    ),
    "detrex": (),
}

_BLOCK_KEYS = ("patch_embed.proj.weight", "layers.0.blocks.0.attn.relative_position_bias_table")


@dataclass(frozen=True, kw_only=True)
class Swin(StagedBackbone):
    """A Swin Transformer backbone.

    Args:
        embed_dim: channels of the first stage; each further stage has twice as many.
        depths: blocks of each stage.
        num_heads: attention heads of each stage.
        window_size: width of a window, in patches.
        pretrain_img_size: width of the pretraining's images, in pixels.
        patch_size: width of a patch, in pixels.
        mlp_ratio: hidden width of a block's feed-forward layers over its width.
        qkv_bias: whether query, key and value have biases.
        patch_norm: whether the patch embedding ends in a norm.
        ape: whether there is an absolute position embedding.
        position_index: whether the weights hold the windows' relative position indices, which the
            model computes as well.
        output_norms: the stages whose output norms the weights hold: none but in detrex's files.
    """

    embed_dim: int
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    window_size: int
    pretrain_img_size: int
    patch_size: int = 4
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    patch_norm: bool = True
    ape: bool = False
    position_index: bool = True
    output_norms: tuple[int, ...] = ()

    name: ClassVar[str] = "swin"
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
            present=(*_BLOCK_KEYS, "layers.0.downsample.reduction.weight", "norm.weight"),
        ),
        "timm": Layout(
            present=(*_BLOCK_KEYS, "layers.1.downsample.reduction.weight"),
            absent=("layers.0.downsample.**",),
        ),
        "detrex": Layout(
            present=(*_BLOCK_KEYS, "layers.0.downsample.reduction.weight"),
            absent=("norm.*", "head.**"),
        ),
    }
    built_by: ClassVar[str] = "detectron2.modeling.backbone.swin.SwinTransformer"
    taken_by: ClassVar[frozenset[str]] = frozenset({"SwinTransformer"})
    defaults: ClassVar[Mapping[str, Any]] = {
        "pretrain_img_size": 224,
        "patch_size": 4,
        "window_size": 7,
        "mlp_ratio": 4.0,
        "qkv_bias": True,
        "patch_norm": True,
        "ape": False,
    }

    @classmethod
    def read(cls, specs: Specs, layout: str, facts: Facts) -> Swin:
        shapes = Shapes(specs, "Swin Transformer")
        embed_dim, _, patch_size, _ = shapes("patch_embed.proj.weight", 4)
        stages = shapes.count("layers.{n}.blocks.0.norm1.weight")
        depths = tuple(shapes.count(f"layers.{i}.blocks.{{n}}.norm1.weight") for i in range(stages))
        tables = [
            shapes(f"layers.{i}.blocks.0.attn.relative_position_bias_table", 2)
            for i in range(stages)
        ]
        windows = [(isqrt(rows) + 1) // 2 for rows, _ in tables]
        if [(2 * window - 1) ** 2 for window in windows] != [rows for rows, _ in tables]:
            raise shapes.refusal("a relative_position_bias_table is that of no square window")
        if len(set(windows)) > 1:
            raise shapes.refusal(
                f"its stages have windows of {windows}, and detectron2's have one in common"
            )
        hidden, _ = shapes("layers.0.blocks.0.mlp.fc1.weight", 2)
        ape = "absolute_pos_embed" in shapes
        if ape and layout != "detrex":
            raise shapes.refusal(
                "it has an absolute position embedding, laid out as (1, patches, channels), which "
                "detectron2 has as (1, channels, height, width); no released Swin has one"
            )
        return cls(
            embed_dim=embed_dim,
            depths=depths,
            num_heads=tuple(heads for _, heads in tables),
            window_size=windows[0],
            pretrain_img_size=_pretrain_img_size(shapes, patch_size, windows[0], depths),
            patch_size=patch_size,
            mlp_ratio=mlp_ratio(hidden, embed_dim),
            qkv_bias="layers.0.blocks.0.attn.qkv.bias" in shapes,
            patch_norm="patch_embed.norm.weight" in shapes,
            ape=ape,
            position_index="layers.0.blocks.0.attn.relative_position_index" in shapes,
            output_norms=found_norms(specs),
        )

    def rules(self, layout: str) -> tuple[Rule, ...]:
        there = {
            "patch_embed.norm.*": self.patch_norm,
            "layers.{i}.blocks.{j}.attn.relative_position_index": self.position_index,
            "absolute_pos_embed": self.ape,
            "norm{i}.*": bool(self.output_norms),
        }
        return (
            *BLOCKS,
            DOWNSAMPLES[layout],
            *kept(*(text for text, present in there.items() if present)),
            _MASKS,
            *HEADS_DROPPED[layout],
        )

    def target(self) -> StateDict:
        target = under("patch_embed.proj", conv(self.embed_dim, 3, self.patch_size))
        if self.patch_norm:
            target |= under("patch_embed.norm", norm(self.embed_dim))
        if self.ape:
            patches = self.pretrain_img_size // self.patch_size
            target["absolute_pos_embed"] = tensor(1, self.embed_dim, patches, patches)
        for stage, (channels, depth, heads) in enumerate(
            zip(self.widths, self.depths, self.num_heads, strict=True)
        ):
            for block in range(depth):
                target |= under(f"layers.{stage}.blocks.{block}", self._block(channels, heads))
            if stage + 1 < len(self.depths):
                target |= under(
                    f"layers.{stage}.downsample",
                    under("reduction", linear(2 * channels, 4 * channels, bias=False))
                    | under("norm", norm(4 * channels)),
                )
        stages = self.output_norms or range(len(self.depths))
        return target | output_norms(self.widths, stages)

    def _block(self, channels: int, heads: int) -> StateDict:
        hidden = int(channels * self.mlp_ratio)
        return (
            under("norm1", norm(channels))
            | {"attn.relative_position_bias_table": tensor((2 * self.window_size - 1) ** 2, heads)}
            | {"attn.relative_position_index": TensorSpec("I64", (self.window_size**2,) * 2)}
            | under("attn.qkv", linear(3 * channels, channels, bias=self.qkv_bias))
            | under("attn.proj", linear(channels, channels))
            | under("norm2", norm(channels))
            | under("mlp.fc1", linear(hidden, channels))
            | under("mlp.fc2", linear(channels, hidden))
        )

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.embed_dim * 2**stage for stage in range(len(self.depths)))

    def set_by_model(self) -> frozenset[str]:
        given: set[str] = set()
        if not self.output_norms:
            given.update(output_norms(self.widths, range(len(self.depths))))
        if not self.position_index:
            given.update(key for key in self.target() if key.endswith("relative_position_index"))
        return frozenset(given)

    def dropped(self) -> dict[str, TensorSpec]:
        if self.output_norms:
            return {}
        width = self.widths[-1]
        masks = {}
        for stage, depth in enumerate(self.depths):
            windows = self.pretrain_img_size // self.patch_size // 2**stage // self.window_size
            # every second block shifts its windows, unless one of them is the whole map
            for block in range(1, depth, 2) if windows > 1 else ():
                masks[f"layers.{stage}.blocks.{block}.attn_mask"] = tensor(
                    windows**2, self.window_size**2, self.window_size**2
                )
        return masks | under("norm", norm(width)) | under("head", linear(1000, width))

    def arguments(self) -> dict[str, Any]:
        return {
            "pretrain_img_size": self.pretrain_img_size,
            "patch_size": self.patch_size,
            "embed_dim": self.embed_dim,
            "depths": list(self.depths),
            "num_heads": list(self.num_heads),
            "window_size": self.window_size,
            "mlp_ratio": self.mlp_ratio,
            "qkv_bias": self.qkv_bias,
            "patch_norm": self.patch_norm,
            "ape": self.ape,
        }

    @property
    def drop_path_rate(self) -> float | None:
        return 0.1 if sum(self.depths) <= 12 else None


def _pretrain_img_size(
    shapes: Shapes, patch_size: int, window_size: int, depths: tuple[int, ...]
) -> int:
    """Width of the pretraining's images, in pixels.

    It matters to the absolute position embedding alone. Where nothing shows it, the last stage's
    map is taken to be one window, as in all released models.
    """
    if "absolute_pos_embed" in shapes:
        return patch_size * shapes("absolute_pos_embed", 4)[-1]
    for stage in range(len(depths)):
        mask = f"layers.{stage}.blocks.1.attn_mask"
        if mask in shapes:
            windows = isqrt(shapes(mask, 3)[0])
            return patch_size * (windows * window_size << stage)
    return patch_size * (window_size << len(depths) - 1)
