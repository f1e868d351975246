"""ConvNeXts: the original's and other libraries' names to detrex's `ConvNeXt`.

Facts: facebookresearch/ConvNeXt 048efce, timm 1.0.31, transformers 4.57.1 and detrex e244e6c,
`modeling/backbone/convnext.py`. Stage outputs are equal in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures.base import Facts, Layout, Specs
from detrex_hub.architectures.blocks import StateDict, conv, linear, norm, tensor, under
from detrex_hub.architectures.foreign_models import TimmModel, TransformersModel, backbone
from detrex_hub.architectures.stages import (
    FINAL_NORM_INITIALISED,
    OUTPUT_NORMS_INITIALISED,
    Shapes,
    StagedBackbone,
    kept,
    output_norms,
)
from detrex_hub.errors import ArchitectureError
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Drop, Rename, Rule, in_target_names, prefixed
from detrex_hub.specs import TensorSpec

_CLASSIFIER = "ImageNet classifier"
_FINAL_NORM = "norm before the ImageNet classifier, not an output norm of a stage"
_FIRST_NORM = "norm of the stage of stride 4, which detrex's configs do not return"

_BLOCK = "stages.{i}.{j}"
BODY: tuple[Rule, ...] = (
    *kept(
        "downsample_layers.{i}.{j}.*",
        f"{_BLOCK}.dwconv.*",
        f"{_BLOCK}.norm.*",
        f"{_BLOCK}.pwconv1.*",
        f"{_BLOCK}.pwconv2.*",
    ),
    *kept(f"{_BLOCK}.gamma", "norm{i}.*", optional=True),
)

_IN_TIMM = "stages.{i}.blocks.{j}"
_TIMM: tuple[Rule, ...] = (
    Rename("stem.{j}.*", "downsample_layers.0.{j}.*"),
    Rename("stages.{i+1}.downsample.{j}.*", "downsample_layers.{i+1}.{j}.*"),
    Rename(f"{_IN_TIMM}.conv_dw.*", f"{_BLOCK}.dwconv.*"),
    Rename(f"{_IN_TIMM}.norm.*", f"{_BLOCK}.norm.*"),
    Rename(f"{_IN_TIMM}.mlp.fc1.*", f"{_BLOCK}.pwconv1.*"),
    Rename(f"{_IN_TIMM}.mlp.fc2.*", f"{_BLOCK}.pwconv2.*"),
    Rename(f"{_IN_TIMM}.gamma", f"{_BLOCK}.gamma", optional=True),
)

_IN_TRANSFORMERS = "encoder.stages.{i}.layers.{j}"
_TRANSFORMERS: tuple[Rule, ...] = (
    Rename("embeddings.patch_embeddings.*", "downsample_layers.0.0.*"),
    Rename("embeddings.layernorm.*", "downsample_layers.0.1.*"),
    Rename("encoder.stages.{i+1}.downsampling_layer.{j}.*", "downsample_layers.{i+1}.{j}.*"),
    Rename(f"{_IN_TRANSFORMERS}.dwconv.*", f"{_BLOCK}.dwconv.*"),
    Rename(f"{_IN_TRANSFORMERS}.layernorm.*", f"{_BLOCK}.norm.*"),
    Rename(f"{_IN_TRANSFORMERS}.pwconv1.*", f"{_BLOCK}.pwconv1.*"),
    Rename(f"{_IN_TRANSFORMERS}.pwconv2.*", f"{_BLOCK}.pwconv2.*"),
    Rename(f"{_IN_TRANSFORMERS}.layer_scale_parameter", f"{_BLOCK}.gamma", optional=True),
    # ConvNextBackbone counts the stages from 1 behind the stem
    Rename("hidden_states_norms.stage{i+2}.*", "norm{i+1}.*", optional=True),
    Drop("hidden_states_norms.stage1.*", _FIRST_NORM, optional=True),
    Drop("layernorm.*", _FINAL_NORM, optional=True),
)

RULES: Mapping[str, tuple[Rule, ...]] = {
    "original": (
        *BODY,
        Drop("norm.*", _FINAL_NORM),
        Drop("head.*", _CLASSIFIER, optional=True),
    ),
    "timm": (
        *_TIMM,
        Drop("head.norm.*", _FINAL_NORM, optional=True),
        Drop("head.fc.*", _CLASSIFIER, optional=True),
    ),
    "transformers": _TRANSFORMERS,
    "transformers_classifier": (
        *prefixed(_TRANSFORMERS, "convnext.", ""),
        Drop("classifier.*", _CLASSIFIER, optional=True),
    ),
    "detrex": BODY,
}

_TRANSFORMERS_KEYS = (
    "embeddings.patch_embeddings.weight",
    "encoder.stages.0.layers.0.dwconv.weight",
)
_V2 = (
    "it is a ConvNeXt V2 (its blocks have a global response normalization, grn), which detrex does "
    "not have"
)


# released sizes by width and blocks of the third stage
_SIZES = {(96, 9): "-T", (96, 27): "-S", (128, 27): "-B", (192, 27): "-L", (256, 27): "-XL"}


class ConvNeXt(StagedBackbone, frozen=True, kw_only=True):
    """A ConvNeXt backbone.

    Args:
        depths: blocks of each of the four stages.
        dims: channels of each stage.
        layer_scale: whether blocks scale their channels by a learned ``gamma``.
        output_norms: the stages whose output norms the weights hold: none of a classifier's.
    """

    depths: tuple[int, ...]
    dims: tuple[int, ...]
    layer_scale: bool = True
    output_norms: tuple[int, ...] = ()

    name: ClassVar[str] = "convnext"
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
            wrapped=True,
            present=("downsample_layers.0.0.weight", "stages.0.0.dwconv.weight", "norm.weight"),
        ),
        "timm": Layout(
            present=(
                "stem.0.weight",
                "stages.0.blocks.0.conv_dw.weight",
                "stages.1.downsample.1.weight",
            ),
        ),
        "transformers": Layout(present=_TRANSFORMERS_KEYS),
        "transformers_classifier": Layout(
            present=tuple(f"convnext.{key}" for key in _TRANSFORMERS_KEYS)
        ),
        "detrex": Layout(
            present=("downsample_layers.0.0.weight", "stages.0.0.dwconv.weight"),
            absent=("norm.*", "head.**"),
        ),
    }
    no_counterpart: ClassVar[Mapping[str, str]] = {
        "stages.{i}.{j}.grn.*": _V2,
        "stages.{i}.blocks.{j}.mlp.grn.*": _V2,
        "encoder.stages.{i}.layers.{j}.grn.*": _V2,
        "convnextv2.encoder.stages.{i}.layers.{j}.grn.*": _V2,
    }
    built_by: ClassVar[str] = "detrex.modeling.backbone.convnext.ConvNeXt"
    taken_by: ClassVar[frozenset[str]] = frozenset({"ConvNeXt"})
    lazy_paths: ClassVar[Mapping[str, Kind]] = {
        **StagedBackbone.lazy_paths,
        ".depths": kinds.SIZES,
        ".dims": kinds.SIZES,
        ".layer_scale_init_value": kinds.NUMBER,
    }
    # any number but 0 will do: where it is not 0 there is a gamma, and the weights overwrite it
    defaults: ClassVar[Mapping[str, Any]] = {"layer_scale_init_value": 1.0}

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> ConvNeXt:
        shapes = Shapes(in_target_names(RULES[layout], specs), "ConvNeXt")
        stages = shapes.count("stages.{n}.0.dwconv.weight")
        if stages != 4:
            raise shapes.refusal(f"it has {stages} stages, but detrex's has 4")
        return cls(
            depths=tuple(shapes.count(f"stages.{i}.{{n}}.dwconv.weight") for i in range(stages)),
            dims=tuple(shapes(f"stages.{i}.0.dwconv.weight", 4)[0] for i in range(stages)),
            layer_scale="stages.0.0.gamma" in shapes,
            output_norms=shapes.norms(),
        )

    @property
    def backbone_label(self) -> str:
        return "ConvNeXt" + _SIZES.get((self.dims[0], self.depths[2]), "")

    def rules(self, layout: str) -> tuple[Rule, ...]:
        return RULES[layout]

    def rules_back(self, layout: str) -> tuple[Rule, ...]:
        rules = super().rules_back(layout)
        if layout == "transformers" and 0 in self.output_norms:
            return (*rules, Rename("norm0.*", "hidden_states_norms.stage1.*"))
        return rules

    def in_transformers(self, layout: str, preprocessing: Mapping[str, Any]) -> TransformersModel:
        return backbone(
            "convnext",
            {
                "num_channels": 3,
                "patch_size": 4,
                "num_stages": 4,
                "depths": list(self.depths),
                "hidden_sizes": list(self.dims),
                "hidden_act": "gelu",
                "layer_scale_init_value": 1e-6 if self.layer_scale else 0.0,
                "out_features": [f"stage{stage + 1}" for stage in self.output_norms or (1, 2, 3)],
            },
            name="ConvNextBackbone",
            initialised=None if self.output_norms else OUTPUT_NORMS_INITIALISED,
        )

    def in_timm(self) -> TimmModel:
        if self.output_norms:
            raise ArchitectureError(
                "the weights contain output norms of stages, which timm's ConvNeXt does not have",
                hint="Export to transformers instead: --to transformers",
            )
        return TimmModel(
            architecture="convnext_tiny",
            model_args={
                "depths": list(self.depths),
                "dims": list(self.dims),
                "ls_init_value": 1e-6 if self.layer_scale else None,
                "num_classes": 0,
                "pretrained_strict": False,
            },
            initialised=FINAL_NORM_INITIALISED,
        )

    def target(self) -> StateDict:
        target = under("downsample_layers.0.0", conv(self.dims[0], 3, 4))
        target |= under("downsample_layers.0.1", norm(self.dims[0]))
        for stage, (before, after) in enumerate(
            zip(self.dims[:-1], self.dims[1:], strict=True), start=1
        ):
            target |= under(f"downsample_layers.{stage}.0", norm(before))
            target |= under(f"downsample_layers.{stage}.1", conv(after, before, 2))
        for stage, (channels, depth) in enumerate(zip(self.dims, self.depths, strict=True)):
            for block in range(depth):
                target |= under(f"stages.{stage}.{block}", self._block(channels))
        return target | output_norms(self.dims, self.output_norms or range(len(self.dims)))

    def _block(self, channels: int) -> StateDict:
        block: StateDict = {"gamma": tensor(channels)} if self.layer_scale else {}
        return (
            block
            | {"dwconv.weight": tensor(channels, 1, 7, 7), "dwconv.bias": tensor(channels)}
            | under("norm", norm(channels))
            | under("pwconv1", linear(4 * channels, channels))
            | under("pwconv2", linear(channels, 4 * channels))
        )

    @property
    def widths(self) -> tuple[int, ...]:
        return self.dims

    def set_by_model(self) -> frozenset[str]:
        if self.output_norms:
            return frozenset()
        return frozenset(output_norms(self.dims, range(len(self.dims))))

    def dropped(self) -> dict[str, TensorSpec]:
        width = self.dims[-1]
        return under("norm", norm(width)) | under("head", linear(1000, width))

    def arguments(self) -> dict[str, Any]:
        return {
            "depths": list(self.depths),
            "dims": list(self.dims),
            "layer_scale_init_value": 1.0 if self.layer_scale else 0.0,
        }
