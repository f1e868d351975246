"""DINOv2: the names of its authors, timm and transformers to detectron2's `ViT`.

Facts: facebookresearch/dinov2 b8931f7, timm 1.0.20, transformers 4.57.1 and detectron2 02b5c4e2,
`modeling/backbone/vit.py`. Its layer scales are folded into the layers before them. The outputs of
the last block are then equal in float64, without class and register tokens in the original, with
attention to the whole map in every block, and positions of the size of the image. Patches of 14
pixels are resampled for 16 on request only, by the pseudo-inverse of FlexiViT: an embedding differs
by 0.27 % on a smooth image that is enlarged by the same factor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from msgspec.structs import replace

from detrex_hub.architectures.base import Facts, Layout, Specs
from detrex_hub.architectures.blocks import norm, tensor, under
from detrex_hub.architectures.plain_vit import HEADS_DROPPED
from detrex_hub.architectures.stages import kept
from detrex_hub.architectures.vit_mae import IN_TRANSFORMERS, TRANSFORMERS, ViTMAE
from detrex_hub.errors import ArchitectureError
from detrex_hub.mapping import Compute, Drop, Rename, Rule, in_target_names, prefixed
from detrex_hub.mapping.operations import ScaleRows
from detrex_hub.specs import TensorSpec

if TYPE_CHECKING:
    from typing_extensions import Self

_REGISTERS = "register tokens, which detectors do not have"


def _folded(source: str, scale: str, target: str) -> Compute:
    """A layer whose weight and bias rows are multiplied by a layer scale."""
    return Compute(ScaleRows(), source, target, using=(scale,))


# relative to a block
_BLOCK: tuple[Rule, ...] = (
    *kept("norm1.*", "attn.qkv.*", "norm2.*", "mlp.fc1.*"),
    _folded("attn.proj.*", "ls1.gamma", "attn.proj.*"),
    _folded("mlp.fc2.*", "ls2.gamma", "mlp.fc2.*"),
)
_OUTSIDE: tuple[Rule, ...] = (
    *kept("pos_embed", "patch_embed.proj.*"),
    *HEADS_DROPPED,
    Drop("register_tokens", _REGISTERS, optional=True),
    # timm's name
    Drop("reg_token", _REGISTERS, optional=True),
)
_ORIGINAL: tuple[Rule, ...] = (*_OUTSIDE, *prefixed(_BLOCK, "blocks.{i}.", "blocks.{i}."))

_TRAINING_HEADS: tuple[Rule, ...] = (
    Drop("dino_head.**", "head of the pretraining", optional=True),
    Drop("ibot_head.**", "head of the pretraining", optional=True),
)

_TRANSFORMERS: tuple[Rule, ...] = (
    *TRANSFORMERS,
    Rename(f"{IN_TRANSFORMERS}.norm1.*", "blocks.{i}.norm1.*"),
    _folded(
        f"{IN_TRANSFORMERS}.attention.output.dense.*",
        f"{IN_TRANSFORMERS}.layer_scale1.lambda1",
        "blocks.{i}.attn.proj.*",
    ),
    Rename(f"{IN_TRANSFORMERS}.norm2.*", "blocks.{i}.norm2.*"),
    Rename(f"{IN_TRANSFORMERS}.mlp.fc1.*", "blocks.{i}.mlp.fc1.*"),
    _folded(
        f"{IN_TRANSFORMERS}.mlp.fc2.*",
        f"{IN_TRANSFORMERS}.layer_scale2.lambda1",
        "blocks.{i}.mlp.fc2.*",
    ),
    Drop("embeddings.register_tokens", _REGISTERS, optional=True),
)
_CLASSIFIER = Drop("classifier.*", "ImageNet classifier", optional=True)

_KEYS = ("pos_embed", "patch_embed.proj.weight", "blocks.0.ls1.gamma")
_IN_TRAINING = "backbone.blocks.{i}."
# blocks are numbered through all groups
_IN_CHUNKS = "backbone.blocks.{_}.{i}."
_TRANSFORMERS_KEYS = (
    "embeddings.position_embeddings",
    "encoder.layer.0.layer_scale1.lambda1",
)
_GIANT = (
    "it is DINOv2-g, whose feed-forward layers are gated (SwiGLU); detectron2's ViT has no such "
    "layers"
)


def _of_14(specs: Specs) -> str | None:
    """timm uses the same names for other ViTs with layer scales."""
    shape = specs["patch_embed.proj.weight"].shape
    return None if shape[-2:] == (14, 14) else "patch_embed.proj.weight of other patches than 14"


class DINOv2(ViTMAE, frozen=True, kw_only=True):
    """A ViT as DINOv2 trains it, its layer scales folded."""

    name: ClassVar[str] = "dinov2"
    family: ClassVar[str] = "DINOv2"
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(present=(*_KEYS, "mask_token")),
        "training": Layout(present=(f"{_IN_TRAINING}ls1.gamma", "backbone.pos_embed")),
        "training_chunks": Layout(present=(f"{_IN_CHUNKS}ls1.gamma", "backbone.pos_embed")),
        "timm": Layout(present=_KEYS, absent=("mask_token",), check=_of_14),
        "transformers": Layout(present=_TRANSFORMERS_KEYS),
        "transformers_classifier": Layout(
            present=tuple(f"dinov2.{key}" for key in _TRANSFORMERS_KEYS)
        ),
        "transformers_registers_classifier": Layout(
            present=tuple(f"dinov2_with_registers.{key}" for key in _TRANSFORMERS_KEYS)
        ),
    }
    also_written: ClassVar[tuple[str, ...]] = ("vitdet", "timm_vit")
    no_counterpart: ClassVar[Mapping[str, str]] = {
        "blocks.{i}.mlp.w12.*": _GIANT,
        "backbone.blocks.{i}.mlp.w12.*": _GIANT,
        "backbone.blocks.{_}.{i}.mlp.w12.*": _GIANT,
        "encoder.layer.{i}.mlp.weights_in.*": _GIANT,
        "dinov2.encoder.layer.{i}.mlp.weights_in.*": _GIANT,
        "dinov2_with_registers.encoder.layer.{i}.mlp.weights_in.*": _GIANT,
    }
    tables: ClassVar[Mapping[str, tuple[Rule, ...]]] = {
        "original": _ORIGINAL,
        "training": (*prefixed(_ORIGINAL, "backbone.", ""), *_TRAINING_HEADS),
        "training_chunks": (
            *prefixed(_OUTSIDE, "backbone.", ""),
            *prefixed(_BLOCK, _IN_CHUNKS, "blocks.{i}."),
            *_TRAINING_HEADS,
        ),
        "timm": _ORIGINAL,
        "transformers": _TRANSFORMERS,
        "transformers_classifier": (*prefixed(_TRANSFORMERS, "dinov2.", ""), _CLASSIFIER),
        "transformers_registers_classifier": (
            *prefixed(_TRANSFORMERS, "dinov2_with_registers.", ""),
            _CLASSIFIER,
        ),
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> Self:
        shapes = in_target_names(cls.tables[layout], specs)
        up, down = (shapes.get(f"blocks.0.mlp.fc{number}.weight") for number in (1, 2))
        if up and down and up.shape[:1] == (2 * down.shape[-1],):
            # timm's names do not show it
            raise ArchitectureError(f"this has no counterpart: {_GIANT}")
        made = super().infer(specs, layout, facts)
        # whole patches, as many as detrex's images have at least
        return replace(made, img_size=-(-made.img_size // made.patch_size) * made.patch_size)

    def dropped(self) -> dict[str, TensorSpec]:
        width = self.embed_dim
        return {
            "cls_token": tensor(1, 1, width),
            "mask_token": tensor(1, width),
        } | under("norm", norm(width))

    def notes(self) -> tuple[str, ...]:
        return (
            *super().notes(),
            "class and register tokens are dropped, because detectors do not have them. The "
            "original attends to them, so its features differ",
        )
