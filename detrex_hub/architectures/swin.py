"""Swin Transformers: other libraries' names to those of detectron2's `SwinTransformer`.

Facts: microsoft/Swin-Transformer f82860b, timm 1.0.31, transformers 4.57.1, mmdet 3.3.0,
mmpretrain 1.2.0 and detectron2 02b5c4e2, `modeling/backbone/swin.py`. Stage outputs are equal in
float64, unless a map is not larger than the window: the original then turns the shift off, and
detectron2 does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec.structs import replace

from detrex_hub import kinds
from detrex_hub.architectures.base import Fact, Facts, Layout, Specs
from detrex_hub.architectures.blocks import StateDict, conv, linear, norm, tensor, under
from detrex_hub.architectures.foreign_models import TimmModel, TransformersModel, backbone
from detrex_hub.architectures.mmdet_layout import OTHER_PARTS_DROPPED, of_detector
from detrex_hub.architectures.stages import (
    FINAL_NORM_INITIALISED,
    OUTPUT_NORMS_INITIALISED,
    Shapes,
    StagedBackbone,
    found_norms,
    kept,
    mlp_ratio,
    output_norms,
)
from detrex_hub.errors import ArchitectureError
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Compute, Concat, Drop, Rename, Rule, in_target_names, prefixed
from detrex_hub.mapping.operations import BicubicTable, GeometricTable, Permute
from detrex_hub.specs import TensorSpec

if TYPE_CHECKING:
    from typing_extensions import Self

TABLE = "layers.{i}.blocks.{j}.attn.relative_position_bias_table"
INDEX = "layers.{i}.blocks.{j}.attn.relative_position_index"

_BLOCK = "layers.{i}.blocks.{j}"
BLOCKS: tuple[Rule, ...] = (
    *kept("patch_embed.proj.*"),
    *kept("patch_embed.norm.*", optional=True),
    *kept(
        f"{_BLOCK}.norm1.*",
        TABLE,
        f"{_BLOCK}.attn.qkv.*",
        f"{_BLOCK}.attn.proj.*",
        f"{_BLOCK}.norm2.*",
        f"{_BLOCK}.mlp.fc1.*",
        f"{_BLOCK}.mlp.fc2.*",
    ),
    *kept(INDEX, optional=True),
)
_DOWNSAMPLES = kept("layers.{i}.downsample.**")
_OUTPUT_NORMS = kept("norm{i}.*", optional=True)

_MASKS = Drop(
    "layers.{i}.blocks.{j}.attn_mask",
    "mask of the shifted windows at the pretraining size, which the model computes from the "
    "image size",
    optional=True,
)
_CLASSIFIER = "ImageNet classifier"
_FINAL_NORM = "norm before the ImageNet classifier, not an output norm of a stage"
_FIRST_NORM = "norm of the stage of stride 4, which detrex's configs do not return"
_MASK_TOKEN = "mask token, used only in pretraining"

_IN_TRANSFORMERS = "encoder.layers.{i}.blocks.{j}"
_ATTENTION = f"{_IN_TRANSFORMERS}.attention"
_TRANSFORMERS: tuple[Rule, ...] = (
    Rename("embeddings.patch_embeddings.projection.*", "patch_embed.proj.*"),
    Rename("embeddings.norm.*", "patch_embed.norm.*", optional=True),
    Rename(f"{_IN_TRANSFORMERS}.layernorm_before.*", f"{_BLOCK}.norm1.*"),
    Rename(f"{_ATTENTION}.self.relative_position_bias_table", TABLE),
    Rename(f"{_ATTENTION}.self.relative_position_index", INDEX, optional=True),
    Concat(
        tuple(f"{_ATTENTION}.self.{name}.*" for name in ("query", "key", "value")),
        f"{_BLOCK}.attn.qkv.*",
    ),
    Rename(f"{_ATTENTION}.output.dense.*", f"{_BLOCK}.attn.proj.*"),
    Rename(f"{_IN_TRANSFORMERS}.layernorm_after.*", f"{_BLOCK}.norm2.*"),
    Rename(f"{_IN_TRANSFORMERS}.intermediate.dense.*", f"{_BLOCK}.mlp.fc1.*"),
    Rename(f"{_IN_TRANSFORMERS}.output.dense.*", f"{_BLOCK}.mlp.fc2.*"),
    # unlike in timm, the downsampling of a stage comes after its blocks
    Rename("encoder.layers.{i}.downsample.**", "layers.{i}.downsample.**"),
    # SwinBackbone counts the stages from 1 behind the stem
    Rename("hidden_states_norms.stage{i+2}.*", "norm{i+1}.*", optional=True),
    Drop("hidden_states_norms.stage1.*", _FIRST_NORM, optional=True),
    Drop("layernorm.*", _FINAL_NORM, optional=True),
    Drop("embeddings.mask_token", _MASK_TOKEN, optional=True),
)

_IN_MMDET = "stages.{i}.blocks.{j}"
# torch.nn.Unfold gathers the four patches of each channel, detectron2 the channels of each patch;
# the patches are at (0, 0), (0, 1), (1, 0), (1, 1), and the second and third are exchanged
_MERGING = (0, 2, 1, 3)
_MMDET_BLOCKS: tuple[Rule, ...] = (
    Rename("patch_embed.projection.*", "patch_embed.proj.*"),
    Rename("patch_embed.norm.*", "patch_embed.norm.*", optional=True),
    Rename(f"{_IN_MMDET}.norm1.*", f"{_BLOCK}.norm1.*"),
    Rename(f"{_IN_MMDET}.attn.w_msa.relative_position_bias_table", TABLE),
    Rename(f"{_IN_MMDET}.attn.w_msa.relative_position_index", INDEX, optional=True),
    Rename(f"{_IN_MMDET}.attn.w_msa.qkv.*", f"{_BLOCK}.attn.qkv.*"),
    Rename(f"{_IN_MMDET}.attn.w_msa.proj.*", f"{_BLOCK}.attn.proj.*"),
    Rename(f"{_IN_MMDET}.norm2.*", f"{_BLOCK}.norm2.*"),
    Rename(f"{_IN_MMDET}.ffn.layers.0.0.*", f"{_BLOCK}.mlp.fc1.*"),
    Rename(f"{_IN_MMDET}.ffn.layers.1.*", f"{_BLOCK}.mlp.fc2.*"),
    Compute(
        Permute(1, _MERGING),
        "stages.{i}.downsample.reduction.weight",
        "layers.{i}.downsample.reduction.weight",
    ),
    Compute(Permute(0, _MERGING), "stages.{i}.downsample.norm.*", "layers.{i}.downsample.norm.*"),
)
_MMDET: tuple[Rule, ...] = (
    *_MMDET_BLOCKS,
    Rename("norm{i+1}.*", "norm{i+1}.*", optional=True),
    Drop("norm0.*", _FIRST_NORM, optional=True),
)
_MMPRETRAIN: tuple[Rule, ...] = (*_MMDET_BLOCKS, Drop("norm3.*", _FINAL_NORM, optional=True))

RULES: Mapping[str, tuple[Rule, ...]] = {
    "original": (
        *BLOCKS,
        *_DOWNSAMPLES,
        *_OUTPUT_NORMS,
        _MASKS,
        Drop("norm.*", _FINAL_NORM),
        Drop("head.*", _CLASSIFIER, optional=True),
    ),
    "timm": (
        *BLOCKS,
        # timm has the downsampling before the blocks of the next stage
        Rename("layers.{i+1}.downsample.**", "layers.{i}.downsample.**"),
        _MASKS,
        Drop("norm.*", _FINAL_NORM, optional=True),
        Drop("head.*", _CLASSIFIER, optional=True),
        Drop("head.fc.*", _CLASSIFIER, optional=True),
    ),
    "transformers": _TRANSFORMERS,
    "transformers_classifier": (
        *prefixed(_TRANSFORMERS, "swin.", ""),
        Drop("classifier.*", _CLASSIFIER, optional=True),
        Drop("decoder.**", "decoder of the pretraining", optional=True),
    ),
    "mmdet": _MMDET,
    "mmdet_detector": (*prefixed(_MMDET, "backbone.", ""), *OTHER_PARTS_DROPPED),
    "mmpretrain": _MMPRETRAIN,
    "mmpretrain_classifier": (
        *prefixed(_MMPRETRAIN, "backbone.", ""),
        Drop("head.**", _CLASSIFIER, optional=True),
    ),
    "detrex": (
        *BLOCKS,
        *_DOWNSAMPLES,
        *_OUTPUT_NORMS,
        *kept("absolute_pos_embed", optional=True),
        _MASKS,
    ),
}

# layouts with detrex's names for the keys from which sizes are read
_OWN_NAMES = ("original", "timm", "detrex")
_OTHER_WINDOW = "fits the windows of the file only; the model computes its own"
_TABLES: Mapping[str, type[BicubicTable] | type[GeometricTable]] = {
    "bicubic": BicubicTable,
    "geometric": GeometricTable,
}

_BLOCK_KEYS = ("patch_embed.proj.weight", "layers.0.blocks.0.attn.relative_position_bias_table")
_V2 = (
    "it is a Swin Transformer V2 (its attention has a logit_scale), which neither "
    "detrex nor detectron2 has"
)
_TRANSFORMERS_KEYS = (
    "embeddings.patch_embeddings.projection.weight",
    "encoder.layers.0.blocks.0.attention.self.relative_position_bias_table",
)
_MMDET_KEYS = (
    "patch_embed.projection.weight",
    "stages.0.blocks.0.attn.w_msa.relative_position_bias_table",
)


def _of_mmdet(specs: Specs) -> str | None:
    """A single norm3 is a classifier's final norm; a detector's is one of several."""
    norms = found_norms(specs)
    return "norm3.weight alone, as in a classifier" if norms == (3,) else None


# released sizes by width and blocks of the third stage
_SIZES = {(96, 6): "-T", (96, 18): "-S", (128, 18): "-B", (192, 18): "-L"}


class Swin(StagedBackbone, frozen=True, kw_only=True):
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
        output_norms: the stages whose output norms the weights hold: none of a classifier's.
        source_window: width of the windows that the relative position tables were trained for, if
            they were resampled.
        table_resampling: the method: ``bicubic``, as in Swin-Transformer and mmdetection, or
            ``geometric``, as in timm.
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
    source_window: int | None = None
    table_resampling: str | None = None

    name: ClassVar[str] = "swin"
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
            wrapped=True,
            present=(*_BLOCK_KEYS, "layers.0.downsample.reduction.weight", "norm.weight"),
        ),
        "timm": Layout(
            present=(*_BLOCK_KEYS, "layers.1.downsample.reduction.weight"),
            absent=("layers.0.downsample.**",),
        ),
        "transformers": Layout(present=_TRANSFORMERS_KEYS),
        "transformers_classifier": Layout(
            present=tuple(f"swin.{key}" for key in _TRANSFORMERS_KEYS)
        ),
        "mmdet": Layout(present=(*_MMDET_KEYS, "norm{i}.weight"), check=_of_mmdet),
        "mmdet_detector": Layout(
            present=tuple(f"backbone.{key}" for key in _MMDET_KEYS),
            absent=("head.**",),
            check=of_detector("backbone.norm1.weight"),
        ),
        "mmpretrain": Layout(
            present=(*_MMDET_KEYS, "norm3.weight"),
            absent=("norm0.*", "norm1.*", "norm2.*"),
        ),
        "mmpretrain_classifier": Layout(
            present=(*(f"backbone.{key}" for key in _MMDET_KEYS), "backbone.norm3.weight"),
            absent=("backbone.norm1.*", "bbox_head.**", "neck.**"),
        ),
        "detrex": Layout(
            present=(*_BLOCK_KEYS, "layers.0.downsample.reduction.weight"),
            absent=("norm.*", "head.**"),
        ),
    }
    no_counterpart: ClassVar[Mapping[str, str]] = {
        "layers.{i}.blocks.{j}.attn.logit_scale": _V2,
        "encoder.layers.{i}.blocks.{j}.attention.self.logit_scale": _V2,
        "swinv2.encoder.layers.{i}.blocks.{j}.attention.self.logit_scale": _V2,
        "stages.{i}.blocks.{j}.attn.w_msa.logit_scale": _V2,
        "backbone.stages.{i}.blocks.{j}.attn.w_msa.logit_scale": _V2,
    }
    facts: ClassVar[Mapping[str, Fact]] = {
        "window_size": Fact(
            kinds.Integer(least=2, most=64),
            "window size, in patches, to resample the relative position tables for",
        ),
        "table_resampling": Fact(
            kinds.Choice(tuple(_TABLES)),
            "resampling method: bicubic, or geometric as in timm",
            default="bicubic",
        ),
    }
    built_by: ClassVar[str] = "detectron2.modeling.backbone.swin.SwinTransformer"
    taken_by: ClassVar[frozenset[str]] = frozenset({"SwinTransformer"})
    lazy_paths: ClassVar[Mapping[str, Kind]] = {
        **StagedBackbone.lazy_paths,
        ".pretrain_img_size": kinds.SIZE,
        ".patch_size": kinds.SIZE,
        ".embed_dim": kinds.SIZE,
        ".depths": kinds.SIZES,
        ".num_heads": kinds.SIZES,
        ".window_size": kinds.SIZE,
        ".mlp_ratio": kinds.NUMBER,
        ".qkv_bias": kinds.FLAG,
        ".patch_norm": kinds.FLAG,
        ".ape": kinds.FLAG,
    }
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
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> Swin:
        if layout not in _OWN_NAMES:
            specs = in_target_names(RULES[layout], specs)
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
            raise shapes.refusal("a relative_position_bias_table does not fit a square window")
        if len(set(windows)) > 1:
            raise shapes.refusal(
                f"its stages have windows of {windows}, but detectron2's Swin has one size for "
                "all stages"
            )
        hidden, _ = shapes("layers.0.blocks.0.mlp.fc1.weight", 2)
        ape = "absolute_pos_embed" in shapes
        if ape and layout != "detrex":
            raise shapes.refusal(
                "it has an absolute position embedding with the layout (1, patches, channels), "
                "but detectron2's is (1, channels, height, width). No released Swin has one"
            )
        made = cls(
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
        window = facts.get("window_size")
        if window in (None, made.window_size):
            return made
        return made.resampled(window, facts["table_resampling"])

    def resampled(self, window: int, how: str) -> Swin:
        """The same model with relative position tables resampled for another window."""
        size = (
            self.pretrain_img_size
            if self.ape
            else _usual_size(self.patch_size, window, self.depths)
        )
        return replace(
            self,
            window_size=window,
            pretrain_img_size=size,
            # the indices of the file belong to the other window
            position_index=False,
            source_window=self.window_size,
            table_resampling=how,
        )

    def notes(self) -> tuple[str, ...]:
        if self.source_window is None:
            return ()
        like = "timm" if self.table_resampling == "geometric" else "Swin-Transformer"
        return (
            f"relative position tables were resampled from windows of {self.source_window} to "
            f"{self.window_size} ({self.table_resampling}, as {like} does). The model no longer "
            "computes what the original does: train it further. Resampling differs between "
            "libraries by 3 to 15 % of a stage's output",
        )

    @property
    def backbone_label(self) -> str:
        return "Swin" + _SIZES.get((self.embed_dim, self.depths[2]), "")

    def rules(self, layout: str) -> tuple[Rule, ...]:
        found = RULES[layout]
        if self.source_window is None:
            return found
        kind = _TABLES[self.table_resampling or "bicubic"]
        operation = kind(self.window_size, self.source_window)

        def resampling(rule: Rule) -> Rule:
            match rule:
                case Rename(target=target) if target == TABLE:
                    return Compute(operation, rule.source, TABLE)
                case Rename(target=target) if target == INDEX:
                    return Drop(rule.source, _OTHER_WINDOW, optional=True)
            return rule

        return tuple(map(resampling, found))

    def as_stored(self) -> Self:
        return replace(self, source_window=None, table_resampling=None)

    def rules_back(self, layout: str) -> tuple[Rule, ...]:
        rules = super().rules_back(layout)
        if layout == "transformers" and 0 in self.output_norms:
            return (*rules, Rename("norm0.*", "hidden_states_norms.stage1.*"))
        return rules

    def in_transformers(self, layout: str, preprocessing: Mapping[str, Any]) -> TransformersModel:
        stages = [f"stage{stage + 1}" for stage in self.output_norms or (1, 2, 3)]
        fields = {
            "image_size": self.pretrain_img_size,
            "patch_size": self.patch_size,
            "num_channels": 3,
            "embed_dim": self.embed_dim,
            "depths": list(self.depths),
            "num_heads": list(self.num_heads),
            "window_size": self.window_size,
            "mlp_ratio": self.mlp_ratio,
            "qkv_bias": self.qkv_bias,
            "use_absolute_embeddings": False,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-5,
            "out_features": stages,
        }
        self._check_export()
        return backbone(
            "swin",
            fields,
            name="SwinBackbone",
            initialised=None if self.output_norms else OUTPUT_NORMS_INITIALISED,
        )

    def in_timm(self) -> TimmModel:
        self._check_export()
        if self.output_norms:
            raise ArchitectureError(
                "the weights contain output norms of stages, which timm's Swin does not have",
                hint="Export to transformers instead: --to transformers",
            )
        return TimmModel(
            architecture="swin_tiny_patch4_window7_224",
            model_args={
                "img_size": self.pretrain_img_size,
                "patch_size": self.patch_size,
                "window_size": self.window_size,
                "embed_dim": self.embed_dim,
                "depths": list(self.depths),
                "num_heads": list(self.num_heads),
                "mlp_ratio": self.mlp_ratio,
                "qkv_bias": self.qkv_bias,
                "num_classes": 0,
                "pretrained_strict": False,
                # like detectron2's: images of any size, with windows that always shift
                "strict_img_size": False,
                "always_partition": True,
            },
            initialised=FINAL_NORM_INITIALISED,
        )

    def _check_export(self) -> None:
        if self.ape or not self.patch_norm:
            raise ArchitectureError(
                "exports never have an absolute position embedding, and always have a norm of "
                "the patches",
                hint="Use the weights in detrex, with from_hub",
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
        if self.source_window is not None:
            window = self.source_window
            size = _usual_size(self.patch_size, window, self.depths)
            return replace(
                self, window_size=window, pretrain_img_size=size, source_window=None
            ).dropped()
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

    It matters only for the absolute position embedding. If nothing shows it, the last stage's map
    is assumed to be one window, as in all released models.
    """
    if "absolute_pos_embed" in shapes:
        return patch_size * shapes("absolute_pos_embed", 4)[-1]
    for stage in range(len(depths)):
        mask = f"layers.{stage}.blocks.1.attn_mask"
        if mask in shapes:
            windows = isqrt(shapes(mask, 3)[0])
            return patch_size * (windows * window_size << stage)
    return _usual_size(patch_size, window_size, depths)


def _usual_size(patch_size: int, window_size: int, depths: tuple[int, ...]) -> int:
    """Width in pixels of images for which the last stage's map is one window."""
    return patch_size * (window_size << len(depths) - 1)
