"""Class heads, box heads, and embeddings of labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from detrex_hub.architectures.blocks import StateDict, linear, tensor, under
from detrex_hub.architectures.classes import ClassRows
from detrex_hub.architectures.parts import Part
from detrex_hub.architectures.transformer import mlp
from detrex_hub.architectures.transformers_layout import LAYOUTS as TRANSFORMERS
from detrex_hub.mapping import Rename, Rows, Rule, Take


class Classes(Struct, frozen=True):
    """The classes of a detector, and the rows that they take from the source.

    Args:
        number: of classes, "no object" not counted.
        width: of the embeddings that class heads read.
        chosen: the rows that are taken; None if all are.
        no_object: whether class heads have a last row for "no object". Such heads are not trained
            with the focal loss.
    """

    number: int
    width: int
    chosen: ClassRows | None = None
    no_object: bool = False

    def head(self) -> StateDict:
        """The state dict of a class head."""
        return linear(self.number + self.no_object, self.width)

    def rules(self, source: str, target: str, *, proposals: bool = False) -> tuple[Rule, ...]:
        """Rules of a class head, a module by its name in both layouts.

        Args:
            proposals: whether its first row ranks proposals of every class.
        """
        if self.chosen is None:
            return (Rename(f"{source}.*", f"{target}.*"),)
        return tuple(
            Take(f"{source}.{parameter}", f"{target}.{parameter}", self._rows(parameter, proposals))
            for parameter in ("weight", "bias")
        )

    def _rows(self, parameter: str, proposals: bool) -> Rows:
        assert self.chosen is not None
        if proposals:
            return self.chosen.proposals(parameter, self.width)
        return self.chosen.head(
            parameter, self.width, no_object=self.no_object, focal=not self.no_object
        )


def box_head(width: int) -> StateDict:
    """A box head: x, y, width and height from an embedding."""
    return mlp(width, width, 4, 3)


class ClassHead(Part, frozen=True):
    """One class head.

    Args:
        classes: its classes.
        name: in detrex, and by default in the original.
        transformers: its name in the layouts of transformers.
    """

    classes: Classes
    name: str = "class_embed"
    transformers: str | None = None

    def rules(self, layout: str) -> tuple[Rule, ...]:
        other = self.transformers if layout in TRANSFORMERS else None
        return self.classes.rules(other or self.name, self.name)

    def kept(self) -> tuple[Rule, ...]:
        return self.classes.rules(self.name, self.name)

    def target(self) -> StateDict:
        return under(self.name, self.classes.head())


class HeadLists(Part, frozen=True):
    """A class head and a box head for each decoder layer of a detector with deformable attention.
    The decoder holds some of them a second time.

    Args:
        classes: of the class heads.
        layers: of the decoder.
        refines: whether each decoder layer refines the boxes by its own head; otherwise all
            layers share one class head and one box head.
        proposes: whether the encoder proposes queries, through a further class and box head.
        by_first_row: whether only the first row of the class head ranks these proposals.
        of_encoder: the prefix of the encoder's heads in the original, if they are not in the lists.
        again: further modules that are one of the class heads, by its number in the list.
    """

    classes: Classes
    layers: int
    refines: bool = True
    proposes: bool = False
    by_first_row: bool = False
    of_encoder: str | None = None
    again: Mapping[int, tuple[str, ...]] = {}

    @property
    def number(self) -> int:
        """Heads in a list."""
        return self.layers + self.proposes

    def rules(self, layout: str) -> tuple[Rule, ...]:
        decoder = "model.decoder." if layout in TRANSFORMERS else "transformer.decoder."
        listed = self.layers if self.of_encoder else self.number
        rules: list[Rule] = []
        for source, target in (("", ""), (decoder, "transformer.decoder.")):
            for i in range(listed):
                if not source or self.refines:
                    rules.append(Rename(f"{source}bbox_embed.{i}.**", f"{target}bbox_embed.{i}.**"))
                if not source or self.proposes:
                    names = f"{source}class_embed.{i}", f"{target}class_embed.{i}"
                    rules += self.classes.rules(*names, proposals=self._ranks(i))
        if self.of_encoder:
            boxes = Rename(f"{self.of_encoder}bbox_embed.**", f"bbox_embed.{self.layers}.**")
            names = f"{self.of_encoder}class_embed", f"class_embed.{self.layers}"
            rules += (boxes, *self.classes.rules(*names, proposals=self._ranks(self.layers)))
        return tuple(rules)

    def kept(self) -> tuple[Rule, ...]:
        rules: list[Rule] = []
        for prefix in ("", "transformer.decoder."):
            for i in range(self.number):
                boxes, classes = f"{prefix}bbox_embed.{i}", f"{prefix}class_embed.{i}"
                if not prefix or self.refines:
                    rules.append(Rename(f"{boxes}.**", f"{boxes}.**"))
                if not prefix or self.proposes:
                    rules += self.classes.rules(classes, classes, proposals=self._ranks(i))
        for i, modules in self.again.items():
            for module in modules:
                rules += self.classes.rules(module, module, proposals=self._ranks(i))
        return tuple(rules)

    def _ranks(self, head: int) -> bool:
        return self.by_first_row and head == self.layers

    def target(self) -> StateDict:
        boxes, classes = dict(self._boxes()), dict(self._classes())
        target: StateDict = classes | boxes
        if self.refines:
            target |= under("transformer.decoder", boxes)
        if self.proposes:
            target |= under("transformer.decoder", classes)
        for modules in self.again.values():
            for module in modules:
                target |= under(module, self.classes.head())
        return target

    def _classes(self) -> StateDict:
        return self._list("class_embed", self.classes.head())

    def _boxes(self) -> StateDict:
        return self._list("bbox_embed", box_head(self.classes.width))

    def _list(self, name: str, head: StateDict) -> StateDict:
        module: StateDict = {}
        for i in range(self.number):
            module |= under(f"{name}.{i}", head)
        return module

    def ties(self) -> tuple[tuple[str, ...], ...]:
        if not self.refines:
            return tuple(self._shared())
        groups = []
        for key in (*self._boxes(), *self._classes()):
            twin = () if key.startswith("class_embed.") and not self.proposes else (key,)
            others = (*(f"transformer.decoder.{one}" for one in twin), *self._further_names(key))
            if others:
                groups.append((key, *others))
        return tuple(groups)

    def _further_names(self, key: str) -> Iterator[str]:
        for i, modules in self.again.items():
            head = f"class_embed.{i}."
            if key.startswith(head):
                yield from (f"{module}.{key.removeprefix(head)}" for module in modules)

    def _shared(self) -> Iterator[tuple[str, ...]]:
        """All layers share one head."""
        for name, head in (
            ("class_embed", self.classes.head()),
            ("bbox_embed", box_head(self.classes.width)),
        ):
            for parameter in head:
                group = [f"{name}.{i}.{parameter}" for i in range(self.number)]
                if self.proposes and name == "class_embed":
                    group += [f"transformer.decoder.{key}" for key in group]
                yield tuple(group)


# DN-DETR's embedding of labels, in detrex
LABEL_ENCODER = "denoising_generator.label_encoder"


class LabelEmbedding(Part, frozen=True):
    """An embedding of labels, for denoising.

    Args:
        name: the module in detrex; ``label_enc`` in the original.
        classes: the labels.
        width: of an embedding.
        unknown: whether detrex has a last row for "unknown", which the original has too.
        source_rows: rows of the original's embedding, if detrex reads only the first of them.
    """

    name: str
    classes: Classes
    width: int
    unknown: bool = True
    source_rows: int | None = None

    def rules(self, layout: str) -> tuple[Rule, ...]:
        return (self._rule("label_enc.weight"),)

    def kept(self) -> tuple[Rule, ...]:
        return (self._rule(f"{self.name}.weight"),)

    def _rule(self, source: str) -> Rule:
        target, chosen, number = f"{self.name}.weight", self.classes.chosen, self.classes.number
        if self.unknown:
            of = None if chosen is None else chosen.of + 1
        else:
            as_many = chosen is not None and (chosen.of == number or chosen.all_fresh)
            of = self.source_rows or (number if as_many else None)
        if of is None:
            return Rename(source, target)
        if chosen is not None:
            return Take(source, target, chosen.labels(of, unknown=self.unknown))
        # nothing reads the other rows of the original
        return Take(source, target, Rows(f"first{number}", of, ((0, number),)))

    def target(self) -> StateDict:
        return {f"{self.name}.weight": tensor(self.classes.number + self.unknown, self.width)}
