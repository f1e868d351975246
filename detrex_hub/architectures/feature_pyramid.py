"""Plain ViTs below ViTDet's feature pyramid, trained together: the backbones of detectors.

detectron2's `SimpleFeaturePyramid` and the two pyramids of detrex have the same names. The
detectors that EVA's authors trained with detectron2 have them too, and detrex uses their backbone.

Facts: detectron2 02b5c4e2, `modeling/backbone/vit.py`; detrex e244e6c, `modeling/backbone/eva.py`
and `eva_02.py`; baaivision/EVA 5623d08, `EVA-01/det` and `EVA-02/det`. Their outputs are equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from msgspec.structs import replace

from detrex_hub import kinds
from detrex_hub.architectures import architecture, architectures
from detrex_hub.architectures.base import (
    Architecture,
    BackboneCall,
    Call,
    Facts,
    Layout,
    Overrides,
    Paths,
    Specs,
)
from detrex_hub.architectures.blocks import StateDict, conv, norm, tensor, under
from detrex_hub.architectures.eva02 import EVA02
from detrex_hub.architectures.plain_vit import PlainViT
from detrex_hub.architectures.recognise import recognise
from detrex_hub.architectures.shapes import shape_of
from detrex_hub.errors import ArchitectureError
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Drop, Rename, Rule, indices
from detrex_hub.specs import TensorSpec

# before the names of the ViT's hyper-parameters
_NET = "net_"
# the pyramid's maps by their number: map i has stride 2**i, the ViT's only one has 16
_SCALES = {2: 4.0, 3: 2.0, 4: 1.0, 5: 0.5}
_TOP_BLOCK = "detectron2.modeling.backbone.fpn.LastLevelMaxPool"

_DETECTOR = "head of the original detector, which detrex replaces by its own"
_FINEST = "map of stride 4, which detrex's detectors do not use"
_ROTATIONS = "rotary positions, which the model computes for its own image and window sizes"
_DROPPED: tuple[Rule, ...] = (
    Drop("backbone.simfp_2.**", _FINEST, optional=True),
    Drop("proposal_generator.**", _DETECTOR, optional=True),
    Drop("roi_heads.**", _DETECTOR, optional=True),
    Drop("pixel_mean", "pixel mean, which is set in the config", optional=True),
    Drop("pixel_std", "pixel standard deviation, which is set in the config", optional=True),
)


class FeaturePyramid(Architecture, frozen=True, kw_only=True):
    """A plain ViT and the pyramid on its last map.

    Args:
        net: the ViT.
        maps: numbers of the pyramid's maps: map ``i`` has stride ``2**i``.
        channels: of each.
        rotary_positions: whether the weights hold the rotary positions of EVA-02, as files trained
            in detrex do. A config must then have the image and window sizes of these positions.
    """

    net: PlainViT
    maps: tuple[int, ...] = (3, 4, 5)
    channels: int = 256
    rotary_positions: bool = False

    name: ClassVar[str] = "feature_pyramid"
    backbone: ClassVar[bool] = True
    taken_by: ClassVar[frozenset[str]] = frozenset({"SimpleFeaturePyramid"})
    lazy_paths: ClassVar[Mapping[str, Kind]] = {
        ".out_channels": kinds.SIZE,
        ".scale_factors": kinds.ListOf(kinds.NUMBER),
        ".square_pad": kinds.COUNT,
        ".net.img_size": kinds.SIZE,
        ".net.window_size": kinds.COUNT,
        ".net.window_block_indexes": kinds.COUNTS,
    }
    layouts: ClassVar[Mapping[str, Layout]] = {
        "detector": Layout(
            wrapped=True,
            present=(
                "backbone.net.pos_embed",
                "backbone.net.patch_embed.proj.weight",
                "backbone.simfp_4.0.weight",
            ),
            absent=("neck.**", "transformer.**"),
        ),
        "detrex": Layout(
            present=("net.pos_embed", "net.patch_embed.proj.weight", "simfp_4.0.weight"),
        ),
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> FeaturePyramid:
        prefix = "backbone." if layout == "detector" else ""
        inner = {k.removeprefix(prefix): spec for k, spec in specs.items() if k.startswith(prefix)}
        net = {k.removeprefix("net."): spec for k, spec in inner.items() if k.startswith("net.")}
        found = recognise(net, name="the backbone's net", among=_nets())
        rotated = [key for key in net if key.endswith(".freqs_cos")]
        if issubclass(found.architecture, EVA02) and 0 < len(rotated) <= 2:
            raise ArchitectureError(
                f"the backbone's rotary positions are stored once, as {', '.join(rotated)}: "
                "shapes do not show which blocks have windows",
                hint="Convert a checkpoint that has them for every block, as training writes it",
            )
        if not {"blocks.0.attn.rel_pos_h", "rope_glb.freqs_cos"} & net.keys():
            raise ArchitectureError(
                "the backbone's net has neither relative nor rotary positions, so shapes do not "
                "show its heads and windows"
            )
        made = found.architecture.read(net, found.layout, {})
        assert isinstance(made, PlainViT)
        maps = indices(inner, "simfp_{i}.1.norm.weight")
        if layout == "detector":
            maps = tuple(i for i in maps if i > 2)
        return cls(
            net=made,
            maps=maps,
            channels=shape_of(inner, "simfp_4.0.weight", dimensions=4)[0],
            rotary_positions=layout == "detrex" and isinstance(made, EVA02),
        )

    def __post_init__(self) -> None:
        first = min(self.maps, default=0)
        if self.maps != tuple(range(first, first + len(self.maps))) or not {4} <= set(
            self.maps
        ) <= set(_SCALES):
            raise ArchitectureError(f"a feature pyramid has no maps {list(self.maps)}")

    @property
    def backbone_label(self) -> str:
        return self.net.backbone_label

    def rules(self, layout: str) -> tuple[Rule, ...]:
        if layout == "detrex":
            given = self.set_by_model()
            return tuple(Rename(key, key, optional=key in given) for key in self.target())
        rotations = self._rotations()
        held = [key for key in self.target() if key not in rotations]
        return (
            *(Rename(f"backbone.{key}", key) for key in held),
            *(Drop(f"backbone.{key}", _ROTATIONS, optional=True) for key in sorted(rotations)),
            *_DROPPED,
        )

    def target(self) -> StateDict:
        target = under("net", self.net.target())
        for number in self.maps:
            target |= under(f"simfp_{number}", self._map(number))
        return target

    def _map(self, number: int) -> StateDict:
        """The layers that make a map. Activations and pooling have no tensors."""
        width, channels = self.net.embed_dim, self.channels
        layers: list[StateDict] = []
        if number < 4:
            layers.append(_enlarged(width))
            width //= 2
        if number == 2:
            layers += [norm(width), {}, _enlarged(width)]
            width //= 2
        if number == 5:
            layers.append({})
        layers += [_normalised(channels, width, 1), _normalised(channels, channels, 3)]
        return {k: spec for i, one in enumerate(layers) for k, spec in under(f"{i}", one).items()}

    def ties(self) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(f"net.{key}" for key in group) for group in self.net.ties())

    def set_by_model(self) -> frozenset[str]:
        return frozenset() if self.rotary_positions else self._rotations()

    def _rotations(self) -> frozenset[str]:
        return frozenset(f"net.{key}" for key in self.net.set_by_model())

    def dropped(self) -> dict[str, TensorSpec]:
        target = self.target()
        rotations = {f"backbone.{key}": target[key] for key in self._rotations()}
        return under("backbone.simfp_2", self._map(2)) | rotations

    @property
    def out_channels(self) -> dict[str, int]:
        # detrex's configs pool another map after the last one
        return {f"p{i}": self.channels for i in (*self.maps, self.maps[-1] + 1)}

    def read_by(self, inputs: int) -> dict[str, int]:
        return dict(list(self.out_channels.items())[:inputs])

    def paths(self) -> Paths:
        return Paths({**self.net.paths().lazy, **super().paths().lazy}, super().paths().yacs)

    def overrides(self, preprocessing: Mapping[str, Any]) -> Overrides:
        net = self.net
        found = net.overrides(preprocessing)
        sizes: dict[str, Any] = {
            "out_channels": self.channels,
            "scale_factors": [_SCALES[number] for number in self.maps],
            "net.img_size": net.img_size,
            "net.window_size": net.window_size,
            "net.window_block_indexes": list(net.window_block_indexes),
        }
        if isinstance(net, EVA02):
            # its rotary positions fit only square images of this size
            sizes["square_pad"] = net.img_size
        lazy = {f"{self.node}.{name}": value for name, value in sizes.items()}
        return replace(found, lazy={**found.lazy, **lazy})

    @classmethod
    def inside(cls, values: Mapping[str, Any]) -> Mapping[str, type[Architecture]]:
        return {f"{cls.node}.net": architecture(values["net"])}

    def notes(self) -> tuple[str, ...]:
        if isinstance(self.net, EVA02):
            return (self.net.notes()[-1],)
        return (
            "the weights do not show the size that images were padded to: the training config "
            f"keeps its value ({self.node}.square_pad). {self.node}.net.img_size is set to fit "
            "the shape of the relative positions",
        )

    def build(
        self, preprocessing: Mapping[str, Any], stages: Sequence[int] = (1, 2, 3)
    ) -> BackboneCall | None:
        call = self.net.build(preprocessing)
        pooled = len(stages) - len(self.maps)
        if call is None or pooled not in (0, 1):
            return None
        kwargs = {
            **call.kwargs,
            "out_channels": self.channels,
            "scale_factors": [_SCALES[number] for number in self.maps],
        }
        if pooled:
            kwargs["top_block"] = Call(_TOP_BLOCK)
        return replace(call, kwargs=kwargs, channels=self.read_by(len(stages)))

    def hyper_parameters(self) -> dict[str, Any]:
        """The fields, the ViT's with ``net_`` before their names."""
        net = {_NET + name: value for name, value in self.net.hyper_parameters().items()}
        known = {name: value for name, value in net.items() if value is not None}
        own = {"channels": self.channels, "rotary_positions": self.rotary_positions}
        return {"net": self.net.name, **known, "maps": list(self.maps), **own}

    @classmethod
    def from_hyper_parameters(cls, values: Mapping[str, Any]) -> Architecture:
        kind = values.get("net")
        if kind not in {one.name for one in _nets()}:
            raise ArchitectureError(f"hyper-parameters of {cls.name} need a net")
        net = architecture(kind).from_hyper_parameters(
            {k.removeprefix(_NET): value for k, value in values.items() if k.startswith(_NET)}
        )
        own = {k: value for k, value in values.items() if not k.startswith("net")}
        return super().from_hyper_parameters({**own, "net": net})


def _nets() -> list[type[Architecture]]:
    return [kind for kind in architectures().values() if issubclass(kind, PlainViT)]


def _enlarged(width: int) -> StateDict:
    """A transposed convolution that makes a map twice as large, with half the channels."""
    return {"weight": tensor(width, width // 2, 2, 2), "bias": tensor(width // 2)}


def _normalised(out_channels: int, in_channels: int, kernel: int) -> StateDict:
    """A convolution with a norm instead of a bias."""
    return conv(out_channels, in_channels, kernel, bias=False) | under("norm", norm(out_channels))
