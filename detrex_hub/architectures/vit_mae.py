"""Plain ViTs, such as MAE's: the original's and timm's names are those of detectron2's `ViT`.

Facts: facebookresearch/mae efb2a80, timm 1.0.31, transformers 4.57.1 and detectron2 02b5c4e2,
`modeling/backbone/vit.py`. The outputs of the last block are equal in float64, without the class
token in the original and with relative positions of zero, their initial value, in detectron2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec.structs import replace

from detrex_hub import kinds
from detrex_hub.architectures.base import Fact, Facts, Layout, Specs
from detrex_hub.architectures.blocks import StateDict, linear, norm, tensor, under
from detrex_hub.architectures.declared import Settled
from detrex_hub.architectures.foreign_models import TimmModel, TransformersModel, backbone
from detrex_hub.architectures.plain_vit import (
    CLASS_TOKEN,
    FINAL_NORM,
    HEADS_DROPPED,
    MASK_TOKEN,
    PlainViT,
    heads,
    num_heads,
    read_positions,
    usual_windows,
)
from detrex_hub.architectures.stages import Shapes, kept, mlp_ratio
from detrex_hub.errors import ArchitectureError
from detrex_hub.mapping import (
    Compute,
    Concat,
    Drop,
    Rename,
    Rule,
    in_target_names,
    inverse,
    prefixed,
)
from detrex_hub.mapping.operations import Cut, PinvLast2
from detrex_hub.specs import TensorSpec

if TYPE_CHECKING:
    from typing_extensions import Self

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

IN_TRANSFORMERS = "encoder.layer.{i}"
TRANSFORMERS: tuple[Rule, ...] = (
    Rename("embeddings.position_embeddings", "pos_embed"),
    Rename("embeddings.patch_embeddings.projection.*", "patch_embed.proj.*"),
    Concat(
        tuple(
            f"{IN_TRANSFORMERS}.attention.attention.{name}.*" for name in ("query", "key", "value")
        ),
        "blocks.{i}.attn.qkv.*",
    ),
    Drop("embeddings.cls_token", CLASS_TOKEN, optional=True),
    Drop("embeddings.mask_token", MASK_TOKEN, optional=True),
    Drop("layernorm.*", FINAL_NORM, optional=True),
)
_TRANSFORMERS: tuple[Rule, ...] = (
    *TRANSFORMERS,
    Rename(f"{IN_TRANSFORMERS}.layernorm_before.*", "blocks.{i}.norm1.*"),
    Rename(f"{IN_TRANSFORMERS}.attention.output.dense.*", "blocks.{i}.attn.proj.*"),
    Rename(f"{IN_TRANSFORMERS}.layernorm_after.*", "blocks.{i}.norm2.*"),
    Rename(f"{IN_TRANSFORMERS}.intermediate.dense.*", "blocks.{i}.mlp.fc1.*"),
    Rename(f"{IN_TRANSFORMERS}.output.dense.*", "blocks.{i}.mlp.fc2.*"),
    Drop("pooler.**", "head of the class token", optional=True),
)

_IN_VITDET = "encoder.layer.{i}"
# transformers' VitDet is detectron2's ViT
VITDET: tuple[Rule, ...] = (
    Rename("embeddings.position_embeddings", "pos_embed"),
    Rename("embeddings.projection.*", "patch_embed.proj.*"),
    Rename(f"{_IN_VITDET}.norm1.*", "blocks.{i}.norm1.*"),
    Rename(f"{_IN_VITDET}.attention.qkv.*", "blocks.{i}.attn.qkv.*"),
    Rename(f"{_IN_VITDET}.attention.proj.*", "blocks.{i}.attn.proj.*"),
    Rename(f"{_IN_VITDET}.norm2.*", "blocks.{i}.norm2.*"),
    Rename(f"{_IN_VITDET}.mlp.fc1.*", "blocks.{i}.mlp.fc1.*"),
    Rename(f"{_IN_VITDET}.mlp.fc2.*", "blocks.{i}.mlp.fc2.*"),
    Rename(f"{_IN_VITDET}.attention.rel_pos_h", "blocks.{i}.attn.rel_pos_h", optional=True),
    Rename(f"{_IN_VITDET}.attention.rel_pos_w", "blocks.{i}.attn.rel_pos_w", optional=True),
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

RULES: Mapping[str, tuple[Rule, ...]] = {
    "original": (*BODY, *HEADS_DROPPED, *DECODER_DROPPED),
    "transformers": _TRANSFORMERS,
    "transformers_whole": (
        *prefixed(_TRANSFORMERS, "vit.", ""),
        Drop("decoder.**", _DECODER, optional=True),
        Drop("classifier.*", "ImageNet classifier", optional=True),
    ),
    "vitdet": VITDET,
    "detrex": (
        *BODY,
        *kept("blocks.{i}.attn.rel_pos_h", "blocks.{i}.attn.rel_pos_w", optional=True),
    ),
}

_TRANSFORMERS_KEYS = (
    "embeddings.position_embeddings",
    "encoder.layer.0.attention.attention.query.weight",
)
_EPS = (
    "transformers' config of ViTMAE says layer_norm_eps 1e-12, but the original and "
    "detectron2 have 1e-6, as in training. The outputs differ from transformers' by 2e-7 of "
    "their largest value"
)

_KEYS = ("pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight")
_LAYER_SCALE = f"{IN_TRANSFORMERS}.layer_scale1.lambda1"
# layer scales and separate biases, as DINOv2, BEiT and EVA have them
_OTHERS = ("blocks.{i}.ls1.gamma", "blocks.{i}.gamma_1", "blocks.{i}.attn.q_bias")


def _head_dim(specs: Specs) -> int | None:
    """Channels of a head, which relative positions show."""
    table = specs.get("blocks.0.attn.rel_pos_h")
    return table.shape[-1] if table and table.shape else None


class ViTMAE(PlainViT, frozen=True, kw_only=True):
    """A plain ViT, as MAE and timm write it.

    Args:
        relative_positions: whether the weights hold the relative positions of detectron2's `ViT`.
            Only weights trained with it do.
        source_patch_size: width of the patches that the weights were trained with, in pixels, if
            their kernels were resampled.
    """

    mlp_ratio: float = 4.0
    window_size: int = 14
    relative_positions: bool = False
    source_patch_size: int | None = None

    name: ClassVar[str] = "vit_mae"
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(present=(*_KEYS, "cls_token"), absent=_OTHERS),
        "transformers": Layout(present=_TRANSFORMERS_KEYS, absent=(_LAYER_SCALE,), note=_EPS),
        "transformers_whole": Layout(
            present=tuple(f"vit.{key}" for key in _TRANSFORMERS_KEYS), note=_EPS
        ),
        "vitdet": Layout(
            present=("embeddings.projection.weight", "encoder.layer.0.attention.qkv.weight")
        ),
        "detrex": Layout(present=_KEYS, absent=("cls_token", "norm.*", "head.*", *_OTHERS)),
    }
    facts: ClassVar[Mapping[str, Fact]] = {
        "num_heads": num_heads(_head_dim),
        "patch_size": Fact(
            kinds.Integer(least=2, most=64), "patch size, in pixels, to resample the kernels for"
        ),
    }
    tables: ClassVar[Mapping[str, tuple[Rule, ...]]] = RULES
    """The rules of each layout, without resampling."""
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
    def settle(cls, specs: Specs, layout: str, facts: Facts) -> Settled:
        return super().settle(in_target_names(cls.tables[layout], specs), layout, facts)

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> Self:
        shapes = Shapes(in_target_names(cls.tables[layout], specs), "plain ViT")
        embed_dim, _, patch_size, _ = shapes("patch_embed.proj.weight", 4)
        depth = shapes.count("blocks.{n}.norm1.weight")
        hidden, _ = shapes("blocks.0.mlp.fc1.weight", 2)
        pretrain_img_size, token = read_positions(shapes, patch_size)
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
        wanted = facts.get("patch_size")
        if wanted not in (None, patch_size):
            made = made.repatched(wanted)
        if not holds:
            return made
        return replace(
            made,
            img_size=max(widths) * patch_size,
            window_size=min(widths),
            window_block_indexes=tuple(i for i in range(depth) if widths[i] < max(widths)),
        )

    def repatched(self, patch_size: int) -> Self:
        """The same model with kernels resampled for patches of another width."""
        side = self.pretrain_img_size // self.patch_size
        return replace(
            self,
            patch_size=patch_size,
            # the model derives the shape of the positions from this number; they are not changed
            pretrain_img_size=side * patch_size,
            source_patch_size=self.patch_size,
        )

    def notes(self) -> tuple[str, ...]:
        if self.source_patch_size is None:
            return super().notes()
        return (
            *super().notes(),
            f"patch kernels were resampled from {self.source_patch_size} to {self.patch_size} "
            "pixels by the pseudo-inverse of bicubic enlargement (FlexiViT): an image enlarged as "
            "much gives nearly the same embedding, 0.3 % apart on a smooth one for DINOv2. "
            f"{self.node}.pretrain_img_size is what fits the shape of the positions",
        )

    also_written: ClassVar[tuple[str, ...]] = ("timm_vit",)
    written_as: ClassVar[Mapping[str, str]] = {"transformers": "vitdet", "timm": "timm_vit"}

    def as_stored(self) -> Self:
        return replace(self, source_patch_size=None)

    def rules_back(self, layout: str) -> tuple[Rule, ...]:
        if layout == "vitdet":
            return inverse(VITDET)
        if layout != "timm_vit":
            return super().rules_back(layout)
        whole = self.embeddings()["pos_embed"].shape
        without = (1, whole[1] - self.pretrain_use_cls_token, self.embed_dim)
        # timm's model without a class token has no position for it
        positions = Compute(
            Cut((0, whole[1] - without[1], 0), without, whole), "pos_embed", "pos_embed"
        )
        return (
            positions,
            *(rule for rule in BODY if isinstance(rule, Rename) and rule.source != "pos_embed"),
        )

    def in_transformers(self, layout: str, preprocessing: Mapping[str, Any]) -> TransformersModel:
        if self.not_in_transformers is not None:
            super().in_transformers(layout, preprocessing)
        if not self.pretrain_use_cls_token:
            raise ArchitectureError(
                "its positions have none for a class token, which transformers' VitDet requires",
                hint="Export to timm instead: --to timm",
            )
        if not self.mlp_ratio.is_integer():
            raise ArchitectureError(
                f"its mlp_ratio is {self.mlp_ratio}, but transformers' VitDet takes only whole "
                "numbers",
                hint="Export to timm instead: --to timm",
            )
        return backbone(
            "vitdet",
            {
                "hidden_size": self.embed_dim,
                "num_hidden_layers": self.depth,
                "num_attention_heads": self.num_heads,
                # only whole numbers
                "mlp_ratio": int(self.mlp_ratio),
                "hidden_act": "gelu",
                "layer_norm_eps": 1e-6,
                "image_size": self.img_size,
                "pretrain_image_size": self.pretrain_img_size,
                "patch_size": self.patch_size,
                "num_channels": 3,
                "qkv_bias": self.qkv_bias,
                "window_size": self.window_size,
                "window_block_indices": list(self.window_block_indexes),
                "residual_block_indices": [],
                "use_absolute_position_embeddings": True,
                "use_relative_position_embeddings": self.relative_positions,
                "out_features": [f"stage{self.depth}"],
            },
            name="VitDetBackbone",
        )

    def in_timm(self) -> TimmModel:
        if self.not_in_transformers is not None or self.relative_positions:
            return super().in_timm()
        return TimmModel(
            architecture="vit_base_patch16_224",
            model_args={
                "img_size": self.pretrain_img_size,
                "patch_size": self.patch_size,
                "embed_dim": self.embed_dim,
                "depth": self.depth,
                "num_heads": self.num_heads,
                "mlp_ratio": self.mlp_ratio,
                "qkv_bias": self.qkv_bias,
                # detectors have neither
                "class_token": False,
                "final_norm": False,
                "global_pool": "avg",
                "dynamic_img_size": True,
                "num_classes": 0,
            },
        )

    def rules(self, layout: str) -> tuple[Rule, ...]:
        return tuple(
            resampled
            for rule in self.tables[layout]
            for resampled in (self._resampling(rule) if self.source_patch_size else (rule,))
        )

    def _resampling(self, rule: Rule) -> tuple[Rule, ...]:
        """A rule, or the rules that resample its tensor."""
        if not isinstance(rule, Rename) or rule.target != "patch_embed.proj.*":
            return (rule,)
        assert self.source_patch_size is not None
        before, after = self.source_patch_size, self.patch_size
        source = rule.source.removesuffix("*")
        return (
            Compute(
                PinvLast2((after, after), (before, before)),
                f"{source}weight",
                "patch_embed.proj.weight",
            ),
            Rename(f"{source}bias", "patch_embed.proj.bias"),
        )

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
