"""timm's ResNet-D for detrex's `TimmBackbone`: a deep stem and average pooling in the shortcuts.

Facts: timm 1.0.20, `models/resnet.py`, and detrex e244e6c, `modeling/backbone/timm_backbone.py`,
which keeps timm's names below ``timm_model.``. detectron2's `ResNet` has no such stem or shortcuts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures.base import (
    Architecture,
    BackboneCall,
    Call,
    Facts,
    Layout,
    Overrides,
    Specs,
    image_overrides,
)
from detrex_hub.architectures.blocks import StateDict, conv, frozen_batch_norm, linear, under
from detrex_hub.architectures.resnet_layouts import CLASSIFIER, COUNTER
from detrex_hub.architectures.stages import Shapes
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Drop, Rename, Rule, in_target_names, prefixed
from detrex_hub.specs import TensorSpec

# blocks per stage, by the number in timm's name; from 26 they are bottlenecks, except in 34
BLOCKS = {
    18: (2, 2, 2, 2),
    26: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
_BASIC = (18, 34)
_MODULES = (
    "conv1.{i}",
    "bn1",
    "layer{stage}.{block}.conv{i}",
    "layer{stage}.{block}.bn{i}",
    "layer{stage}.{block}.downsample.{i}",
)
_PARAMETERS = ("weight", "bias", "running_mean", "running_var")
_BODY: tuple[Rule, ...] = (
    *(
        Rename(f"{module}.{parameter}", f"timm_model.{module}.{parameter}", optional=True)
        for module in _MODULES
        for parameter in _PARAMETERS
    ),
    *(Drop(f"{module}.num_batches_tracked", COUNTER, optional=True) for module in _MODULES),
)
_RULES: Mapping[str, tuple[Rule, ...]] = {
    "timm": (*_BODY, Drop("fc.*", CLASSIFIER, optional=True)),
    "detrex": prefixed(_BODY, "timm_model.", ""),
}
_KEYS = ("conv1.0.weight", "conv1.6.weight", "layer1.0.conv1.weight", "bn1.running_mean")
_STEM = 32


class TimmResNetD(Architecture, frozen=True, kw_only=True):
    """A ResNet-D in detrex's `TimmBackbone`.

    Args:
        depth: the number in timm's name, such as 50 in ``resnet50d``.
    """

    depth: int

    name: ClassVar[str] = "timm_resnet_d"
    layouts: ClassVar[Mapping[str, Layout]] = {
        "timm": Layout(present=_KEYS),
        "detrex": Layout(present=tuple(f"timm_model.{key}" for key in _KEYS)),
    }
    lazy_paths: ClassVar[Mapping[str, Kind]] = {
        ".model_name": kinds.Choice(tuple(f"resnet{depth}d" for depth in BLOCKS)),
        ".features_only": kinds.FLAG,
        ".out_indices": kinds.COUNTS,
        "model.neck.input_shapes.*.channels": kinds.SIZE,
    }
    backbone: ClassVar[bool] = True
    taken_by: ClassVar[frozenset[str]] = frozenset({"TimmBackbone"})

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> TimmResNetD:
        shapes = Shapes(in_target_names(_RULES[layout], specs), "ResNet-D of timm")
        counts = tuple(
            shapes.count(f"timm_model.layer{stage}.{{n}}.conv1.weight") for stage in range(1, 5)
        )
        basic = "timm_model.layer1.0.conv3.weight" not in shapes
        for depth, blocks in BLOCKS.items():
            if blocks == counts and basic == (depth in _BASIC):
                return cls(depth=depth)
        kind = "basic" if basic else "bottleneck"
        raise shapes.refusal(f"it has {kind} blocks {list(counts)} in its four stages")

    @property
    def backbone_label(self) -> str:
        return f"ResNet-{self.depth}-D"

    def rules(self, layout: str) -> tuple[Rule, ...]:
        return _RULES[layout]

    def target(self) -> StateDict:
        found = (
            under("conv1.0", conv(_STEM, 3, 3, bias=False))
            | under("conv1.1", frozen_batch_norm(_STEM))
            | under("conv1.3", conv(_STEM, _STEM, 3, bias=False))
            | under("conv1.4", frozen_batch_norm(_STEM))
            | under("conv1.6", conv(64, _STEM, 3, bias=False))
            | under("bn1", frozen_batch_norm(64))
        )
        channels = 64
        for stage, blocks in enumerate(BLOCKS[self.depth], 1):
            width = 64 * 2 ** (stage - 1)
            for block in range(blocks):
                at = f"layer{stage}.{block}"
                for number, (outs, ins, kernel) in enumerate(self._convs(width, channels), 1):
                    found |= under(f"{at}.conv{number}", conv(outs, ins, kernel, bias=False))
                    found |= under(f"{at}.bn{number}", frozen_batch_norm(outs))
                after = width * self._expansion
                if channels != after:
                    found |= under(f"{at}.downsample.1", conv(after, channels, 1, bias=False))
                    found |= under(f"{at}.downsample.2", frozen_batch_norm(after))
                channels = after
        return under("timm_model", found)

    def _convs(self, width: int, channels: int) -> tuple[tuple[int, int, int], ...]:
        """Output channels, input channels and kernel of a block's convolutions."""
        if self.depth in _BASIC:
            return (width, channels, 3), (width, width, 3)
        return (width, channels, 1), (width, width, 3), (width * self._expansion, width, 1)

    @property
    def _expansion(self) -> int:
        return 1 if self.depth in _BASIC else 4

    def dropped(self) -> dict[str, TensorSpec]:
        norms = (key for key in self.target() if key.endswith(".running_mean"))
        counters = (key.removeprefix("timm_model.").rpartition(".")[0] for key in norms)
        held = {f"{norm}.num_batches_tracked": TensorSpec("I64", ()) for norm in counters}
        return held | under("fc", linear(1000, self.out_channels["p4"]))

    @property
    def out_channels(self) -> dict[str, int]:
        """Of the four stages. timm's map 0 is the stem's."""
        return {f"p{stage}": 64 * 2 ** (stage - 1) * self._expansion for stage in range(1, 5)}

    @property
    def of_no_config(self) -> bool:
        return True

    def notes(self) -> tuple[str, ...]:
        return (
            "newer versions of timm pass a device to every norm_layer, which detectron2's "
            "FrozenBatchNorm2d does not accept: timm 1.0.20 builds this backbone, 1.0.31 does not",
        )

    def overrides(self, preprocessing: Mapping[str, Any]) -> Overrides:
        images = image_overrides(preprocessing)
        shapes = {
            f"model.neck.input_shapes.{name}.channels": channels
            for name, channels in self.out_channels.items()
        }
        lazy: dict[str, Any] = {f"{self.node}.model_name": f"resnet{self.depth}d"}
        return Overrides(
            lazy=lazy | images.lazy,
            lazy_if_present={f"{self.node}.features_only": True, **shapes} | images.lazy_if_present,
        )

    def returning(self, stages: Sequence[int]) -> dict[str, Any]:
        return {f"{self.node}.out_indices": [stage + 1 for stage in stages]}

    def build(
        self, preprocessing: Mapping[str, Any], stages: Sequence[int] = (1, 2, 3)
    ) -> BackboneCall:
        norm = {"name": "detectron2.layers.FrozenBatchNorm2d"}
        channels = {f"p{stage + 1}": self.out_channels[f"p{stage + 1}"] for stage in stages}
        return BackboneCall(
            "detrex.modeling.backbone.TimmBackbone",
            {
                "model_name": f"resnet{self.depth}d",
                "features_only": True,
                "out_indices": [stage + 1 for stage in stages],
                "norm_layer": Call("detectron2.utils.registry.locate", norm),
            },
            channels=channels,
        )
