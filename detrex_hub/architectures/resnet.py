"""ResNet-18 to 152, wide ones and ResNeXts: other libraries' names to detectron2's `ResNet`.

Facts: torchvision's `resnet.py` (timm's ResNets keep its names), Detectron's `ResNet.py`,
transformers 4.57.1 and detectron2 02b5c4e2, `modeling/backbone/resnet.py`. A FrozenBatchNorm2d with
the statistics of an evaluating BatchNorm2d gives the same output, both with eps 1e-5.

detectron2's `ResNet.make_default_stages`, which detrex's configs use, cannot build ResNeXts and
wide ResNets: it sets the bottleneck's channels itself. They need `ResNet.make_stage` four times.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec.structs import replace

from detrex_hub import kinds
from detrex_hub.architectures.base import (
    IMAGENET_RGB,
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
from detrex_hub.architectures.declared import IMAGE_FACTS, Settled
from detrex_hub.architectures.foreign_models import TimmModel, TransformersModel, backbone
from detrex_hub.architectures.mmdet_layout import of_detector
from detrex_hub.architectures.resnet_layouts import (
    CAFFE2,
    CAFFE2_MEANS,
    CLASSIFIER,
    COUNTER,
    SCHEMES,
    TORCHVISION,
)
from detrex_hub.errors import ArchitectureError, UsageError
from detrex_hub.kinds import Kind
from detrex_hub.mapping import (
    Compute,
    Drop,
    Rename,
    Rule,
    in_target_names,
    indices,
    source_specs,
)
from detrex_hub.mapping.operations import ScaleInChannels, Subtract
from detrex_hub.specs import TensorSpec

if TYPE_CHECKING:
    from typing_extensions import Self

# blocks per stage, by depth
BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}

DEPTH = kinds.Choice(tuple(BLOCKS))
COUNTERS_INITIALISED = "the counters of BatchNorm, which are not used in evaluation"
_MODULE = "detectron2.modeling.backbone.resnet"

_STAGES = range(4)


def _rules(layout: str, target: Iterable[str] = (), *, classifier: bool) -> tuple[Rule, ...]:
    """The rules of a layout, without absorbed image settings.

    Args:
        layout: its name.
        target: detectron2's keys, for the layout that has them.
        classifier: whether the ImageNet classifier is kept, together with the norms' counters.
    """
    if layout == "detrex":
        return _detrex_rules(target, classifier=classifier)
    return CAFFE2.get(layout) or SCHEMES[layout].rules(classifier=classifier)


def _check_foldable(specs: Specs, layout: str) -> None:
    """
    Raises:
        UsageError: there is no bias, or no mean to fold it into.
    """
    if layout not in CAFFE2_MEANS or _BIAS not in specs:
        lacks = _BIAS if _BIAS not in specs else "mean of the first norm to fold it into"
        raise UsageError(
            f"the bias of the first convolution cannot be folded: {lacks} is missing",
            hint="Convert without --fact conv1_bias=fold",
        )


def _folding(rules: Iterable[Rule], mean: str) -> tuple[Rule, ...]:
    """Rules with the bias of the first convolution subtracted from the mean of its norm."""
    folded = Compute(Subtract(), mean, "stem.conv1.norm.running_mean", using=(_BIAS,))
    kept = (rule for rule in rules if not (isinstance(rule, Drop) and rule.source == _BIAS))
    return tuple(
        folded if isinstance(rule, Rename) and rule.source == mean else rule for rule in kept
    )


def _detrex_rules(target: Iterable[str], *, classifier: bool) -> tuple[Rule, ...]:
    same = tuple(Rename(key, key, optional=key.endswith("num_batches_tracked")) for key in target)
    if classifier:
        return same
    return (
        *same,
        Drop("stem.conv1.norm.num_batches_tracked", COUNTER, optional=True),
        Drop("res{i}.{j}.*.norm.num_batches_tracked", COUNTER, optional=True),
        Drop("linear.*", CLASSIFIER, optional=True),
        Drop("stem.fc.*", "unused key of an older converter", optional=True),
    )


def _groups(specs: Specs) -> int:
    """Groups of the 3x3 convolutions, by detectron2's names."""
    shape = specs["res2.0.conv2.weight"].shape if "res2.0.conv2.weight" in specs else ()
    return shape[0] // shape[1] if len(shape) == 4 and shape[1] else 1


def _stride_in_1x1(specs: Specs, layout: str, facts: Facts) -> bool | None:
    """True for MSRA's models (Caffe2 without groups), else False; None for a BasicBlock."""
    if "res2.0.conv3.weight" not in specs:
        return None
    return layout in CAFFE2 and _groups(specs) == 1


