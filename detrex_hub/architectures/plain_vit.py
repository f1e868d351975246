"""The common base of plain ViTs, with one width in all blocks, below ViTDet's feature pyramid.

Facts: detectron2 02b5c4e2, `modeling/backbone/vit.py`, and detrex e244e6c,
`modeling/backbone/eva_02.py`. Both attend in windows, except in the last block of each quarter of
the depth. Pretraining attended to the whole image, which was one window.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from math import isqrt
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures.base import (
    Architecture,
    BackboneCall,
    Call,
    Fact,
    Facts,
    Overrides,
    Specs,
    image_overrides,
)
from detrex_hub.architectures.blocks import StateDict, tensor, under
from detrex_hub.architectures.stages import Shapes, split_arguments
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Drop, Rule

CLASS_TOKEN = "class token, which detectors do not have"
MASK_TOKEN = "mask token, used only in pretraining"
FINAL_NORM = "final norm of the pretraining, which the backbone does not have"

HEADS_DROPPED: tuple[Rule, ...] = (
    Drop("cls_token", CLASS_TOKEN, optional=True),
    Drop("mask_token", MASK_TOKEN, optional=True),
    Drop("norm.*", FINAL_NORM, optional=True),
    Drop("fc_norm.*", "norm before the ImageNet classifier", optional=True),
    Drop("head.*", "ImageNet classifier", optional=True),
)

# the published weights whose heads are not 64 channels wide: channels -> heads
_HEADS = {1280: 16}
# what detrex's and ViTDet's configs train with: channels -> rate
_DROP_PATH_RATES = {768: 0.1, 1024: 0.4, 1280: 0.5}
# the pyramid's maps by their stage: stage i has stride 4 * 2**i, the ViT's only one has 16
_SCALES = (4.0, 2.0, 1.0, 0.5)
_PYRAMID_CHANNELS = 256


# released sizes by width
_SIZES = {192: "-Ti", 384: "-S", 768: "-B", 1024: "-L", 1280: "-H", 1408: "-g"}


class PlainViT(Architecture, frozen=True, kw_only=True):
    """A plain Vision Transformer whose last map becomes a feature pyramid.

    Args:
        embed_dim: channels.
        depth: blocks.
        num_heads: attention heads.
        patch_size: width of a patch, in pixels.
        mlp_ratio: hidden width of a block's feed-forward layers over its width.
        qkv_bias: whether queries and values have biases.
        pretrain_img_size: width of the pretraining's images, in pixels; its positions are resized.
        pretrain_use_cls_token: whether the first position is that of a class token.
        img_size: width of the detector's images, in pixels. It is that of detrex's configs. Like
            the next two, it only shapes tensors that the model sets itself.
        window_size: width of a window, in patches.
        window_block_indexes: the blocks that attend in windows; the others attend to the whole map.
    """

    embed_dim: int
    depth: int
    num_heads: int
    patch_size: int = 16
    mlp_ratio: float
    qkv_bias: bool = True
    pretrain_img_size: int = 224
    pretrain_use_cls_token: bool = True
    img_size: int = 1024
    window_size: int
    window_block_indexes: tuple[int, ...]

    lazy_paths: ClassVar[Mapping[str, Kind]] = {
        ".embed_dim": kinds.SIZE,
        ".depth": kinds.SIZE,
        ".num_heads": kinds.SIZE,
        ".patch_size": kinds.SIZE,
        ".mlp_ratio": kinds.NUMBER,
        ".qkv_bias": kinds.FLAG,
        ".pretrain_img_size": kinds.SIZE,
        ".pretrain_use_cls_token": kinds.FLAG,
    }
    backbone: ClassVar[bool] = True
    node: ClassVar[str] = "model.backbone.net"
    family: ClassVar[str] = "ViT"
    """Its name in tables, without its size."""
    built_by: ClassVar[str]
    """Import path of the class, beside its `SimpleFeaturePyramid`."""
    defaults: ClassVar[Mapping[str, Any]]
    """Defaults of the class's arguments."""

    @property
    def backbone_label(self) -> str:
        return self.family + _SIZES.get(self.embed_dim, "")

    @abstractmethod
    def block(self) -> StateDict:
        """The weights of one block."""

    def embeddings(self) -> StateDict:
        """Patches and positions."""
        side = self.pretrain_img_size // self.patch_size
        positions = side**2 + self.pretrain_use_cls_token
        weight = tensor(self.embed_dim, 3, self.patch_size, self.patch_size)
        return {
            "pos_embed": tensor(1, positions, self.embed_dim),
            "patch_embed.proj.weight": weight,
            "patch_embed.proj.bias": tensor(self.embed_dim),
        }

    def blocks(self) -> StateDict:
        target: StateDict = {}
        for index in range(self.depth):
            target |= under(f"blocks.{index}", self.block())
        return target

    def arguments(self) -> dict[str, Any]:
        """The arguments of the class for these weights, by its own names."""
        return {
            "embed_dim": self.embed_dim,
            "depth": self.depth,
            "num_heads": self.num_heads,
            "patch_size": self.patch_size,
            "mlp_ratio": self.mlp_ratio,
            "qkv_bias": self.qkv_bias,
            "pretrain_img_size": self.pretrain_img_size,
            "pretrain_use_cls_token": self.pretrain_use_cls_token,
        }

    def overrides(self, preprocessing: Mapping[str, Any]) -> Overrides:
        given, usual = split_arguments(self.arguments(), self.defaults)
        images = image_overrides(preprocessing)
        return Overrides(
            lazy={f"{self.node}.{name}": value for name, value in given.items()} | images.lazy,
            lazy_if_present={f"{self.node}.{name}": value for name, value in usual.items()}
            | images.lazy_if_present,
            yacs=images.yacs,
        )

    def notes(self) -> tuple[str, ...]:
        attending = [i for i in range(self.depth) if i not in self.window_block_indexes]
        found = [
            "the config chooses which blocks use window attention. A config for another depth "
            f"needs {self.node}.window_block_indexes too (for {self.depth} blocks, detrex's "
            f"configs have all but {', '.join(map(str, attending))})"
        ]
        if self.patch_size != 16:
            found.append(
                f"patches are {self.patch_size} pixels wide, and detectron2's SimpleFeaturePyramid "
                "names its maps after strides that are powers of two, so no detector can be built "
                "on it. To resample the kernels for patches of 16, convert with: "
                "--fact patch_size=16"
            )
        return tuple(found)

    def build(
        self, preprocessing: Mapping[str, Any], stages: Sequence[int] = (1, 2, 3)
    ) -> BackboneCall | None:
        if self.patch_size != 16:
            return None
        given, _ = split_arguments(self.arguments(), self.defaults)
        if self.embed_dim in _DROP_PATH_RATES:
            given["drop_path_rate"] = _DROP_PATH_RATES[self.embed_dim]
        net = Call(
            self.built_by,
            given
            | {
                "img_size": self.img_size,
                "window_size": self.window_size,
                "window_block_indexes": list(self.window_block_indexes),
                "norm_layer": Call("torch.nn.LayerNorm", {"eps": 1e-6}, partial=True),
                "use_rel_pos": True,
            },
        )
        return BackboneCall(
            f"{self.built_by.rpartition('.')[0]}.SimpleFeaturePyramid",
            {
                "net": net,
                "in_feature": "last_feat",
                "out_channels": _PYRAMID_CHANNELS,
                "scale_factors": [_SCALES[stage] for stage in stages],
                "norm": "LN",
                "square_pad": self.img_size,
            },
            channels={f"p{stage + 2}": _PYRAMID_CHANNELS for stage in stages},
        )


