"""ResNet-18 to 152: torchvision's names to detectron2's `ResNet`.

Facts: torchvision's `resnet.py` (timm's ResNets keep its names) and detectron2 02b5c4e2,
`modeling/backbone/resnet.py`. A FrozenBatchNorm2d with the statistics of an evaluating BatchNorm2d
gives the same output, both with eps 1e-5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures.base import (
    Architecture,
    BackboneCall,
    Call,
    Fact,
    Facts,
    Layout,
    Overrides,
    Specs,
    image_overrides,
)
from detrex_hub.architectures.blocks import (
    StateDict,
    batch_norm,
    conv,
    frozen_batch_norm,
    linear,
    under,
)
from detrex_hub.errors import ArchitectureError
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Drop, Rename, Rule, indices, source_specs
from detrex_hub.specs import TensorSpec

# blocks per stage, by depth
BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}

DEPTH = kinds.Choice(*BLOCKS)

BODY: tuple[Rule, ...] = (
    Rename("conv1.*", "stem.conv1.*"),
    Rename("bn1.weight", "stem.conv1.norm.weight"),
    Rename("bn1.bias", "stem.conv1.norm.bias"),
    Rename("bn1.running_mean", "stem.conv1.norm.running_mean"),
    Rename("bn1.running_var", "stem.conv1.norm.running_var"),
    # detectron2 counts stages from res2, torchvision from layer1
    Rename("layer{stage}.{block}.conv{i}.*", "res{stage+1}.{block}.conv{i}.*"),
    Rename("layer{stage}.{block}.bn{i}.weight", "res{stage+1}.{block}.conv{i}.norm.weight"),
    Rename("layer{stage}.{block}.bn{i}.bias", "res{stage+1}.{block}.conv{i}.norm.bias"),
    Rename(
        "layer{stage}.{block}.bn{i}.running_mean", "res{stage+1}.{block}.conv{i}.norm.running_mean"
    ),
    Rename(
        "layer{stage}.{block}.bn{i}.running_var", "res{stage+1}.{block}.conv{i}.norm.running_var"
    ),
    Rename("layer{stage}.{block}.downsample.0.*", "res{stage+1}.{block}.shortcut.*"),
    Rename("layer{stage}.{block}.downsample.1.weight", "res{stage+1}.{block}.shortcut.norm.weight"),
    Rename("layer{stage}.{block}.downsample.1.bias", "res{stage+1}.{block}.shortcut.norm.bias"),
    Rename(
        "layer{stage}.{block}.downsample.1.running_mean",
        "res{stage+1}.{block}.shortcut.norm.running_mean",
    ),
    Rename(
        "layer{stage}.{block}.downsample.1.running_var",
        "res{stage+1}.{block}.shortcut.norm.running_var",
    ),
)

_COUNTER = "counter of BatchNorm, which FrozenBatchNorm2d does not have"

COUNTERS_DROPPED: tuple[Rule, ...] = (
    Drop("bn1.num_batches_tracked", _COUNTER, optional=True),
    Drop("layer{stage}.{block}.bn{i}.num_batches_tracked", _COUNTER, optional=True),
    Drop("layer{stage}.{block}.downsample.1.num_batches_tracked", _COUNTER, optional=True),
)

# files older than torch 0.4.1 have no counters
_COUNTERS_KEPT: tuple[Rule, ...] = (
    Rename("bn1.num_batches_tracked", "stem.conv1.norm.num_batches_tracked", optional=True),
    Rename(
        "layer{stage}.{block}.bn{i}.num_batches_tracked",
        "res{stage+1}.{block}.conv{i}.norm.num_batches_tracked",
        optional=True,
    ),
    Rename(
        "layer{stage}.{block}.downsample.1.num_batches_tracked",
        "res{stage+1}.{block}.shortcut.norm.num_batches_tracked",
        optional=True,
    ),
)


def _stride_in_1x1(specs: Specs, layout: str, facts: Facts) -> bool | None:
    """False, as in torchvision's; a BasicBlock has no such convolution."""
    bottleneck = any(key in specs for key in ("layer1.0.conv3.weight", "res2.0.conv3.weight"))
    return False if bottleneck else None


