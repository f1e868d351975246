"""Detectors of the DETR family: a list of parts on a backbone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec.structs import asdict, replace

from detrex_hub import kinds
from detrex_hub.architectures import architecture, classes, coco, transformers_layout
from detrex_hub.architectures.base import Architecture, Overrides
from detrex_hub.architectures.blocks import StateDict
from detrex_hub.architectures.bodies import Body, FoundBody, find_body
from detrex_hub.architectures.classes import ClassRows
from detrex_hub.architectures.declared import (
    IMAGE_FACTS,
    Fact,
    Facts,
    Paths,
    Settled,
    Specs,
    applying,
    released,
    settle,
)
from detrex_hub.architectures.foreign_resnets import detector_backbone
from detrex_hub.architectures.heads import Classes
from detrex_hub.architectures.parts import ConfigValue, Part
from detrex_hub.architectures.shapes import shape_of
from detrex_hub.architectures.torchvision_resnet import TorchvisionResNet
from detrex_hub.architectures.transformer_layers import read_layers
from detrex_hub.errors import ArchitectureError
from detrex_hub.mapping import Rule

if TYPE_CHECKING:
    from typing_extensions import Self

FACTS: Mapping[str, Fact] = {
    **classes.FACTS,
    "dilation": Fact(
        kinds.FLAG,
        "whether the last stage of the backbone is dilated (DC5)",
        default=released(False),
        assumed=True,
        config=("model.backbone.dilation",),
    ),
    "num_heads": Fact(
        kinds.SIZE,
        "attention heads, 8 in every released model",
        default=released(8),
        assumed=True,
        config=(
            "model.transformer.encoder.num_heads",
            "model.transformer.decoder.num_heads",
            "model.transformer.num_heads",
            "model.transformer.nhead",
        ),
    ),
}
"""The facts of every detector, beside those of its backbone."""

_PADDING = (
    "detrex ignores padding masks when it evaluates. In a batch of images of different sizes, "
    "the logits of a padded image differ: by 0.08 measured in DETR, by 0.48 "
    "in Deformable-DETR. One image at a time, as in detectron2's test loader, is exact."
)
_INVERSE_SIGMOID = (
    "detrex's inverse sigmoid is cut at 1e-3, the original's at 1e-5. A reference point "
    "closer than 1e-3 to the border of the image moves boxes by up to 1.2e-3 of its size."
)
_TOP_K = (
    "The encoder proposes queries by top-k. In float32, proposals that are nearly equal "
    "may be in a different order than in the original."
)

# before the names of a backbone's facts and hyper-parameters, where a detector has them
BODY = "backbone_"


class Detector(Architecture, frozen=True, kw_only=True):
    """A detector. An architecture reads the fields from shapes, and lists the parts.

    Args:
        body: the backbone.
        num_queries: object queries; None if neither a shape nor a fact shows their number.
        num_classes: classes of the detrex model, "no object" not counted.
        encoder_layers, decoder_layers: layers of the transformer.
        embed_dim: its width.
        feedforward_dim: width of its feed-forward layers.
        num_heads: attention heads; None where they are not known, since few shapes show them.
        classes_cut_from: rows of the source's class head if the model has others; None if it takes
            them all.
        class_rows: the rows that it takes then. They belong to the conversion rather than to the
            model, so they are not a hyper-parameter.
    """

    body: Architecture
    num_queries: int | None
    num_classes: int
    encoder_layers: int
    decoder_layers: int
    embed_dim: int
    feedforward_dim: int
    num_heads: int | None = 8
    classes_cut_from: int | None = None
    class_rows: ClassRows | None = None

    task: ClassVar[str] = "object-detection"
    facts: ClassVar[Mapping[str, Fact]] = FACTS
    body_prefixes: ClassVar[Mapping[str, str]] = {
        "original": "backbone.0.body.",
        "transformers": transformers_layout.BACKBONE,
        "transformers_no_timm": transformers_layout.BACKBONE,
        "detrex": "backbone.",
    }
    """The prefix of a ResNet in each layout."""
    other_body_prefixes: ClassVar[Mapping[str, str]] = {
        "original": "backbone.0.body.",
        "detrex": "backbone.",
    }
    """The prefix of any other backbone, in the layouts that have others."""
    on_torchvision: ClassVar[bool] = False
    """Whether detrex builds it on `TorchvisionResNet` without dilation too."""
    takes_temperature: ClassVar[bool] = False
    """Whether the original's model takes the temperature of its position embedding from the
    arguments. The training scripts of DAB-DETR and DN-DETR also pass 20 to their deformable models,
    which ignore it and use 10000."""
    original_rows: ClassVar[int] = 91
    """Rows of the originals' released class heads: 91, or 92 with "no object"."""

    cuts_inverse_sigmoid: ClassVar[bool] = False
    """Whether detrex limits its inverse sigmoid more than the original."""

    @abstractmethod
    def parts(self) -> tuple[Part, ...]:
        """Everything but the backbone."""

    @property
    def backbone_label(self) -> str:
        return self.body.backbone_label

    @property
    def sizes(self) -> tuple[Part, ...]:
        """The sizes that most detrex models take themselves."""
        return (
            ConfigValue("model.embed_dim", kinds.SIZE, self.embed_dim),
            ConfigValue("model.num_classes", kinds.SIZE, self.num_classes),
            ConfigValue("model.criterion.num_classes", kinds.SIZE, self.num_classes),
        )

    @property
    def of_no_config(self) -> bool:
        return self.body.of_no_config

    @property
    def classes(self) -> Classes:
        """The classes, for class heads and embeddings of labels."""
        return Classes(self.num_classes, self.embed_dim, self.chosen, bool(self.no_object_rows))

    @property
    def learned_queries(self) -> int:
        """Rows of the embeddings of queries, for models that have them."""
        assert self.num_queries is not None
        return self.num_queries

    @property
    def no_object_rows(self) -> int:
        """Extra rows of the class head, such as the one for "no object"."""
        return self.original_rows - 91

    # -- all parts --------------------------------------------------------------------------------

    def _all(self) -> tuple[Part, ...]:
        return (Body(self.body, self.body_prefixes, self.other_body_prefixes), *self.parts())

    def rules(self, layout: str) -> tuple[Rule, ...]:
        own = layout == "detrex"
        return tuple(
            rule for part in self._all() for rule in (part.kept() if own else part.rules(layout))
        )

    def target(self) -> StateDict:
        return {key: spec for part in self._all() for key, spec in part.target().items()}

    def ties(self) -> tuple[tuple[str, ...], ...]:
        return tuple(group for part in self._all() for group in part.ties())

    def set_by_model(self) -> frozenset[str]:
        return frozenset(key for part in self._all() for key in part.set_by_model())

    def paths(self) -> Paths:
        found = {path: kind for part in self._all() for path, kind in part.paths().items()}
        return Paths({**found, **super().paths().lazy})

    def overrides(self, preprocessing: Mapping[str, Any]) -> Overrides:
        body = self.body.overrides(preprocessing)
        own = {path: value for part in self.parts() for path, value in part.overrides().items()}
        return Overrides(
            lazy=body.lazy | own,
            # the neck is a part of the detector and has its own overrides
            lazy_if_present={
                path: value
                for path, value in body.lazy_if_present.items()
                if not path.startswith("model.neck.")
            },
            lazy_remove=body.lazy_remove,
        )

    @classmethod
    def inside(cls, values: Mapping[str, Any]) -> Mapping[str, type[Architecture]]:
        return architecture(values["backbone"]).inside(_below(values))

    # -- facts ------------------------------------------------------------------------------------

    @classmethod
    def found_body(cls, specs: Specs, layout: str, facts: Facts) -> FoundBody:
        """The backbone inside a state dict.

        Args:
            facts: the known facts, of which ``dilation`` matters.
        """
        return find_body(
            specs,
            layout,
            cls.body_prefixes[layout],
            dilation=facts.get("dilation"),
            torchvision=cls.on_torchvision,
            other_prefix=cls.other_body_prefixes.get(layout),
        )

    @classmethod
    def facts_of(cls, specs: Specs, layout: str, given: Facts) -> Mapping[str, Fact]:
        own = super().facts_of(specs, layout, given)
        body = cls.found_body(specs, layout, settle(own, specs, layout, given).values)
        return {**own, **{BODY + name: fact for name, fact in _of_body(body.kind.facts).items()}}

    @classmethod
    def settle(cls, specs: Specs, layout: str, facts: Facts) -> Settled:
        own = super().settle(specs, layout, facts)
        body = cls.found_body(specs, layout, own.values)
        theirs = body.kind.settle(body.specs, body.layout, _below(facts))
        return own.beside(theirs.only(_of_body(body.kind.facts)), BODY)

    def declared_facts(self) -> dict[str, Fact]:
        body = _of_body(self.body.declared_facts())
        return super().declared_facts() | {BODY + name: fact for name, fact in body.items()}

    def preprocessing(self, facts: Facts) -> dict[str, Any]:
        return self.body.preprocessing(_below(facts)) | super().preprocessing(facts)

    @classmethod
    def facts_in(cls, metadata: Mapping[str, Any]) -> dict[str, Any]:
        arguments = metadata.get("args")
        stated = cls.stated(arguments) if isinstance(arguments, Mapping) else {}
        # text from a stranger: a value of another kind is ignored
        return {
            name: value for name, value in stated.items() if cls.facts[name].kind.accepts(value)
        }

    @classmethod
    def stated(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Facts in the arguments of the original's training script, which are stored beside the
        weights. Their values can be of any kind."""
        found = {"dilation": arguments.get("dilation"), "num_heads": arguments.get("nheads")}
        if cls.takes_temperature:
            high, wide = arguments.get("pe_temperatureH"), arguments.get("pe_temperatureW")
            found["position_temperature"] = high if high == wide else None
        return found

    # -- transformers -----------------------------------------------------------------------------

    def as_stored(self) -> Self:
        return replace(self, body=self.body.as_stored(), classes_cut_from=None, class_rows=None)

    def as_released(self) -> tuple[Self, dict[str, Any]]:
        specs = self.target()
        assumed = {
            name: default(specs, "original", {}) if callable(default) else default
            for name, fact in self.facts.items()
            if getattr(self, name, 0) is None
            for default in (fact.default,)
        }
        found = {name: value for name, value in assumed.items() if value is not None}
        return replace(self, **found), found

    def transformers_config(
        self, model_type: str, layout: str, preprocessing: Mapping[str, Any], *, read: int = 1
    ) -> dict[str, Any]:
        """The fields of a config of transformers that its detectors share.

        Args:
            model_type: transformers' name of the model.
            layout: one of transformers'.
            preprocessing: as for `overrides`.
            read: the last stages of the backbone, which the detector reads.

        Raises:
            ArchitectureError: transformers has no such model, or a value that its config needs is
                not known.
        """
        if self.not_in_transformers is not None:
            Architecture.in_transformers(self, layout, preprocessing)
        if self.unknown:
            raise ArchitectureError(
                f"the weights do not show {', '.join(self.unknown)}, which transformers needs",
                hint="Set it, such as: --fact dilation=true",
            )
        backbone = detector_backbone(
            self.body,
            own=layout == "transformers_no_timm",
            read=read,
            stride_in_1x1=bool(preprocessing.get("stride_in_1x1")),
        )
        return {
            "model_type": model_type,
            **backbone,
            "encoder_layers": self.encoder_layers,
            "decoder_layers": self.decoder_layers,
            "encoder_ffn_dim": self.feedforward_dim,
            "decoder_ffn_dim": self.feedforward_dim,
            "encoder_attention_heads": self.num_heads,
            "decoder_attention_heads": self.num_heads,
            # true would change the outputs of DETR and Conditional-DETR
            "auxiliary_loss": False,
            "num_queries": self.num_queries,
        }

    # -- reading ----------------------------------------------------------------------------------

    @classmethod
    def shared(
        cls,
        specs: Specs,
        layout: str,
        facts: Facts,
        *heads: str,
        layers: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        """The fields above, without the number of queries.

        Args:
            specs: the source state dict.
            layout: its layout.
            facts: settled ones.
            heads: names that the weight of a class head can have.
            layers: as for `read_layers`.
        """
        rows = shape_of(specs, *heads)[0]
        no_object = cls.original_rows - 91
        chosen = classes.class_rows(rows - no_object, 91, layout, facts)
        return {
            "body": cls.read_body(specs, layout, facts),
            "num_classes": len(chosen.rows) if chosen else rows - no_object,
            "num_heads": facts.get("num_heads"),
            "classes_cut_from": rows if chosen else None,
            "class_rows": chosen,
            **read_layers(specs, *layers),
        }

    @classmethod
    def read_body(cls, specs: Specs, layout: str, facts: Facts) -> Architecture:
        """The backbone with its hyper-parameters.

        Args:
            facts: settled ones.
        """
        found = cls.found_body(specs, layout, facts)
        return found.read(_below(facts) | {"dilation": facts.get("dilation")})

    @property
    def chosen(self) -> ClassRows | None:
        """The rows of classes that are taken; None if all are."""
        if self.class_rows is not None or self.classes_cut_from is None:
            return self.class_rows
        # hyper-parameters do not show which classes were chosen, if they are not COCO's
        number, of = self.num_classes, self.classes_cut_from - self.no_object_rows
        if number == len(coco.CATEGORIES) and of > max(coco.CATEGORIES):
            return ClassRows("coco80", of, coco.CATEGORIES)
        return ClassRows(f"{number} classes", of, (None,) * number)

    # -- notes and records ------------------------------------------------------------------------

    def notes(self) -> tuple[str, ...]:
        notes: tuple[str, ...] = ()
        if self.unknown:
            notes = (
                f"the weights do not show {', '.join(self.unknown)}: the training config keeps "
                "its value",
            )
        if self.classes_cut_from is None:
            return notes
        now = self.num_classes + self.no_object_rows
        if self.chosen is not None and self.chosen.rows != coco.CATEGORIES:
            return (*notes, self.chosen.described())
        return (
            *notes,
            f"class heads cut {self.classes_cut_from} -> {now} rows: the 80 COCO classes"
            f"{' and no object' if self.no_object_rows else ''}"
            " (to keep all rows of your own classes: --classes keep)",
        )

    @property
    def ranks_proposals(self) -> bool:
        """Whether the encoder proposes queries. The best ones are taken."""
        return False

    def differences(self) -> tuple[str, ...]:
        return (
            _PADDING,
            *((_INVERSE_SIGMOID,) if self.cuts_inverse_sigmoid else ()),
            *((_TOP_K,) if self.ranks_proposals else ()),
        )

    @property
    def keeps_rows(self) -> str:
        if self.chosen is None:
            return super().keeps_rows
        return "Keep all rows of the class heads: detrex-hub convert FILE --classes keep"

    @property
    def unknown(self) -> tuple[str, ...]:
        """Settings that a config needs and that neither shapes nor facts show."""
        facts = applying(self.facts, self.target())
        found = [name for name in facts if getattr(self, name, 0) is None]
        if isinstance(self.body, TorchvisionResNet) and self.body.dilation is None:
            found.append("dilation")
        return tuple(found)

    def hyper_parameters(self) -> dict[str, Any]:
        """The fields, the backbone's with ``backbone_`` before their names."""
        found: dict[str, Any] = {"backbone": self.body.name}
        for name, value in self.body.hyper_parameters().items():
            if value is not None:
                found[BODY + name] = value
        for name, value in asdict(self).items():
            if name not in ("body", "class_rows"):
                found[name] = list(value) if isinstance(value, tuple) else value
        return found

    @classmethod
    def from_hyper_parameters(cls, values: Mapping[str, Any]) -> Architecture:
        kind = values.get("backbone")
        if not isinstance(kind, str):
            raise ArchitectureError(f"hyper-parameters of {cls.name} need a backbone")
        body = architecture(kind).from_hyper_parameters(_below(values))
        own = {k: v for k, v in values.items() if not k.startswith("backbone")}
        return super().from_hyper_parameters({**own, "body": body})


def _below(values: Mapping[str, Any]) -> dict[str, Any]:
    """A backbone's values among those of its detector."""
    return {k.removeprefix(BODY): value for k, value in values.items() if k.startswith(BODY)}


def _of_body(facts: Mapping[str, Fact]) -> dict[str, Fact]:
    """A backbone's facts that matter inside a detector: those of its weights, without those of the
    image and of the classifier."""
    return {n: fact for n, fact in facts.items() if fact.assumed and n not in IMAGE_FACTS}