def usual_windows(depth: int) -> tuple[int, ...]:
    """The blocks that attend in windows in detrex's and ViTDet's configs: all except the last of
    each quarter."""
    fourth = max(depth // 4, 1)
    return tuple(block for block in range(depth) if (block + 1) % fourth)


def read_positions(shapes: Shapes, patch_size: int) -> tuple[int, bool]:
    """Width of the pretraining's images, in pixels, and whether the class token has a position. The
    result is unique, because no two squares are consecutive numbers."""
    rows = shapes("pos_embed", 3)[1]
    for side, token in ((isqrt(rows - 1), True), (isqrt(rows), False)):
        if side > 0 and side**2 + token == rows:
            return side * patch_size, token
    raise shapes.refusal(f"pos_embed has {rows} positions, which do not fit a square image")


def num_heads(head_dim: Callable[[Specs], int | None]) -> Fact:
    """The fact for the number of attention heads.

    Args:
        head_dim: channels of a head, where a shape shows them.
    """

    def shown(specs: Specs, layout: str) -> int | None:
        width = head_dim(specs)
        return _width(specs) // width if width else None

    def usual(specs: Specs, layout: str, facts: Facts) -> int | None:
        width = _width(specs)
        return _HEADS.get(width) or (width // 64 if width % 64 == 0 else None)

    return Fact(
        kinds.SIZE,
        "attention heads: 64 channels each in the released models, and 16 heads for 1280 channels",
        default=usual,
        assumed=True,
        shown=shown,
        config=(".num_heads",),
    )


def heads(shapes: Shapes, facts: Facts, embed_dim: int) -> int:
    """Attention heads, which divide the channels.

    Raises:
        ArchitectureError: they do not, or their number is not known.
    """
    number: int | None = facts.get("num_heads")
    if number is None:
        raise shapes.refusal(
            f"shapes do not show how many heads its {embed_dim} channels have. Set "
            "--fact num_heads=N"
        )
    if embed_dim % number:
        raise shapes.refusal(f"{number} heads do not divide its {embed_dim} channels")
    return number


def _width(specs: Specs) -> int:
    return Shapes(specs, "plain ViT")("patch_embed.proj.weight", 4)[0]
