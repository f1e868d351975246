"""ConvNeXts: the original's and timm's names to detrex's `ConvNeXt`.

Facts: facebookresearch/ConvNeXt 048efce, timm 1.0.31 and detrex e244e6c,
`modeling/backbone/convnext.py`. Stage outputs are equal in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from detrex_hub.architectures.base import Facts, Layout, Specs
from detrex_hub.architectures.blocks import StateDict, conv, linear, norm, tensor, under
from detrex_hub.architectures.stages import (
    Shapes,
    StagedBackbone,
    found_norms,
    kept,
    output_norms,
)
from detrex_hub.mapping import Drop, Rename, Rule
from detrex_hub.specs import TensorSpec

ORIGINAL: tuple[Rule, ...] = kept(
    "downsample_layers.{i}.{j}.*",
    "stages.{i}.{j}.dwconv.*",
    "stages.{i}.{j}.norm.*",
    "stages.{i}.{j}.pwconv1.*",
    "stages.{i}.{j}.pwconv2.*",
)

TIMM: tuple[Rule, ...] = (
    Rename("stem.{j}.*", "downsample_layers.0.{j}.*"),
    Rename("stages.{i+1}.downsample.{j}.*", "downsample_layers.{i+1}.{j}.*"),
    Rename("stages.{i}.blocks.{j}.conv_dw.*", "stages.{i}.{j}.dwconv.*"),
    Rename("stages.{i}.blocks.{j}.norm.*", "stages.{i}.{j}.norm.*"),
    Rename("stages.{i}.blocks.{j}.mlp.fc1.*", "stages.{i}.{j}.pwconv1.*"),
    Rename("stages.{i}.blocks.{j}.mlp.fc2.*", "stages.{i}.{j}.pwconv2.*"),
)

_SCALES: Mapping[str, Rule] = {
    "original": Rename("stages.{i}.{j}.gamma", "stages.{i}.{j}.gamma"),
    "timm": Rename("stages.{i}.blocks.{j}.gamma", "stages.{i}.{j}.gamma"),
    "detrex": Rename("stages.{i}.{j}.gamma", "stages.{i}.{j}.gamma"),
}

_CLASSIFIER = "ImageNet classifier"
_FINAL_NORM = "norm before the ImageNet classifier, which is no output norm of a stage"

HEADS_DROPPED: Mapping[str, tuple[Rule, ...]] = {
    "original": (Drop("norm.*", _FINAL_NORM), Drop("head.*", _CLASSIFIER, optional=True)),
    "timm": (
        Drop("head.norm.*", _FINAL_NORM, optional=True),
        Drop("head.fc.*", _CLASSIFIER, optional=True),
    ),
    "detrex": (),
}


@dataclass(frozen=True, kw_only=True)
class ConvNeXt(StagedBackbone):
    """A ConvNeXt backbone.

    Args:
        depths: blocks of each of the four stages.
        dims: channels of each stage.
        layer_scale: whether blocks scale their channels by a learned ``gamma``.
        output_norms: the stages whose output norms the weights hold: none but in detrex's files.
    """

    depths: tuple[int, ...]
    dims: tuple[int, ...]
    layer_scale: bool = True
    output_norms: tuple[int, ...] = ()

    name: ClassVar[str] = "convnext"
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
            present=("downsample_layers.0.0.weight", "stages.0.0.dwconv.weight", "norm.weight"),
            # ConvNeXt V2
            absent=("stages.{i}.{j}.grn.*",),
        ),
        "timm": Layout(
            present=(
                "stem.0.weight",
                "stages.0.blocks.0.conv_dw.weight",
                "stages.1.downsample.1.weight",
            ),
            absent=("stages.{i}.blocks.{j}.mlp.grn.*",),
        ),
        "detrex": Layout(
            present=("downsample_layers.0.0.weight", "stages.0.0.dwconv.weight"),
            absent=("norm.*", "head.**", "stages.{i}.{j}.grn.*"),
        ),
    }
    built_by: ClassVar[str] = "detrex.modeling.backbone.convnext.ConvNeXt"
    taken_by: ClassVar[frozenset[str]] = frozenset({"ConvNeXt"})
    # any number but 0 will do: where it is not 0 there is a gamma, and the weights overwrite it
    defaults: ClassVar[Mapping[str, Any]] = {"layer_scale_init_value": 1.0}

    @classmethod
    def read(cls, specs: Specs, layout: str, facts: Facts) -> ConvNeXt:
        shapes = Shapes(specs, "ConvNeXt")
        block = "stages.{i}.blocks.{j}.conv_dw" if layout == "timm" else "stages.{i}.{j}.dwconv"
        gamma = "stages.0.blocks.0.gamma" if layout == "timm" else "stages.0.0.gamma"
        weight = f"{block}.weight"
        stages = shapes.count(weight.replace("{i}", "{n}").replace("{j}", "0"))
        if stages != 4:
            raise shapes.refusal(f"it has {stages} stages, and detrex's has 4")
        names = [weight.replace("{i}", str(stage)) for stage in range(stages)]
        return cls(
            depths=tuple(shapes.count(name.replace("{j}", "{n}")) for name in names),
            dims=tuple(shapes(name.replace("{j}", "0"), 4)[0] for name in names),
            layer_scale=gamma in shapes,
            output_norms=found_norms(specs),
        )

    def rules(self, layout: str) -> tuple[Rule, ...]:
        return (
            *(TIMM if layout == "timm" else ORIGINAL),
            *([_SCALES[layout]] if self.layer_scale else []),
            *(kept("norm{i}.*") if self.output_norms else ()),
            *HEADS_DROPPED[layout],
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