def _conv1_bias(specs: Specs, layout: str, facts: Facts) -> str | None:
    return "drop" if layout in CAFFE2 else None


def _image_format(specs: Specs, layout: str, facts: Facts) -> str:
    return "BGR" if layout in CAFFE2 else str(IMAGENET_RGB["image_format"])


def _pixel_std(specs: Specs, layout: str, facts: Facts) -> list[float]:
    """1 for MSRA's, ImageNet's for the others, in the order of the channels."""
    if layout in CAFFE2 and _groups(specs) == 1:
        return [1.0, 1.0, 1.0]
    std: list[float] = IMAGENET_RGB["pixel_std"]
    return std[::-1] if facts.get("image_format") == "BGR" else list(std)


_BGR = (
    "Caffe2's models read BGR images. MSRA's, which have no groups, use a deviation of 1 and "
    "the stride in the 1x1 convolution. The others use ImageNet's deviation. Shapes do not "
    "show this. To fold it into the first convolution, so that a stock config fits, pass: "
    "--fact absorb_preprocessing=true"
)
_DOWNSAMPLING = (
    "the model's config.json says where the stride is (downsample_in_bottleneck), which shapes "
    "do not show. Without it, the stride is assumed in the 3x3 convolution. If that is wrong, "
    "convert with: --fact stride_in_1x1=true"
)
_TRANSFORMERS_KEYS = (
    "embedder.embedder.convolution.weight",
    "encoder.stages.0.layers.0.layer.0.convolution.weight",
)
_CAFFE2_KEYS = ("conv1_w", "res2_0_branch2a_w")
_AFFINE = (
    "The file has no statistics for its norms. Mean 0 and variance 1 - 1e-5 are written, so "
    "FrozenBatchNorm2d multiplies by exactly the file's scale. detectron2's own loader uses "
    "variance 1, which is off by up to 2e-4"
)
_BIAS = "conv1_b"
_MMDET = (
    "only the backbone is converted. mmdetection's backbones of style 'caffe' have the stride in "
    "the 1x1 convolution and read BGR images of deviation 1, which shapes do not show. For "
    "these, pass: --fact stride_in_1x1=true --image-format BGR --fact pixel_std=1,1,1"
)


