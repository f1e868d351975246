"""ResNets for detrex's `TorchvisionResNet`, on which its DC5 models and Anchor-DETR are built.

Facts: detrex e244e6c, `modeling/backbone/torchvision_resnet.py`. It keeps torchvision's names below
``body.``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures.base import (
    Architecture,
    BackboneCall,
    Fact,
    Facts,
    Layout,
    Overrides,
    Specs,
    image_overrides,
)
from detrex_hub.architectures.blocks import StateDict, under
from detrex_hub.architectures.resnet import BLOCKS, ResNet, depth_of
from detrex_hub.architectures.resnet_layouts import TORCHVISION
from detrex_hub.errors import ArchitectureError
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Drop, Rename, Rule, prefixed, source_specs
from detrex_hub.mapping.rules import sources
from detrex_hub.specs import TensorSpec

TORCHVISION_NAMES: tuple[str, ...] = tuple(
    name for rule in TORCHVISION.body for name in sources(rule)
)

BELOW_BODY: tuple[Rule, ...] = (
    *(Rename(name, f"body.{name}") for name in TORCHVISION_NAMES),
    *TORCHVISION.counters_dropped,
)


class TorchvisionResNet(Architecture, frozen=True, kw_only=True):
    """detrex's `TorchvisionResNet`.

    Args:
        depth: 18, 34, 50, 101 or 152.
        dilation: whether the last stage is dilated instead of strided (DC5); None if it is not
            known, because no weight shows it.
    """

    depth: int
    dilation: bool | None = None

    name: ClassVar[str] = "torchvision_resnet"
    layouts: ClassVar[Mapping[str, Layout]] = {
        "torchvision": Layout(
            present=ResNet.layouts["torchvision"].present,
            absent=ResNet.layouts["torchvision"].absent,
            # a file is taken for this only by name; otherwise it is detectron2's ResNet
            peculiar=("body.conv1.weight",),
        ),
        "detrex": Layout(
            present=("body.conv1.weight", "body.layer4.{block}.bn{i}.running_var"),
            absent=("backbone.**",),
        ),
    }
    facts: ClassVar[Mapping[str, Fact]] = {
        "dilation": Fact(
            kinds.FLAG,
            "whether the last stage is dilated (DC5); the config decides if nothing says it",
            config=(".dilation",),
        )
    }
    lazy_paths: ClassVar[Mapping[str, Kind]] = {
        ".name": kinds.Choice(tuple(f"resnet{depth}" for depth in BLOCKS)),
        ".dilation": kinds.FLAG,
        ".return_layers.*": kinds.Choice(tuple(f"res{number}" for number in range(2, 6))),
    }
    backbone: ClassVar[bool] = True
    taken_by: ClassVar[frozenset[str]] = frozenset({"TorchvisionResNet"})

    def __post_init__(self) -> None:
        if self.dilation and self.depth < 50:
            raise ArchitectureError(
                f"torchvision cannot dilate a ResNet-{self.depth}", hint="Convert without --dc5"
            )

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> TorchvisionResNet:
        stage = "body.layer{i}" if layout == "detrex" else "layer{i}"
        return cls(depth=depth_of(specs, stage), dilation=facts.get("dilation"))

    @property
    def backbone_label(self) -> str:
        return f"ResNet-{self.depth}{'-DC5' if self.dilation else ''}"

    def rules(self, layout: str) -> tuple[Rule, ...]:
        if layout == "detrex":
            return (
                *(Rename(f"body.{name}", f"body.{name}") for name in TORCHVISION_NAMES),
                *prefixed(TORCHVISION.counters_dropped, "body.", "body."),
            )
        return (*BELOW_BODY, Drop("fc.*", "ImageNet classifier", optional=True))

    def target(self) -> StateDict:
        return under("body", source_specs(TORCHVISION.body, ResNet(depth=self.depth).target()))

    def dropped(self) -> dict[str, TensorSpec]:
        return ResNet(depth=self.depth).dropped()

    @property
    def out_channels(self) -> dict[str, int]:
        return ResNet(depth=self.depth).out_channels

    def overrides(self, preprocessing: Mapping[str, Any]) -> Overrides:
        lazy: dict[str, Any] = {"model.backbone.name": f"resnet{self.depth}"}
        if self.dilation is not None:
            lazy["model.backbone.dilation"] = self.dilation
        images = image_overrides(preprocessing)
        return Overrides(lazy=lazy | images.lazy, lazy_if_present=images.lazy_if_present)

    def returning(self, stages: Sequence[int]) -> dict[str, Any]:
        # its class returns only the last stage by default
        if tuple(stages) == (3,):
            return {}
        returned = _returned(stages)
        return {f"{self.node}.return_layers.{layer}": name for layer, name in returned.items()}

    def build(
        self, preprocessing: Mapping[str, Any], stages: Sequence[int] = (1, 2, 3)
    ) -> BackboneCall:
        returned = _returned(stages)
        return BackboneCall(
            "detrex.modeling.backbone.torchvision_resnet.TorchvisionResNet",
            {
                "name": f"resnet{self.depth}",
                "train_backbone": True,
                "dilation": bool(self.dilation),
                "return_layers": returned,
            },
            channels={name: self.out_channels[name] for name in returned.values()},
        )


def _returned(stages: Sequence[int]) -> dict[str, str]:
    """torchvision's layers, and the feature maps that they give."""
    return {f"layer{stage + 1}": f"res{stage + 2}" for stage in stages}