@dataclass(frozen=True, kw_only=True)
class ResNet(Architecture):
    """A ResNet backbone.

    Args:
        depth: 18, 34, 50, 101 or 152.
        num_classes: classes of the classification head; None for a backbone alone, whose norms
            are FrozenBatchNorm2d, while a model with the head has BatchNorm2d.
    """

    depth: int
    num_classes: int | None = None

    name: ClassVar[str] = "resnet"
    layouts: ClassVar[Mapping[str, Layout]] = {
        "torchvision": Layout(
            present=(
                "conv1.weight",
                "bn1.running_mean",
                "layer1.{block}.conv{i}.weight",
                "layer4.{block}.bn{i}.running_var",
            ),
            absent=("backbone.**", "stem.**"),
        ),
        "detrex": Layout(
            present=(
                "stem.conv1.weight",
                "stem.conv1.norm.running_mean",
                "res2.{block}.conv{i}.weight",
                "res5.{block}.conv{i}.norm.running_var",
            ),
            absent=("backbone.**", "conv1.weight"),
        ),
    }
    facts: ClassVar[Mapping[str, Fact]] = {
        "keep_classifier": Fact(
            kinds.FLAG,
            "keep the classification head and the counters of BatchNorm",
            default=False,
            option="--keep-classifier",
        ),
        "stride_in_1x1": Fact(
            kinds.FLAG,
            "whether the stride lies in the first 1x1 convolution (MSRA), depth 50 and more",
            default=_stride_in_1x1,
            assumed=True,
            config=(".stages.stride_in_1x1", "MODEL.RESNETS.STRIDE_IN_1X1"),
        ),
    }
    lazy_paths: ClassVar[Mapping[str, Kind]] = {
        ".stages.depth": DEPTH,
        ".stages.stride_in_1x1": kinds.FLAG,
        ".out_features": kinds.FEATURES,
        ".num_classes": kinds.SIZE,
        "model.neck.input_shapes.*.channels": kinds.SIZE,
    }
    yacs_keys: ClassVar[Mapping[str, Kind]] = {
        "MODEL.RESNETS.DEPTH": DEPTH,
        "MODEL.RESNETS.STRIDE_IN_1X1": kinds.FLAG,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": kinds.SIZE,
    }
    backbone: ClassVar[bool] = True
    taken_by: ClassVar[frozenset[str]] = frozenset({"ResNet"})

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> ResNet:
        stage, head = ("layer{i}", "fc") if layout == "torchvision" else ("res{i+1}", "linear")
        depth = depth_of(specs, stage)
        if not facts.get("keep_classifier"):
            return cls(depth=depth)
        weight = specs.get(f"{head}.weight")
        if weight is None:
            raise ArchitectureError(
                f"there is no classification head to keep: no key {head}.weight",
                hint="Convert without --keep-classifier",
            )
        return cls(depth=depth, num_classes=weight.shape[0])

    def rules(self, layout: str) -> tuple[Rule, ...]:
        if layout == "detrex":
            return self._detrex_rules()
        if self.num_classes is None:
            return (*BODY, *COUNTERS_DROPPED, Drop("fc.*", "ImageNet classifier", optional=True))
        return (*BODY, *_COUNTERS_KEPT, Rename("fc.*", "linear.*"))

    def _detrex_rules(self) -> tuple[Rule, ...]:
        keys = tuple(self.target())
        same = tuple(Rename(key, key, optional=key.endswith("num_batches_tracked")) for key in keys)
        if self.num_classes is not None:
            return same
        return (
            *same,
            Drop("stem.conv1.norm.num_batches_tracked", _COUNTER, optional=True),
            Drop("res{i}.{j}.*.norm.num_batches_tracked", _COUNTER, optional=True),
            Drop("linear.*", "ImageNet classifier", optional=True),
            Drop("stem.fc.*", "dead key of an older converter, read by no model", optional=True),
        )

    def target(self) -> StateDict:
        normalisation = frozen_batch_norm if self.num_classes is None else batch_norm

        def conv_norm(out_channels: int, in_channels: int, kernel: int) -> StateDict:
            return conv(out_channels, in_channels, kernel, bias=False) | under(
                "norm", normalisation(out_channels)
            )

        target = under("stem.conv1", conv_norm(64, 3, 7))
        channels = 64
        for stage, blocks in enumerate(BLOCKS[self.depth]):
            width = 64 * 2**stage
            out_channels = self.out_channels[f"res{stage + 2}"]
            for block in range(blocks):
                name = f"res{stage + 2}.{block}"
                if channels != out_channels:
                    target |= under(f"{name}.shortcut", conv_norm(out_channels, channels, 1))
                if self.bottleneck:
                    target |= under(f"{name}.conv1", conv_norm(width, channels, 1))
                    target |= under(f"{name}.conv2", conv_norm(width, width, 3))
                    target |= under(f"{name}.conv3", conv_norm(out_channels, width, 1))
                else:
                    target |= under(f"{name}.conv1", conv_norm(width, channels, 3))
                    target |= under(f"{name}.conv2", conv_norm(width, width, 3))
                channels = out_channels
        if self.num_classes is not None:
            target |= under("linear", linear(self.num_classes, channels))
        return target

    def set_by_model(self) -> frozenset[str]:
        return frozenset(key for key in self.target() if key.endswith("num_batches_tracked"))

    def dropped(self) -> dict[str, TensorSpec]:
        if self.num_classes is not None:
            return {}
        counter = TensorSpec("I64", ())
        with_head = ResNet(depth=self.depth, num_classes=1000)
        counters = [key for key in with_head.target() if key.endswith("num_batches_tracked")]
        held = source_specs(_COUNTERS_KEPT, dict.fromkeys(counters, counter))
        return held | under("fc", linear(1000, self.out_channels["res5"]))

    @property
    def bottleneck(self) -> bool:
        return self.depth >= 50

    @property
    def out_channels(self) -> dict[str, int]:
        """Channels of the feature maps res2 to res5."""
        widths = (256, 512, 1024, 2048) if self.bottleneck else (64, 128, 256, 512)
        return {f"res{stage}": width for stage, width in enumerate(widths, start=2)}

    def overrides(self, preprocessing: Mapping[str, Any]) -> Overrides:
        lazy: dict[str, Any] = {"model.backbone.stages.depth": self.depth}
        if_present: dict[str, Any] = {}
        yacs: dict[str, Any] = {"MODEL.RESNETS.DEPTH": self.depth}
        remove: tuple[str, ...] = ()
        if self.bottleneck:
            stride_in_1x1 = bool(preprocessing.get("stride_in_1x1", False))
            lazy["model.backbone.stages.stride_in_1x1"] = stride_in_1x1
            yacs["MODEL.RESNETS.STRIDE_IN_1X1"] = stride_in_1x1
        else:
            # BasicBlock does not take the argument
            remove = ("model.backbone.stages.stride_in_1x1",)
            yacs["MODEL.RESNETS.RES2_OUT_CHANNELS"] = 64
        for stage, channels in self.out_channels.items():
            if_present[f"model.neck.input_shapes.{stage}.channels"] = channels
        if self.num_classes is not None:
            lazy["model.backbone.num_classes"] = self.num_classes
        images = image_overrides(preprocessing)
        return Overrides(
            lazy=lazy | images.lazy,
            lazy_if_present=if_present | images.lazy_if_present,
            lazy_remove=remove,
            yacs=yacs | images.yacs,
        )

    def returning(self, stages: Sequence[int]) -> dict[str, Any]:
        return {f"{self.node}.out_features": [f"res{stage + 2}" for stage in stages]}

    def build(
        self, preprocessing: Mapping[str, Any], stages: Sequence[int] = (1, 2, 3)
    ) -> BackboneCall | None:
        if self.num_classes is not None:
            return None
        given: dict[str, Any] = {"depth": self.depth, "norm": "FrozenBN"}
        if self.bottleneck:
            given["stride_in_1x1"] = bool(preprocessing.get("stride_in_1x1", False))
        channels = {name: self.out_channels[name] for name in (f"res{i + 2}" for i in stages)}
        module = "detectron2.modeling.backbone.resnet"
        stem = {"in_channels": 3, "out_channels": 64, "norm": "FrozenBN"}
        return BackboneCall(
            f"{module}.ResNet",
            {
                "stem": Call(f"{module}.BasicStem", stem),
                "stages": Call(f"{module}.ResNet.make_default_stages", given),
                "out_features": list(channels),
                # as detrex's configs say it
                "freeze_at": 1,
            },
            channels=channels,
        )

    def preprocessing(self, facts: Facts) -> dict[str, Any]:
        found = super().preprocessing(facts)
        if self.bottleneck:
            found["stride_in_1x1"] = bool(facts.get("stride_in_1x1", False))
        return found


def depth_of(specs: Specs, stage: str) -> int:
    """Depth of the ResNet in a state dict.

    Args:
        specs: the state dict.
        stage: template of a stage's prefix with ``{i}`` counting from 1, such as ``layer{i}``.

    Raises:
        ArchitectureError: the number of blocks is that of no ResNet.
    """
    counts = tuple(
        len(
            indices(
                specs,
                stage.replace("{i}", str(i)).replace("{i+1}", str(i + 1)) + ".{b}.conv1.weight",
                "b",
            )
        )
        for i in range(1, 5)
    )
    first = stage.replace("{i}", "1").replace("{i+1}", "2")
    bottleneck = f"{first}.0.conv3.weight" in specs
    for depth, blocks in BLOCKS.items():
        if blocks == counts and bottleneck == (depth >= 50):
            return depth
    kind = "bottleneck" if bottleneck else "basic"
    raise ArchitectureError(
        f"no ResNet has {kind} blocks {list(counts)} in its four stages",
        hint=f"Known depths: {', '.join(map(str, BLOCKS))}",
    )
