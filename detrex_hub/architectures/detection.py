"""What the detectors of the DETR family have in common."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures import architecture, classes, coco, transformers_layout
from detrex_hub.architectures.base import Architecture, Overrides
from detrex_hub.architectures.blocks import StateDict, under
from detrex_hub.architectures.bodies import FoundBody, body_rules, find_body
from detrex_hub.architectures.classes import ClassRows
from detrex_hub.architectures.declared import (
    IMAGE_FACTS,
    Fact,
    Facts,
    Paths,
    Settled,
    Specs,
    settle,
)
from detrex_hub.architectures.resnet import ResNet
from detrex_hub.architectures.torchvision_resnet import TorchvisionResNet
from detrex_hub.architectures.transformer import mlp
from detrex_hub.errors import ArchitectureError
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Drop, Rename, Rule, Take, indices

_LOOK = "Look at the keys with: detrex-hub inspect FILE"


def released(value: Any) -> Callable[[Specs, str, Facts], Any]:
    """The default of a fact that is the same in all released originals. A model that was trained
    with detrex can have any value, and its config has it."""

    def default(specs: Specs, layout: str, facts: Facts) -> Any:
        return None if layout == "detrex" else value

    return default


FACTS: Mapping[str, Fact] = {
    **classes.FACTS,
    "dilation": Fact(
        kinds.FLAG,
        "whether the last stage of the backbone is dilated (DC5)",
        default=released(False),
        assumed=True,
        config=("model.backbone.dilation",),
        option="--dc5",
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
        ),
    ),
}


def position_facts(temperature: float, offset: float) -> dict[str, Fact]:
    """The facts of a sine position embedding, with the values of the released originals."""
    return {
        "position_temperature": Fact(
            kinds.Number(positive=True),
            "temperature of the sine position embedding",
            default=released(temperature),
            assumed=True,
            config=("model.position_embedding.temperature",),
        ),
        "position_offset": Fact(
            kinds.NUMBER,
            "offset of the sine position embedding",
            default=released(offset),
            assumed=True,
            config=("model.position_embedding.offset",),
        ),
    }


@dataclass(frozen=True, kw_only=True)
class Detector(Architecture):
    """A detector of the DETR family.

    Args:
        body: the backbone.
        num_queries: object queries; None where they are not learned, and so in no shape, and not
            told.
        num_classes: classes of the detrex model, "no object" not counted.
        encoder_layers, decoder_layers: layers of the transformer.
        embed_dim: its width.
        feedforward_dim: width of its feed-forward layers.
        num_heads: attention heads; None where they are not known, since few shapes show them.
        classes_cut_from: rows of the source's class head where the model has others; None where it
            takes them all.
        class_rows: which rows it takes then. Part of the conversion rather than of the model, and
            so no hyper-parameter.
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
    class_rows: ClassRows | None = field(default=None, compare=False)

    facts: ClassVar[Mapping[str, Fact]] = FACTS
    lazy_paths: ClassVar[Mapping[str, Kind]] = {
        "model.embed_dim": kinds.SIZE,
        "model.criterion.num_classes": kinds.SIZE,
    }
    body_prefixes: ClassVar[Mapping[str, str]] = {
        "original": "backbone.0.body.",
        "transformers": transformers_layout.BACKBONE,
        "transformers_no_timm": transformers_layout.BACKBONE,
        "detrex": "backbone.",
    }
    """Where a ResNet lies in each layout."""
    other_body_prefixes: ClassVar[Mapping[str, str]] = {
        "original": "backbone.0.body.",
        "detrex": "backbone.",
    }
    """Where any other backbone lies, in the layouts that have others."""
    on_torchvision: ClassVar[bool] = False
    """Whether detrex builds it on `TorchvisionResNet` without dilation too."""
    layer_keys: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "encoder": (
            "transformer.encoder.layers.{i}.linear1.weight",
            "model.encoder.layers.{i}.fc1.weight",
            "transformer.encoder.layers.{i}.ffns.0.layers.0.0.weight",
        ),
        "decoder": (
            "transformer.decoder.layers.{i}.linear1.weight",
            "model.decoder.layers.{i}.fc1.weight",
            "model.decoder.layers.{i}.mlp.fc1.weight",
            "transformer.decoder.layers.{i}.ffns.0.layers.0.0.weight",
        ),
    }
    """The first weight of a layer's feed-forward, ``(feedforward_dim, embed_dim)``, by layout."""
    takes_temperature: ClassVar[bool] = False
    """Whether the original's model takes the temperature of its position embedding from the
    arguments. The training scripts of DAB-DETR and DN-DETR say 20 to their deformable models too,
    which pay no heed and have 10000."""
    original_rows: ClassVar[int] = 91
    """Rows of the originals' released class heads."""

    @property
    def learned_queries(self) -> int:
        """Rows of the embeddings of queries, for models that have them."""
        assert self.num_queries is not None
        return self.num_queries

    @property
    def no_object_rows(self) -> int:
        """Rows of the class head beyond the classes."""
        return self.original_rows - 91

    # -- facts and paths --------------------------------------------------------------------------

    @classmethod
    def found_body(cls, specs: Specs, layout: str, facts: Facts) -> FoundBody:
        """The backbone inside a state dict.

        Args:
            facts: what is known, of which ``dilation`` matters.
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
        theirs = settle(_of_body(body.kind.facts), body.specs, body.layout, _below(facts))
        return own.beside(theirs, BODY)

    def declared_facts(self) -> dict[str, Fact]:
        body = _of_body(self.body.declared_facts())
        return super().declared_facts() | {BODY + name: fact for name, fact in body.items()}

    def paths(self) -> Paths:
        return Paths({**self.body.paths().lazy, **super().paths().lazy})

    def preprocessing(self, facts: Facts) -> dict[str, Any]:
        return self.body.preprocessing(_below(facts)) | super().preprocessing(facts)

    # -- reading --------------------------------------------------------------------------------

    @classmethod
    def common(cls, specs: Specs, layout: str, facts: Facts, *heads: str) -> dict[str, Any]:
        """The hyper-parameters that all detectors have, but for the number of queries.

        Args:
            heads: names that the weight of a class head may have.
        """
        encoder = _layers(specs, cls.layer_keys["encoder"])
        decoder = _layers(specs, cls.layer_keys["decoder"])
        feedforward_dim, embed_dim = shape_of(specs, encoder[0])
        rows = shape_of(specs, *heads)[0]
        no_object = cls.original_rows - 91
        chosen = classes.class_rows(rows - no_object, 91, layout, facts)
        return {
            "body": cls.found_body(specs, layout, facts).read(
                _below(facts) | {"dilation": facts.get("dilation")}
            ),
            "num_classes": len(chosen.rows) if chosen else rows - no_object,
            "encoder_layers": len(encoder),
            "decoder_layers": len(decoder),
            "embed_dim": embed_dim,
            "feedforward_dim": feedforward_dim,
            "num_heads": facts.get("num_heads"),
            "classes_cut_from": rows if chosen else None,
            "class_rows": chosen,
        }

    @classmethod
    def facts_in(cls, metadata: Mapping[str, Any]) -> dict[str, Any]:
        arguments = metadata.get("args")
        told = cls.told(arguments) if isinstance(arguments, Mapping) else {}
        # a stranger's words: a value of another kind says nothing
        return {name: value for name, value in told.items() if cls.facts[name].kind.accepts(value)}

    @classmethod
    def told(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Facts in the arguments of the original's training script, which lie beside the weights.
        Their values can be anything."""
        found = {"dilation": arguments.get("dilation"), "num_heads": arguments.get("nheads")}
        if cls.takes_temperature:
            high, wide = arguments.get("pe_temperatureH"), arguments.get("pe_temperatureW")
            found["position_temperature"] = high if high == wide else None
        return found

    # -- mapping --------------------------------------------------------------------------------

    def rules(self, layout: str) -> tuple[Rule, ...]:
        if layout == "detrex":
            given = self.set_by_model()
            return tuple(self._own_rule(key, constant=key in given) for key in self.target())
        resnet = isinstance(self.body, ResNet | TorchvisionResNet)
        prefixes = self.body_prefixes if resnet else self.other_body_prefixes
        return (
            *body_rules(self.body, layout, prefixes[layout]),
            *self.transformer_rules(layout),
            *self.head_rules(layout),
        )

    @abstractmethod
    def transformer_rules(self, layout: str) -> tuple[Rule, ...]:
        """Rules of everything between backbone and heads."""

    @abstractmethod
    def head_rules(self, layout: str) -> tuple[Rule, ...]:
        """Rules of the class heads, the box heads and the embeddings of labels."""

    @property
    def chosen(self) -> ClassRows | None:
        """The rows of classes that are taken, None where all are."""
        if self.class_rows is not None or self.classes_cut_from is None:
            return self.class_rows
        # which they were if there are others than COCO's, hyper-parameters do not say
        number, of = self.num_classes, self.classes_cut_from - self.no_object_rows
        if number == len(coco.CATEGORIES):
            return ClassRows("coco80", of, coco.CATEGORIES)
        return ClassRows(f"{number} classes", of, (None,) * number)

    def class_head(self, source: str, target: str, *, proposals: bool = False) -> tuple[Rule, ...]:
        """Rules of a class head, a module by its name in both layouts.

        Args:
            proposals: whether its first row ranks proposals, whatever their class.
        """
        if self.chosen is None:
            return (Rename(f"{source}.*", f"{target}.*"),)
        return tuple(
            Take(
                f"{source}.{parameter}",
                f"{target}.{parameter}",
                self.chosen.proposals(parameter, self.embed_dim)
                if proposals
                else self.chosen.head(
                    parameter,
                    self.embed_dim,
                    no_object=bool(self.no_object_rows),
                    focal=not self.no_object_rows,
                ),
            )
            for parameter in ("weight", "bias")
        )

    def ranks_proposals(self, head: str) -> bool:
        """Whether a class head, by its index or name, ranks proposals by its first row alone."""
        return False

    def label_rule(self, source: str, target: str) -> Rule:
        """The rule of an embedding of labels, whose last row is for "unknown"."""
        if self.chosen is None:
            return Rename(source, target)
        return Take(source, target, self.chosen.labels(self.chosen.of + 1, unknown=True))

    def _own_rule(self, key: str, *, constant: bool) -> Rule:
        """The rule of a key in detrex's own names; a checkpoint may lack what the model sets."""
        module = key.rpartition(".")[0]
        if self.chosen is None:
            return Rename(key, key, optional=constant)
        if "class_embed" in module.split("."):
            head = self.class_head(module, module, proposals=self.ranks_proposals(module))
            return next(rule for rule in head if isinstance(rule, Take) and rule.source == key)
        if key == "criterion.empty_weight":
            return Drop(key, "weights of the classes in the loss, a constant", optional=True)
        if key in ("label_enc.weight", LABEL_ENCODER):
            return self.label_rule(key, key)
        return Rename(key, key, optional=constant)

    def notes(self) -> tuple[str, ...]:
        notes: tuple[str, ...] = ()
        if self.unknown:
            notes = (
                f"no weight shows {', '.join(self.unknown)}: left as the training config has it",
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
            " (--classes keep leaves classes of your own whole)",
        )

    @property
    def keeps_rows(self) -> str:
        if self.chosen is None:
            return super().keeps_rows
        return "Class heads are kept whole by: detrex-hub convert FILE --classes keep"

    @property
    def unknown(self) -> tuple[str, ...]:
        """What a config must say, and neither shapes nor facts tell."""
        found = [name for name in self.facts if getattr(self, name, 0) is None]
        if isinstance(self.body, TorchvisionResNet) and self.body.dilation is None:
            found.append("dilation")
        return tuple(found)

    # -- detrex ---------------------------------------------------------------------------------

    def target(self) -> StateDict:
        return under("backbone", self.body.target()) | self.detector_target()

    @abstractmethod
    def detector_target(self) -> StateDict:
        """The state dict without the backbone."""

    def set_by_model(self) -> frozenset[str]:
        return frozenset(f"backbone.{key}" for key in self.body.set_by_model())

    def box_head(self) -> StateDict:
        return mlp(self.embed_dim, self.embed_dim, 4, 3)

    def overrides(self, preprocessing: Mapping[str, Any]) -> Overrides:
        body = self.body.overrides(preprocessing)
        return Overrides(
            lazy=body.lazy | self.detector_overrides(),
            lazy_if_present={
                path: value
                for path, value in body.lazy_if_present.items()
                if not path.startswith("model.neck.")
            },
            lazy_remove=body.lazy_remove,
        )

    @abstractmethod
    def detector_overrides(self) -> dict[str, Any]:
        """Dotted paths of everything but the backbone, as detrex's configs name them."""

    # -- records --------------------------------------------------------------------------------

    def hyper_parameters(self) -> dict[str, Any]:
        """The fields, the backbone's with ``backbone_`` before their names."""
        found: dict[str, Any] = {"backbone": self.body.name}
        for name, value in self.body.hyper_parameters().items():
            if value is not None:
                found[f"backbone_{name}"] = value
        for one in dataclasses.fields(self):
            value = getattr(self, one.name)
            if one.name not in ("body", "class_rows"):
                found[one.name] = list(value) if isinstance(value, tuple) else value
        return found

    @classmethod
    def from_hyper_parameters(cls, values: Mapping[str, Any]) -> Architecture:
        kind = values.get("backbone")
        if not isinstance(kind, str):
            raise ArchitectureError(f"hyper-parameters of {cls.name} need a backbone")
        body = architecture(kind).from_hyper_parameters(_below(values))
        own = {k: v for k, v in values.items() if not k.startswith("backbone")}
        return super().from_hyper_parameters({**own, "body": body})


