"""InternImages: the original's names are those of detrex's `InternImage`.

Facts: OpenGVLab/InternImage, `classification/` and its configs, and detrex e244e6c,
`modeling/backbone/internimage.py`. Stage outputs are equal in float64. There are no output norms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from msgspec.structs import replace

from detrex_hub import kinds
from detrex_hub.architectures.base import Fact, Facts, Layout, Overrides, Specs
from detrex_hub.architectures.blocks import StateDict, batch_norm, conv, linear, norm, tensor, under
from detrex_hub.architectures.stages import Shapes, StagedBackbone, kept, mlp_ratio
from detrex_hub.errors import UsageError
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Drop, Rule, indices
from detrex_hub.specs import TensorSpec

BODY: tuple[Rule, ...] = kept(
    "patch_embed.conv{i}.*",
    "patch_embed.norm{i}.1.*",
    "levels.{i}.blocks.{j}.norm1.0.*",
    "levels.{i}.blocks.{j}.dcn.dw_conv.0.*",
    "levels.{i}.blocks.{j}.dcn.dw_conv.1.1.*",
    "levels.{i}.blocks.{j}.dcn.offset.*",
    "levels.{i}.blocks.{j}.dcn.mask.*",
    "levels.{i}.blocks.{j}.dcn.input_proj.*",
    "levels.{i}.blocks.{j}.dcn.output_proj.*",
    "levels.{i}.blocks.{j}.norm2.0.*",
    "levels.{i}.blocks.{j}.mlp.fc1.*",
    "levels.{i}.blocks.{j}.mlp.fc2.*",
    "levels.{i}.downsample.conv.*",
    "levels.{i}.downsample.norm.1.*",
)

_HEAD = "head for ImageNet"
HEADS_DROPPED: tuple[Rule, ...] = (
    Drop("conv_head.**", _HEAD, optional=True),
    Drop("dcnv3_head_x4.0.*", _HEAD, optional=True),
    Drop("dcnv3_head_x3.*", _HEAD, optional=True),
    Drop("clip_projector.**", _HEAD, optional=True),
    Drop("fc_norm.0.*", _HEAD, optional=True),
    Drop("head.*", _HEAD, optional=True),
)

# sampling points of a deformable convolution, 3 x 3
_POINTS = 9
# the published weights (L and XL) whose offsets are not scaled by 1: channels -> scale
_OFFSET_SCALES = {160: 2.0, 192: 2.0}
# H and G have a norm after every sixth block of the third stage
_POST_NORM_EVERY = 6

_BLOCK_KEYS = ("patch_embed.conv1.weight", "levels.0.blocks.0.dcn.offset.weight")


def _offset_scale(specs: Specs, layout: str, facts: Facts) -> float:
    channels = Shapes(specs, "InternImage")("patch_embed.conv2.weight", 4)[0]
    return _OFFSET_SCALES.get(channels, 1.0)


def _post_norm_blocks(specs: Specs, layout: str, facts: Facts) -> list[int] | None:
    usual = [_POST_NORM_EVERY * (index + 1) - 1 for index in range(_post_norms(specs))]
    return usual or None


def _post_norms(specs: Specs) -> int:
    """Blocks of the third stage that a norm follows. The shapes show their number, but not which
    ones they are."""
    return len(indices(specs, "levels.2.post_norms.{n}.0.weight", "n"))


def _chosen_blocks(specs: Specs, facts: Facts) -> tuple[int, ...]:
    blocks, number = facts.get("level2_post_norm_block_ids", ()), _post_norms(specs)
    if len(blocks) != number:
        raise UsageError(
            f"level2_post_norm_block_ids has {len(blocks)} blocks, but the shapes show {number}"
        )
    return tuple(blocks)


# released sizes by width
_SIZES = {64: "-T", 80: "-S", 112: "-B", 160: "-L", 192: "-XL", 320: "-H"}


class InternImage(StagedBackbone, frozen=True, kw_only=True):
    """An InternImage backbone.

    Args:
        channels: channels of the first stage; each further stage has twice as many.
        depths: blocks of each stage.
        groups: groups of the deformable convolutions of each stage.
        mlp_ratio: hidden width of a block's feed-forward layers over its width.
        layer_scale: whether the weights hold the gammas by which blocks scale their channels.
        offset_scale: factor of the deformable convolutions' offsets; no shape shows it.
        post_norm: whether norms come after convolution and feed-forward.
        dw_kernel_size: kernel of the depthwise convolutions.
        res_post_norm: whether blocks have norms before and after (H).
        center_feature_scale: whether blocks mix in their input by a learned scale (H, G).
        level2_post_norm_block_ids: blocks of the third stage that a norm follows (H, G).
    """

    channels: int
    depths: tuple[int, ...]
    groups: tuple[int, ...]
    mlp_ratio: float = 4.0
    layer_scale: bool = False
    offset_scale: float = 1.0
    post_norm: bool = False
    dw_kernel_size: int = 3
    res_post_norm: bool = False
    center_feature_scale: bool = False
    level2_post_norm_block_ids: tuple[int, ...] = ()

    name: ClassVar[str] = "internimage"
    not_in_transformers: ClassVar[str | None] = "its convolutions are deformable"
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(present=(*_BLOCK_KEYS, "head.weight")),
        "detrex": Layout(
            present=_BLOCK_KEYS, absent=("head.*", "conv_head.**", "clip_projector.**")
        ),
    }
    facts: ClassVar[Mapping[str, Fact]] = {
        "offset_scale": Fact(
            kinds.Number(positive=True),
            "factor of the deformable convolutions' offsets: 2.0 in the released L and XL, 1.0 in "
            "all others",
            default=_offset_scale,
            assumed=True,
            config=(".offset_scale",),
        ),
        "level2_post_norm_block_ids": Fact(
            kinds.COUNTS,
            "blocks of the third stage with a norm behind them: every sixth in the released H and "
            "G",
            default=_post_norm_blocks,
            assumed=True,
            config=(".level2_post_norm_block_ids",),
        ),
    }
    lazy_paths: ClassVar[Mapping[str, Kind]] = {
        **StagedBackbone.lazy_paths,
        ".channels": kinds.SIZE,
        ".depths": kinds.SIZES,
        ".groups": kinds.SIZES,
        ".mlp_ratio": kinds.NUMBER,
        ".layer_scale": kinds.NUMBER,
        ".offset_scale": kinds.Number(positive=True),
        ".post_norm": kinds.FLAG,
        ".dw_kernel_size": kinds.SIZE,
        ".res_post_norm": kinds.FLAG,
        ".center_feature_scale": kinds.FLAG,
        ".level2_post_norm": kinds.FLAG,
        ".level2_post_norm_block_ids": kinds.COUNTS,
    }
    built_by: ClassVar[str] = "detrex.modeling.backbone.internimage.InternImage"
    taken_by: ClassVar[frozenset[str]] = frozenset({"InternImage"})
    defaults: ClassVar[Mapping[str, Any]] = {
        "mlp_ratio": 4.0,
        "offset_scale": 1.0,
        "post_norm": False,
        "dw_kernel_size": 3,
        "res_post_norm": False,
        "center_feature_scale": False,
        "level2_post_norm": False,
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> InternImage:
        shapes = Shapes(specs, "InternImage")
        stages = range(shapes.count("levels.{n}.blocks.0.norm1.0.weight"))
        first = "levels.0.blocks.0"
        channels = shapes("patch_embed.conv2.weight", 4)[0]
        masks = [shapes(f"levels.{i}.blocks.0.dcn.mask.weight", 2)[0] for i in stages]
        if any(rows % _POINTS for rows in masks):
            raise shapes.refusal(
                f"the masks of its convolutions have {masks} rows, not {_POINTS} a group"
            )
        hidden, _ = shapes(f"{first}.mlp.fc1.weight", 2)
        center_feature_scale = f"{first}.dcn.center_feature_scale_proj_weight" in shapes
        res_post_norm = f"{first}.res_post_norm1.0.weight" in shapes
        return cls(
            channels=channels,
            depths=tuple(shapes.count(f"levels.{i}.blocks.{{n}}.norm1.0.weight") for i in stages),
            groups=tuple(rows // _POINTS for rows in masks),
            mlp_ratio=mlp_ratio(hidden, channels),
            layer_scale=f"{first}.gamma1" in shapes,
            offset_scale=float(facts["offset_scale"]),
            # stages with post-norm have no final norm, except with the center feature scale: the
            # released models with it have either kind of post-norm
            post_norm=not res_post_norm
            if center_feature_scale
            else "levels.0.norm.0.weight" not in shapes,
            dw_kernel_size=shapes(f"{first}.dcn.dw_conv.0.weight", 4)[-1],
            res_post_norm=res_post_norm,
            center_feature_scale=center_feature_scale,
            level2_post_norm_block_ids=_chosen_blocks(specs, facts),
        )

    @property
    def backbone_label(self) -> str:
        return "InternImage" + _SIZES.get(self.channels, "")

    def rules(self, layout: str) -> tuple[Rule, ...]:
        there = {
            "levels.{i}.blocks.{j}.gamma1": self.layer_scale,
            "levels.{i}.blocks.{j}.gamma2": self.layer_scale,
            "levels.{i}.blocks.{j}.dcn.center_feature_scale_proj_weight": self.center_feature_scale,
            "levels.{i}.blocks.{j}.dcn.center_feature_scale_proj_bias": self.center_feature_scale,
            "levels.{i}.blocks.{j}.res_post_norm1.0.*": self.res_post_norm,
            "levels.{i}.blocks.{j}.res_post_norm2.0.*": self.res_post_norm,
            "levels.{i}.norm.0.*": self._stages_end_in_norms,
            "levels.2.post_norms.{k}.0.*": bool(self.level2_post_norm_block_ids),
        }
        return (
            *BODY,
            *kept(*(text for text, present in there.items() if present)),
            *(HEADS_DROPPED if layout == "original" else ()),
        )

    @property
    def _stages_end_in_norms(self) -> bool:
        return not self.post_norm or self.center_feature_scale

    @property
    def _takes_gammas(self) -> bool:
        """Whether detrex's model may be built with gammas. With gammas it ignores res_post_norm."""
        return self.layer_scale or not (self.res_post_norm or self.center_feature_scale)

    def target(self) -> StateDict:
        half = self.channels // 2
        target = (
            under("patch_embed.conv1", conv(half, 3, 3))
            | under("patch_embed.norm1.1", norm(half))
            | under("patch_embed.conv2", conv(self.channels, half, 3))
            | under("patch_embed.norm2.1", norm(self.channels))
        )
        for stage, (channels, depth, groups) in enumerate(
            zip(self.widths, self.depths, self.groups, strict=True)
        ):
            for block in range(depth):
                target |= under(f"levels.{stage}.blocks.{block}", self._block(channels, groups))
            if self._stages_end_in_norms:
                target |= under(f"levels.{stage}.norm.0", norm(channels))
            if stage + 1 < len(self.depths):
                target |= under(
                    f"levels.{stage}.downsample",
                    under("conv", conv(2 * channels, channels, 3, bias=False))
                    | under("norm.1", norm(2 * channels)),
                )
        for index in range(len(self.level2_post_norm_block_ids)):
            target |= under(f"levels.2.post_norms.{index}.0", norm(self.widths[2]))
        return target

    def _block(self, channels: int, groups: int) -> StateDict:
        hidden, kernel = int(channels * self.mlp_ratio), self.dw_kernel_size
        block = (
            under("norm1.0", norm(channels))
            | {"dcn.dw_conv.0.weight": tensor(channels, 1, kernel, kernel)}
            | {"dcn.dw_conv.0.bias": tensor(channels)}
            | under("dcn.dw_conv.1.1", norm(channels))
            | under("dcn.offset", linear(groups * _POINTS * 2, channels))
            | under("dcn.mask", linear(groups * _POINTS, channels))
            | under("dcn.input_proj", linear(channels, channels))
            | under("dcn.output_proj", linear(channels, channels))
            | under("norm2.0", norm(channels))
            | under("mlp.fc1", linear(hidden, channels))
            | under("mlp.fc2", linear(channels, hidden))
        )
        if self._takes_gammas:
            block |= {"gamma1": tensor(channels), "gamma2": tensor(channels)}
        if self.center_feature_scale:
            block["dcn.center_feature_scale_proj_weight"] = tensor(groups, channels)
            block["dcn.center_feature_scale_proj_bias"] = tensor(groups)
        if self.res_post_norm:
            block |= under("res_post_norm1.0", norm(channels))
            block |= under("res_post_norm2.0", norm(channels))
        return block

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.channels * 2**stage for stage in range(len(self.depths)))

    def set_by_model(self) -> frozenset[str]:
        if self.layer_scale:
            return frozenset()
        return frozenset(key for key in self.target() if key.endswith((".gamma1", ".gamma2")))

    def dropped(self) -> dict[str, TensorSpec]:
        width = self.widths[-1]
        if self.center_feature_scale:
            # H and G were pretrained with a CLIP-like projector on their last two stages
            projector: StateDict = {}
            for name in ("q", "k", "v"):
                projector |= under(f"norm1_{name}.0", norm(1024))
                projector[f"cross_dcn.{name}_bias"] = tensor(1024)
                projector |= under(f"cross_dcn.{name}", linear(1024, 1024, bias=False))
            projector |= under("cross_dcn.proj", linear(768, 1024))
            return (
                under("dcnv3_head_x4.0", conv(4096, width, 1))
                | under("dcnv3_head_x3", conv(1024, width // 2, 1))
                | under("clip_projector", projector)
                | under("fc_norm.0", norm(768))
                | under("head", linear(1000, 768))
            )
        wide = width * 3 // 2
        return (
            under("conv_head.0", conv(wide, width, 1, bias=False))
            | under("conv_head.1.0", batch_norm(wide))
            | under("head", linear(1000, wide))
        )

    def arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "channels": self.channels,
            "depths": list(self.depths),
            "groups": list(self.groups),
            "mlp_ratio": self.mlp_ratio,
            "offset_scale": self.offset_scale,
            "post_norm": self.post_norm,
            "dw_kernel_size": self.dw_kernel_size,
            "res_post_norm": self.res_post_norm,
            "center_feature_scale": self.center_feature_scale,
            "level2_post_norm": bool(self.level2_post_norm_block_ids),
        }
        if self._takes_gammas:
            # 1 has no effect: the weights overwrite the gammas, or there are none
            arguments["layer_scale"] = 1.0
        if self.level2_post_norm_block_ids:
            arguments["level2_post_norm_block_ids"] = list(self.level2_post_norm_block_ids)
        return arguments

    def overrides(self, preprocessing: Mapping[str, Any]) -> Overrides:
        found = super().overrides(preprocessing)
        if self._takes_gammas:
            return found
        return replace(found, lazy_remove=(f"{self.node}.layer_scale",))

    @property
    def drop_path_rate(self) -> float | None:
        return 0.1 if self.channels <= 112 else 0.0
