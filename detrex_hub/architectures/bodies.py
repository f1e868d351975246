"""The backbones inside detectors: their prefixes and key names in each layout.

detrex builds its DC5 models and Anchor-DETR on `TorchvisionResNet`, which keeps torchvision's names
below ``body.``, and everything else on detectron2's `ResNet`.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from detrex_hub.architectures import architectures
from detrex_hub.architectures.base import Architecture, Facts, Specs
from detrex_hub.architectures.blocks import StateDict, under
from detrex_hub.architectures.parts import Part
from detrex_hub.architectures.recognise import recognise
from detrex_hub.architectures.resnet import ResNet
from detrex_hub.architectures.resnet_layouts import TORCHVISION
from detrex_hub.architectures.torchvision_resnet import (
    BELOW_BODY,
    TORCHVISION_NAMES,
    TorchvisionResNet,
)
from detrex_hub.architectures.transformers_layout import OWN_RESNET_NAMES
from detrex_hub.errors import ArchitectureError
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Rename, Rule, plan, prefixed
from detrex_hub.specs import TensorSpec


class Body(Part, frozen=True):
    """The backbone of a detector.

    Args:
        backbone: with its hyper-parameters.
        prefixes: the prefix of a ResNet in each layout, with its final dot.
        other_prefixes: the prefix of any other backbone, in the layouts that have others.
    """

    backbone: Architecture
    prefixes: Mapping[str, str]
    other_prefixes: Mapping[str, str]

    def rules(self, layout: str) -> tuple[Rule, ...]:
        resnet = isinstance(self.backbone, ResNet | TorchvisionResNet)
        prefixes = self.prefixes if resnet else self.other_prefixes
        return body_rules(self.backbone, layout, prefixes[layout])

    def kept(self) -> tuple[Rule, ...]:
        given = self.set_by_model()
        return tuple(Rename(key, key, optional=key in given) for key in self.target())

    def target(self) -> StateDict:
        return under("backbone", self.backbone.target())

    def ties(self) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(f"backbone.{key}" for key in one) for one in self.backbone.ties())

    def set_by_model(self) -> frozenset[str]:
        return frozenset(f"backbone.{key}" for key in self.backbone.set_by_model())

    def paths(self) -> Mapping[str, Kind]:
        return self.backbone.paths().lazy


def body_rules(body: Architecture, layout: str, prefix: str) -> tuple[Rule, ...]:
    """Rules of a backbone inside a detector.

    Args:
        body: the backbone.
        layout: the detector's layout.
        prefix: the backbone's prefix in it, with its final dot.
    """
    match body:
        case ResNet():
            rules = (*TORCHVISION.body, *TORCHVISION.counters_dropped)
        case TorchvisionResNet():
            rules = BELOW_BODY
        case _:
            # other backbones keep their names inside a detector
            rules = body.rules("detrex")
    if layout == "transformers_no_timm":
        rules = tuple(
            Rename(_own_name(rule.source), rule.target)
            for rule in rules
            if isinstance(rule, Rename)
        )
    return prefixed(rules, prefix, "backbone.")


class FoundBody(Struct, frozen=True):
    """The backbone inside a detector: what it is, and its own state dict in one of its layouts."""

    kind: type[Architecture]
    specs: Specs
    layout: str

    def read(self, facts: Facts) -> Architecture:
        """Infer its hyper-parameters.

        Raises:
            ArchitectureError: its shapes do not fit such a backbone.
        """
        return self.kind.read(self.specs, self.layout, facts)


def find_body(
    specs: Specs,
    layout: str,
    prefix: str,
    *,
    dilation: bool | None,
    torchvision: bool,
    other_prefix: str | None = None,
) -> FoundBody:
    """Find the backbone inside a detector.

    Args:
        specs: the detector's state dict.
        layout: its layout.
        prefix: the prefix of a ResNet in it, with its final dot.
        dilation: whether its last stage is dilated; None if it is unknown.
        torchvision: whether detrex builds the undilated detector on `TorchvisionResNet` too.
        other_prefix: the prefix of any other backbone in it; None if the layout has none.

    Raises:
        ArchitectureError: it is no known backbone.
    """
    inner = _below(prefix, specs)
    if layout == "transformers_no_timm":
        renames = [Rename(_own_name(name), name, optional=True) for name in TORCHVISION_NAMES]
        moves = plan(renames, inner, mapper="ResNet of transformers", ignore=inner).moves
        inner = {key: move.spec for key, move in moves.items()}
    if "stem.conv1.weight" in inner:
        if dilation:
            raise ArchitectureError(
                "the backbone is detectron2's ResNet, but detrex builds dilated models on "
                "torchvision's",
                hint="Convert without --dc5",
            )
        return FoundBody(ResNet, inner, "detrex")
    if "body.conv1.weight" in inner:
        return FoundBody(TorchvisionResNet, inner, "detrex")
    if "conv1.weight" in inner:
        kind = TorchvisionResNet if dilation or torchvision else ResNet
        return FoundBody(kind, inner, "torchvision")
    if other_prefix is None:
        raise ArchitectureError("the backbone is not a ResNet, and this layout has only ResNets")
    return _find_other(_below(other_prefix, specs))


def _find_other(inner: Specs) -> FoundBody:
    backbones = [kind for kind in architectures().values() if kind.backbone]
    found = recognise(inner, name="the backbone", among=backbones)
    if found.layout != "detrex":
        raise ArchitectureError(
            f"the backbone is a {found.architecture.name} in the layout {found.layout}, which "
            "no detector uses"
        )
    return FoundBody(found.architecture, inner, found.layout)


def _below(prefix: str, specs: Specs) -> dict[str, TensorSpec]:
    return {key.removeprefix(prefix): spec for key, spec in specs.items() if key.startswith(prefix)}


def _own_name(name: str) -> str:
    """transformers' own name (template) for torchvision's."""
    for theirs, own in OWN_RESNET_NAMES.items():
        if name == theirs or (theirs.endswith(".") and name.startswith(theirs)):
            return own + name.removeprefix(theirs)
    raise KeyError(name)