@dataclass(frozen=True, kw_only=True)
class TransformerDetector(Detector):
    """A detector with a position embedding, an encoder and a decoder.

    Args:
        position_temperature, position_offset: of the sine position embedding, as the originals
            have them; None where they are not known, since no weight shows them.
    """

    position_temperature: float | None = 10000
    position_offset: float | None = 0.0

    facts: ClassVar[Mapping[str, Fact]] = {**FACTS, **position_facts(10000, 0.0)}
    lazy_paths: ClassVar[Mapping[str, Kind]] = {
        **Detector.lazy_paths,
        "model.num_classes": kinds.SIZE,
        "model.num_queries": kinds.SIZE,
        "model.position_embedding.num_pos_feats": kinds.SIZE,
        "model.position_embedding.temperature": kinds.Number(positive=True),
        "model.position_embedding.offset": kinds.NUMBER,
        "model.transformer.*.embed_dim": kinds.SIZE,
        "model.transformer.*.feedforward_dim": kinds.SIZE,
        "model.transformer.*.num_layers": kinds.SIZE,
        "model.transformer.*.num_heads": kinds.SIZE,
    }

    @classmethod
    def common(cls, specs: Specs, layout: str, facts: Facts, *heads: str) -> dict[str, Any]:
        return super().common(specs, layout, facts, *heads) | {
            "position_temperature": facts.get("position_temperature"),
            "position_offset": facts.get("position_offset"),
        }

    def detector_overrides(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "model.embed_dim": self.embed_dim,
            "model.num_classes": self.num_classes,
            "model.criterion.num_classes": self.num_classes,
            "model.position_embedding.num_pos_feats": self.embed_dim // 2,
        }
        if self.num_queries is not None:
            found["model.num_queries"] = self.num_queries
        if self.position_temperature is not None:
            found["model.position_embedding.temperature"] = self.position_temperature
        if self.position_offset is not None:
            found["model.position_embedding.offset"] = self.position_offset
        layers = {"encoder": self.encoder_layers, "decoder": self.decoder_layers}
        for side, number in layers.items():
            found |= {
                f"model.transformer.{side}.embed_dim": self.embed_dim,
                f"model.transformer.{side}.feedforward_dim": self.feedforward_dim,
                f"model.transformer.{side}.num_layers": number,
            }
            if self.num_heads is not None:
                found[f"model.transformer.{side}.num_heads"] = self.num_heads
        return found