class ResNet(Architecture, frozen=True, kw_only=True):
    """A ResNet backbone.

    Args:
        depth: 18, 34, 50, 101 or 152.
        num_classes: classes of the classification head; None for a backbone alone, whose norms
            are FrozenBatchNorm2d, while a model with the head has BatchNorm2d.
        num_groups: groups of the 3x3 convolutions: more than 1 in a ResNeXt.
        width_per_group: channels of a group in the first stage; 128 in a wide ResNet.
        absorbed_std: deviations of the original's BGR images, if the first convolution absorbed
            them and the order of the channels.
        conv1_bias: the fate of the bias of Caffe2's first convolution: "drop" or "fold"; None for
            other files, which have none.
    """

    depth: int
    num_classes: int | None = None
    num_groups: int = 1
    width_per_group: int = 64
    absorbed_std: tuple[float, ...] | None = None
    conv1_bias: str | None = None

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
        "caffe2": Layout(present=(*_CAFFE2_KEYS, "res_conv1_bn_running_mean"), note=_BGR),
        "caffe2_riv": Layout(present=(*_CAFFE2_KEYS, "res_conv1_bn_riv"), note=_BGR),
        "caffe2_affine": Layout(
            present=(*_CAFFE2_KEYS, "res_conv1_bn_s"),
            absent=("res_conv1_bn_riv",),
            note=f"{_BGR}. {_AFFINE}",
        ),
        "transformers": Layout(present=_TRANSFORMERS_KEYS, note=_DOWNSAMPLING),
        "transformers_classifier": Layout(
            present=tuple(f"resnet.{key}" for key in _TRANSFORMERS_KEYS), note=_DOWNSAMPLING
        ),
        "mmdet_detector": Layout(
            present=("backbone.conv1.weight", "backbone.layer1.{block}.conv{i}.weight"),
            absent=("head.**",),
            check=of_detector(),
            note=_MMDET,
        ),
        "mmpretrain_classifier": Layout(
            present=(
                "backbone.conv1.weight",
                "backbone.layer1.{block}.conv{i}.weight",
                "head.fc.weight",
            ),
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
        "image_format": replace(IMAGE_FACTS["image_format"], default=_image_format),
        "pixel_std": replace(IMAGE_FACTS["pixel_std"], default=_pixel_std),
        "absorb_preprocessing": Fact(
            kinds.FLAG,
            "fold the BGR order and the deviations into the first convolution, so that "
            "the weights read RGB images with ImageNet's mean and deviation",
            default=False,
        ),
        "conv1_bias": Fact(
            kinds.Choice(("drop", "fold")),
            "how to treat the bias of Caffe2's first convolution (conv1_b): drop it, as detectron2 "
            "does, or fold it into the mean of the norm, as the original computes",
            default=_conv1_bias,
            assumed=True,
        ),
        "keep_classifier": Fact(
            kinds.FLAG,
            "keep the classification head and the counters of BatchNorm",
            default=False,
        ),
        "stride_in_1x1": Fact(
            kinds.FLAG,
            "whether the stride is in the first 1x1 convolution (MSRA), for depth 50 and more",
            default=_stride_in_1x1,
            assumed=True,
            config=(
                ".stages.stride_in_1x1",
                ".stages.0.stride_in_1x1",
                ".stages.*.stride_in_1x1",
                "MODEL.RESNETS.STRIDE_IN_1X1",
            ),
        ),
    }
    lazy_paths: ClassVar[Mapping[str, Kind]] = {
        ".stages.*.num_blocks": kinds.SIZE,
        ".stages.*.num_groups": kinds.SIZE,
        ".stages.*.bottleneck_channels": kinds.SIZE,
        ".stages.*.stride_in_1x1": kinds.FLAG,
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
        "MODEL.RESNETS.NUM_GROUPS": kinds.SIZE,
        "MODEL.RESNETS.WIDTH_PER_GROUP": kinds.SIZE,
    }
    backbone: ClassVar[bool] = True
    taken_by: ClassVar[frozenset[str]] = frozenset({"ResNet"})

    @classmethod
    def settle(cls, specs: Specs, layout: str, facts: Facts) -> Settled:
        settled = super().settle(cls.renamed(specs, layout), layout, facts)
        if layout not in CAFFE2:
            return settled
        # Caffe2's names identify them: all of its models were trained this way
        decided = {*IMAGE_FACTS, "stride_in_1x1"}
        if _BIAS not in specs:
            decided.add("conv1_bias")
        return Settled(
            settled.values, tuple(name for name in settled.assumed if name not in decided)
        )

    @staticmethod
    def renamed(specs: Specs, layout: str) -> Specs:
        """The backbone part of a state dict under detectron2's names."""
        if layout == "detrex":
            return specs
        return in_target_names(_rules(layout, classifier=False), specs)

    @classmethod
    def facts_in(cls, metadata: Mapping[str, Any]) -> dict[str, Any]:
        # the output of detectron2's converter for torchvision's files
        # (tools/convert-torchvision-to-d2 at 02b5c4e2)
        if metadata.get("__author__") != "torchvision":
            return {}
        return {**IMAGENET_RGB, "stride_in_1x1": False}

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> ResNet:
        inner = cls.renamed(specs, layout)
        depth = depth_of(inner, "res{i+1}")
        groups = _groups(inner)
        width = inner["res2.0.conv1.weight"].shape[0] // groups if depth >= 50 else 64
        bias = facts.get("conv1_bias") if layout in CAFFE2 else None
        if bias == "fold":
            _check_foldable(specs, layout)
        made = cls(depth=depth, num_groups=groups, width_per_group=width, conv1_bias=bias)
        if facts.get("absorb_preprocessing"):
            made = made.absorbing(facts)
        if not facts.get("keep_classifier"):
            return made
        head = "linear" if layout not in SCHEMES else SCHEMES[layout].names.classifier
        weight = specs.get(f"{head}.weight")
        if weight is None:
            raise ArchitectureError(
                f"there is no classification head to keep: no key {head}.weight",
                hint="Convert without --keep-classifier",
            )
        return replace(made, num_classes=weight.shape[0])

    def absorbing(self, facts: Facts) -> ResNet:
        """The same model with a first convolution for RGB images of ImageNet's deviation.

        Raises:
            UsageError: the original's images are not BGR with ImageNet's mean, so zero padding
                would become wrong.
        """
        mean = IMAGENET_RGB["pixel_mean"][::-1]
        if facts.get("image_format") != "BGR" or list(facts.get("pixel_mean", mean)) != mean:
            raise UsageError(
                "the first convolution can absorb only BGR images with ImageNet's mean: "
                f"[{', '.join(map(str, mean))}]",
                hint="Convert without --fact absorb_preprocessing=true",
            )
        return replace(self, absorbed_std=tuple(facts["pixel_std"]))

    @property
    def backbone_label(self) -> str:
        if self.num_groups > 1:
            return f"ResNeXt-{self.depth}"
        return f"{'Wide ' if self.width_per_group > 64 else ''}ResNet-{self.depth}"

    def rules(self, layout: str) -> tuple[Rule, ...]:
        found = _rules(layout, self.target(), classifier=self.num_classes is not None)
        if self.conv1_bias == "fold" and layout in CAFFE2_MEANS:
            found = _folding(found, CAFFE2_MEANS[layout])
        if self.absorbed_std is None:
            return found
        std = zip(IMAGENET_RGB["pixel_std"], reversed(self.absorbed_std), strict=True)
        operation = ScaleInChannels((2, 1, 0), tuple(rgb / bgr for rgb, bgr in std))

        def absorbing(rule: Rule) -> Rule:
            match rule:
                case Rename(target="stem.conv1.weight" | "stem.conv1.*"):
                    source = rule.source.replace("*", "weight")
                    return Compute(operation, source, "stem.conv1.weight")
            return rule

        return tuple(map(absorbing, found))

    written_as: ClassVar[Mapping[str, str]] = {"timm": "torchvision"}

    def as_stored(self) -> Self:
        return replace(self, absorbed_std=None)

    def in_transformers(self, layout: str, preprocessing: Mapping[str, Any]) -> TransformersModel:
        from detrex_hub.architectures.foreign_resnets import own_resnet

        if self.num_classes is not None:
            raise ArchitectureError(
                "the weights contain a classifier, but only backbones are exported",
                hint="Convert without --keep-classifier",
            )
        stages = [f"stage{number}" for number in range(1, 5)]
        fields = own_resnet(self, stride_in_1x1=bool(preprocessing.get("stride_in_1x1")))
        return backbone(
            "resnet",
            {**fields, "out_features": stages},
            name="ResNetBackbone",
            initialised=COUNTERS_INITIALISED,
        )

    def in_timm(self) -> TimmModel:
        from detrex_hub.architectures.foreign_resnets import timm_resnet

        return TimmModel(architecture=timm_resnet(self), model_args={})

    def target(self) -> StateDict:
        normalisation = frozen_batch_norm if self.num_classes is None else batch_norm

        def conv_norm(out_channels: int, in_channels: int, kernel: int) -> StateDict:
            return conv(out_channels, in_channels, kernel, bias=False) | under(
                "norm", normalisation(out_channels)
            )

        target = under("stem.conv1", conv_norm(64, 3, 7))
        channels = 64
        for stage, blocks in enumerate(BLOCKS[self.depth]):
            width = self.bottleneck_channels[stage]
            out_channels = self.out_channels[f"res{stage + 2}"]
            for block in range(blocks):
                name = f"res{stage + 2}.{block}"
                if channels != out_channels:
                    target |= under(f"{name}.shortcut", conv_norm(out_channels, channels, 1))
                if self.bottleneck:
                    target |= under(f"{name}.conv1", conv_norm(width, channels, 1))
                    target |= under(f"{name}.conv2", conv_norm(width, width // self.num_groups, 3))
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
        with_head = replace(self, num_classes=1000)
        counters = [key for key in with_head.target() if key.endswith("num_batches_tracked")]
        held = source_specs(TORCHVISION.counters_kept, dict.fromkeys(counters, counter))
        return held | under("fc", linear(1000, self.out_channels["res5"]))

    @property
    def bottleneck(self) -> bool:
        return self.depth >= 50

    @property
    def bottleneck_channels(self) -> tuple[int, ...]:
        """Channels of the 3x3 convolutions, by stage."""
        return tuple(self.num_groups * self.width_per_group * 2**stage for stage in _STAGES)

    @property
    def default_stages(self) -> bool:
        """Whether detectron2's `ResNet.make_default_stages` can build it."""
        return (self.num_groups, self.width_per_group) == (1, 64)

    @property
    def out_channels(self) -> dict[str, int]:
        """Channels of the feature maps res2 to res5."""
        widths = (256, 512, 1024, 2048) if self.bottleneck else (64, 128, 256, 512)
        return {f"res{stage}": width for stage, width in enumerate(widths, start=2)}

    def overrides(self, preprocessing: Mapping[str, Any]) -> Overrides:
        lazy: dict[str, Any] = {}
        if_present: dict[str, Any] = {}
        yacs: dict[str, Any] = {"MODEL.RESNETS.DEPTH": self.depth}
        remove: tuple[str, ...] = ()
        stages = f"{self.node}.stages"
        stride_in_1x1 = bool(preprocessing.get("stride_in_1x1", False))
        if self.default_stages:
            lazy[f"{stages}.depth"] = self.depth
            if self.bottleneck:
                lazy[f"{stages}.stride_in_1x1"] = stride_in_1x1
                yacs["MODEL.RESNETS.STRIDE_IN_1X1"] = stride_in_1x1
            else:
                # BasicBlock does not have the argument
                remove = (f"{stages}.stride_in_1x1",)
                yacs["MODEL.RESNETS.RES2_OUT_CHANNELS"] = 64
        else:
            yacs |= {
                "MODEL.RESNETS.STRIDE_IN_1X1": stride_in_1x1,
                "MODEL.RESNETS.NUM_GROUPS": self.num_groups,
                "MODEL.RESNETS.WIDTH_PER_GROUP": self.width_per_group,
            }
            for stage in _STAGES:
                lazy |= {
                    f"{stages}.{stage}.num_blocks": BLOCKS[self.depth][stage],
                    f"{stages}.{stage}.num_groups": self.num_groups,
                    f"{stages}.{stage}.bottleneck_channels": self.bottleneck_channels[stage],
                    f"{stages}.{stage}.stride_in_1x1": stride_in_1x1,
                }
        for name, channels in self.out_channels.items():
            if_present[f"model.neck.input_shapes.{name}.channels"] = channels
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

    @property
    def of_no_config(self) -> bool:
        return not self.default_stages

    def build(
        self, preprocessing: Mapping[str, Any], stages: Sequence[int] = (1, 2, 3)
    ) -> BackboneCall | None:
        if self.num_classes is not None:
            return None
        stride_in_1x1 = bool(preprocessing.get("stride_in_1x1", False))
        channels = {name: self.out_channels[name] for name in (f"res{i + 2}" for i in stages)}
        stem = {"in_channels": 3, "out_channels": 64, "norm": "FrozenBN"}
        return BackboneCall(
            f"{_MODULE}.ResNet",
            {
                "stem": Call(f"{_MODULE}.BasicStem", stem),
                "stages": self._stages(stride_in_1x1),
                "out_features": list(channels),
                # as in detrex's configs
                "freeze_at": 1,
            },
            channels=channels,
        )

    def describe(self) -> str:
        found = {"depth": self.depth, "num_classes": self.num_classes}
        if not self.default_stages:
            found |= {"num_groups": self.num_groups, "width_per_group": self.width_per_group}
        return ", ".join(f"{name} {value}" for name, value in found.items() if value is not None)

    def _stages(self, stride_in_1x1: bool) -> Call | list[Call]:
        if self.default_stages:
            given: dict[str, Any] = {"depth": self.depth, "norm": "FrozenBN"}
            if self.bottleneck:
                given["stride_in_1x1"] = stride_in_1x1
            return Call(f"{_MODULE}.ResNet.make_default_stages", given)
        block = Call("detectron2.utils.registry.locate", {"name": f"{_MODULE}.BottleneckBlock"})
        outs = tuple(self.out_channels.values())
        return [
            Call(
                f"{_MODULE}.ResNet.make_stage",
                {
                    "block_class": block,
                    "num_blocks": blocks,
                    "stride_per_block": [1 if stage == 0 else 2, *[1] * (blocks - 1)],
                    "in_channels": 64 if stage == 0 else outs[stage - 1],
                    "out_channels": outs[stage],
                    "bottleneck_channels": self.bottleneck_channels[stage],
                    "num_groups": self.num_groups,
                    "norm": "FrozenBN",
                    "stride_in_1x1": stride_in_1x1,
                },
            )
            for stage, blocks in enumerate(BLOCKS[self.depth])
        ]

    def preprocessing(self, facts: Facts) -> dict[str, Any]:
        found = super().preprocessing(facts)
        if self.absorbed_std is not None:
            found |= IMAGENET_RGB
        if self.bottleneck:
            found["stride_in_1x1"] = bool(facts.get("stride_in_1x1", False))
        return found


def depth_of(specs: Specs, stage: str) -> int:
    """Depth of the ResNet in a state dict.

    Args:
        specs: the state dict.
        stage: template of a stage's prefix with ``{i}`` counting from 1, such as ``layer{i}``.

    Raises:
        ArchitectureError: no ResNet has this number of blocks.
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