# before the names of a backbone's facts and hyper-parameters, where a detector has them
BODY = "backbone_"


def _below(values: Mapping[str, Any]) -> dict[str, Any]:
    """A backbone's values among those of its detector."""
    return {k.removeprefix(BODY): value for k, value in values.items() if k.startswith(BODY)}


def _of_body(facts: Mapping[str, Fact]) -> dict[str, Fact]:
    """A backbone's facts that matter inside a detector: what its weights are, apart from the image,
    and not what becomes of its classifier."""
    return {n: fact for n, fact in facts.items() if fact.assumed and n not in IMAGE_FACTS}


def shape_of(specs: Specs, *names: str, dimensions: int = 2) -> tuple[int, ...]:
    """The shape of the first of some keys that is there.

    Raises:
        ArchitectureError: none is, or it has another number of dimensions, or an empty one.
    """
    for name in names:
        if name in specs:
            shape = specs[name].shape
            if len(shape) != dimensions or 0 in shape:
                raise ArchitectureError(
                    f"{name} is {specs[name]} and should have {dimensions} dimensions", hint=_LOOK
                )
            return shape
    raise ArchitectureError(
        f"there is no tensor {' or '.join(names)}",
        hint=_LOOK,
    )


def _layers(specs: Specs, templates: tuple[str, ...]) -> list[str]:
    """The keys of a template, one for each layer.

    Raises:
        ArchitectureError: there is none, or layers are missing between others.
    """
    for text in templates:
        found = indices(specs, text)
        if found:
            if found != tuple(range(len(found))):
                raise ArchitectureError(
                    f"layers are missing: {text} has only {list(found)}", hint=_LOOK
                )
            return [text.replace("{i}", str(i)) for i in found]
    raise ArchitectureError(f"there is no layer {' or '.join(templates)}", hint=_LOOK)


# DN-DETR's embedding of labels, which has a further row for "unknown"
LABEL_ENCODER = "denoising_generator.label_encoder.weight"
