"""The interface of an architecture: layouts, hyper-parameters, rules, target specs, overrides."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, get_type_hints

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from detrex_hub import schema
from detrex_hub.architectures import repository_configs
from detrex_hub.architectures.declared import (
    IMAGE_FACTS,
    IMAGE_PATHS,
    IMAGENET_RGB,
    Fact,
    Facts,
    Paths,
    Settled,
    Specs,
    applying,
    settle,
    understood,
)
from detrex_hub.errors import ArchitectureError
from detrex_hub.kinds import Kind
from detrex_hub.mapping import (
    ConversionPlan,
    Piece,
    Rule,
    collapse,
    inverse,
    origins,
    plan,
    source_specs,
    template,
)
from detrex_hub.schema import Names, PlainValues
from detrex_hub.specs import TensorSpec

if TYPE_CHECKING:
    from typing_extensions import Self

    from detrex_hub.architectures.foreign_models import TimmModel, TransformersModel

__all__ = [
    "IMAGENET_RGB",
    "Architecture",
    "BackboneCall",
    "Call",
    "Fact",
    "Facts",
    "Layout",
    "LookAlikes",
    "Overrides",
    "Paths",
    "Specs",
    "image_overrides",
]


class LookAlikes(Struct, frozen=True):
    """Other architectures whose state dicts have the keys of a layout, all of them.

    If the class of the model is not known, a state dict counts as the architecture of the layout
    only at a size that this architecture was released with. At any other size the user chooses.

    Args:
        names: the other architectures, as ``--arch`` takes them.
        queries: the key whose rows are the object queries. A state dict that lacks it is not asked
            for its size.
        released: the numbers of rows that the architecture of the layout was released with.
        as_released: whether the others were released with these numbers too. Then only the class
            of the model tells them apart, and a card says that the weights may be either.
    """

    names: tuple[str, ...]
    queries: str
    released: tuple[int, ...]
    as_released: bool = False


class Layout(Struct, frozen=True):
    """One way in which state dicts of an architecture are written.

    ``present`` are key templates of which each must match some key, ``absent`` templates that must
    match none; ``check`` looks at shapes where names are not enough and returns what speaks
    against the layout, or None. ``peculiar`` are templates that must match only where the
    architecture is to be found out: one that is named may lack them. ``look_alikes`` are
    architectures that keys cannot tell from this one. ``note`` is what a user should know of every
    file of the layout.
    """

    present: tuple[str, ...]
    absent: tuple[str, ...] = ()
    peculiar: tuple[str, ...] = ()
    check: Callable[[Specs], str | None] | None = None
    look_alikes: LookAlikes | None = None
    wrapped: bool = False
    """Whether the authors' files hold the state dict under ``model``, beside other things."""
    note: str | None = None


class Overrides(Struct, frozen=True):
    """The settings that a training config needs for the weights to work.

    ``lazy`` are LazyConfig dotted paths; ``lazy_if_present`` the same, set only where a config has
    the path; ``lazy_remove`` paths that must not be there; ``yacs`` keys of classic configs.
    Values are numbers, strings, booleans, and lists of them. ``assumed`` lists the paths whose
    values are only assumed. A config that has other values keeps them.
    """

    lazy: PlainValues = {}
    lazy_if_present: PlainValues = {}
    lazy_remove: Names = ()
    yacs: PlainValues = {}
    assumed: Names = ()


class Call(Struct, frozen=True):
    """A call to build an object: import path and arguments (plain values and further calls).

    Written by an architecture, never read from a repository. ``partial`` stands for the callable
    with these arguments bound to it, instead of for what it returns.
    """

    target: str
    kwargs: Mapping[str, Any] = {}
    partial: bool = False


class BackboneCall(Call, frozen=True):
    """A complete ``model.backbone``.

    ``channels`` are those of its feature maps by name, finest first, as a neck's ``input_shapes``
    and ``in_features`` want them. ``square_images`` is the width, in pixels, of the only images
    that it can read, to which the detector must pad; None where any will do.
    """

    channels: Mapping[str, int] = {}
    square_images: int | None = None


class Architecture(Struct, frozen=True, kw_only=True):
    """An architecture with its hyper-parameters, which are the fields of the subclass.

    Every subclass is declared with ``frozen=True, kw_only=True``.
    """

    name: ClassVar[str]
    """As the catalogue, ``--arch`` and ``config.json`` say it."""
    layouts: ClassVar[Mapping[str, Layout]]
    """The layouts it can be converted from, the original's own first."""
    facts: ClassVar[Mapping[str, Fact]] = {}
    """Facts that a conversion needs and no shape shows, beside `IMAGE_FACTS`, which all share."""
    lazy_paths: ClassVar[Mapping[str, Kind]] = {}
    """The LazyConfig paths that its `overrides` may set, beside those of the image, with their
    kinds. One that begins with a dot is below `node`; ``*`` stands for one name."""
    yacs_keys: ClassVar[Mapping[str, Kind]] = {}
    """The same for classic configs."""
    also_written: ClassVar[tuple[str, ...]] = ()
    """Layouts that it can be written in but not converted from."""
    written_as: ClassVar[Mapping[str, str]] = {}
    """The layout of the keys in a folder for other software, if it differs from the software's
    name."""
    not_in_transformers: ClassVar[str | None] = None
    """Why transformers has no model for these weights; None where it has one."""
    no_counterpart: ClassVar[Mapping[str, str]] = {}
    """Key templates of similar models that neither detrex nor detectron2 has, and why."""
    backbone: ClassVar[bool] = False
    """Whether it is a backbone alone, whose keys have no prefix."""
    task: ClassVar[str] = "image-feature-extraction"
    """The task of the weights, by the Hub's name (``pipeline_tag``)."""
    tags: ClassVar[tuple[str, ...]] = ()
    """Further tags of a card on the Hub."""
    node: ClassVar[str] = "model.backbone"
    """The path in a training config of the module that takes the weights of a backbone."""
    taken_by: ClassVar[frozenset[str]] = frozenset()
    """The classes of detrex and detectron2 whose state dict `target` is: by name, and with the
    project before it (``projects.dino.DINO``) where detrex's projects have several of that name.
    Their subclasses count too."""
    marked_by: ClassVar[Mapping[str, str]] = {}
    """If a class of ``taken_by`` takes another architecture too: the classes inside the model that
    identify this architecture in a training config, by their paths."""

    @property
    def backbone_label(self) -> str:
        """The backbone's name in tables: family and released size, such as ``Swin-T``."""
        return self.name

    @classmethod
    def read(cls, specs: Specs, layout: str, facts: Facts) -> Architecture:
        """Infer the hyper-parameters from keys and shapes.

        Args:
            specs: the source state dict.
            layout: a name from ``layouts``.
            facts: what no shape shows, as far as it is known; the rest takes its default.

        Raises:
            ArchitectureError: the shapes contradict each other or fit no hyper-parameters.
        """
        return cls.infer(specs, layout, cls.settle(specs, layout, facts).values)

    @classmethod
    @abstractmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> Architecture:
        """Like `read`, with settled facts: a fact without a value has no default."""

    @classmethod
    def facts_of(cls, specs: Specs, layout: str, given: Facts) -> Mapping[str, Fact]:
        """The facts that can be given for a state dict, by name.

        Args:
            given: the facts that were given. One fact may decide which others exist.
        """
        return applying({**IMAGE_FACTS, **cls.facts}, specs)

    @classmethod
    def known_facts(
        cls,
        specs: Specs,
        layout: str,
        *,
        given: Facts,
        metadata: Mapping[str, Any] | None = None,
        catalogue: Facts | None = None,
    ) -> dict[str, Any]:
        """The given facts, each checked by its kind. The user's override the checkpoint's, and
        those override the catalogue's.

        Args:
            specs: the source state dict.
            layout: a name from ``layouts``.
            given: the user's, values or texts of a command line.
            metadata: the plain values beside the weights in the checkpoint.
            catalogue: the catalogue's.

        Raises:
            UsageError: a fact is not known, or its value is of another kind.
        """
        stated = repository_configs.stated(metadata or {})
        own = cls.facts_in(metadata or {})

        def said(declared: Mapping[str, Fact]) -> dict[str, Any]:
            # a repository describes a kind of model, which may have more facts than this one
            theirs = {
                name: value
                for name, value in stated.items()
                if name in declared and declared[name].kind.accepts(value)
            }
            ours = {name: value for name, value in own.items() if name in declared}
            return {**(catalogue or {}), **theirs, **ours, **given}

        known = cls.facts_of(specs, layout, said({**IMAGE_FACTS, **cls.facts}))
        return understood(known, said(known), where=cls.name)

    @classmethod
    def settle(cls, specs: Specs, layout: str, facts: Facts) -> Settled:
        """Give every fact a value, and list which values are only assumed.

        Raises:
            UsageError: a fact is of another kind, or contradicts the shapes.
        """
        return settle({**IMAGE_FACTS, **cls.facts}, specs, layout, facts)

    def declared_facts(self) -> dict[str, Fact]:
        """The facts of a model with these hyper-parameters, with full config paths."""
        return {
            name: replace(fact, config=tuple(map(self._below_node, fact.config)))
            for name, fact in applying({**IMAGE_FACTS, **self.facts}, self.target()).items()
        }

    def paths(self) -> Paths:
        """The config paths that `overrides` may set, in full."""
        own = {self._below_node(path): kind for path, kind in self.lazy_paths.items()}
        return Paths({**IMAGE_PATHS.lazy, **own}, {**IMAGE_PATHS.yacs, **self.yacs_keys})

    def assuming(self, overrides: Overrides, names: Iterable[str]) -> Overrides:
        """Overrides of this model, with the paths that follow from assumed facts.

        Args:
            names: of the facts.
        """
        declared = self.declared_facts()
        theirs = [template(path) for name in names for path in declared[name].config]
        wanted = (*overrides.lazy, *overrides.lazy_if_present, *overrides.yacs)
        return replace(
            overrides,
            assumed=tuple(
                path for path in wanted if any(one.match(path) is not None for one in theirs)
            ),
        )

    def _below_node(self, path: str) -> str:
        return f"{self.node}{path}" if path.startswith(".") else path

    @abstractmethod
    def rules(self, layout: str) -> tuple[Rule, ...]:
        """The mapper from a layout to detrex's names."""

    @abstractmethod
    def target(self) -> dict[str, TensorSpec]:
        """The state dict of the detrex model with these hyper-parameters, aliases included."""

    def ties(self) -> tuple[tuple[str, ...], ...]:
        """Groups of target keys that are one tensor in the detrex model."""
        return ()

    def stored_once(self, layout: str) -> tuple[tuple[str, ...], ...]:
        """Groups of keys of a layout that its files may hold as one, under the first name, though
        they are no tie of the detrex model."""
        return ()

    def set_by_model(self) -> frozenset[str]:
        """Target keys that no checkpoint has: constants, and layers that the original lacks."""
        return frozenset()

    def notes(self) -> tuple[str, ...]:
        """Remarks for the user in addition to the plan, one line each."""
        return ()

    def notes_on(self, layout: str) -> tuple[str, ...]:
        """`notes`, and the remark on files of a layout."""
        note = self.layouts[layout].note
        return self.notes() if note is None else (*self.notes(), note)

    @property
    def out_channels(self) -> Mapping[str, int]:
        """Channels of the feature maps that a backbone returns, finest first, by their names in
        detrex's configs."""
        return {}

    @property
    def of_no_config(self) -> bool:
        """Whether no config of detrex has such a backbone, so that it must be built."""
        return False

    @property
    def normed(self) -> tuple[int, ...]:
        """The stages of a backbone whose output norms are among the weights, so that a model must
        return their feature maps. ``stages`` are those of `build`."""
        return ()

    def differences(self) -> tuple[str, ...]:
        """How the detrex model's outputs differ from the original's, however the keys are mapped:
        one or more sentences each, for the card. Measured with both models on the same image."""
        return ()

    def dropped(self) -> dict[str, TensorSpec]:
        """Keys of the original's own state dict that the detrex model lacks."""
        return {}

    @classmethod
    def facts_in(cls, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Facts that a checkpoint states in the entries beside its weights."""
        return {}

    @abstractmethod
    def overrides(self, preprocessing: Mapping[str, Any]) -> Overrides:
        """The settings that a config needs, given image format, mean and std."""

    @property
    def keeps_rows(self) -> str:
        """Hint for a plan that cut rows away and cannot be reversed."""
        return "The detrex model does not have them: take them from the original file"

    def read_by(self, inputs: int) -> Mapping[str, int]:
        """The feature maps of a backbone that a neck reads, with their channels.

        Args:
            inputs: how many it reads; usually the last ones.
        """
        return dict(list(self.out_channels.items())[-inputs:])

    @classmethod
    def inside(cls, values: Mapping[str, Any]) -> Mapping[str, type[Architecture]]:
        """The architectures of modules inside a model, by their paths in a training config, where
        configs with several would take the same settings.

        Args:
            values: hyper-parameters.
        """
        return {}

    def returning(self, stages: Sequence[int]) -> dict[str, Any]:
        """Overrides by which a backbone returns the feature maps of these stages and no others;
        none where its class always returns the same ones. ``stages`` are those of `build`."""
        return {}

    def build(
        self, preprocessing: Mapping[str, Any], stages: Sequence[int] = (1, 2, 3)
    ) -> BackboneCall | None:
        """A complete backbone for these weights, for configs that have another one.

        Args:
            preprocessing: as for `overrides`.
            stages: which feature maps it returns; stage ``i`` has stride ``4 * 2**i``.

        Returns:
            the call, or None where the architecture is no backbone.
        """
        return None

    def hyper_parameters(self) -> dict[str, Any]:
        """The fields as `config.json` holds them, tuples as lists."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in msgspec.structs.asdict(self).items()
        }

    @classmethod
    def from_hyper_parameters(cls, values: Mapping[str, Any]) -> Architecture:
        """The inverse of `hyper_parameters`.

        Raises:
            ArchitectureError: a name is unknown or missing, or a value cannot be.
        """
        _check_types(cls, values)
        try:
            _check_sizes(values)
            made = cls(
                **{
                    name: tuple(value) if isinstance(value, list) else value
                    for name, value in values.items()
                }
            )
            made.target()
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, ZeroDivisionError):
            raise ArchitectureError(
                f"invalid hyper-parameters of {cls.name}: {str(dict(values))[:500]}",
                hint=f"It takes {', '.join(cls.__struct_fields__)}",
            ) from None
        return made

    def preprocessing(self, facts: Facts) -> dict[str, Any]:
        """Image format, mean and std (0..255), from the facts or as the originals were trained."""
        return dict(settle(IMAGE_FACTS, {}, "", facts).values)

    def plan(self, specs: Specs, layout: str) -> ConversionPlan:
        """Plan the conversion and prove that nothing is missing, unexpected or of a wrong shape.

        Raises:
            MappingError: the rules do not fit the source keys.
            ArchitectureError: what comes out is not the state dict of the detrex model.
        """
        rules = self.rules(layout)
        counted = {
            key: _PROFILED if key.endswith(_COUNTS) else _AVERAGED
            for key in specs
            if key.endswith(_COUNTS) or key in _AVERAGES
        }
        specs = {key: spec for key, spec in specs.items() if key not in counted}
        stored = self._stored_under(rules, specs, layout)
        whole = {**specs, **{absent: specs[key] for absent, key in stored.items()}}
        planned = plan(rules, whole, mapper=f"{self.name} ({layout})").reading(stored)
        planned = replace(planned, dropped={**planned.dropped, **counted}).tied(self.ties())
        self.prove(planned.specs)
        return planned

    def _stored_under(self, rules: tuple[Rule, ...], specs: Specs, layout: str) -> dict[str, str]:
        """Source keys that are absent because their tensor is stored under another name, as in
        files that hold tied tensors once: absent key -> the key that is there."""
        groups = self.ties()
        source_of = origins(rules, (key for group in groups for key in group))
        found: dict[str, str] = {}
        for group in groups:
            keys = [source_of[key] for key in group if key in source_of]
            present = [key for key in keys if key in specs]
            if present:
                found.update((key, present[0]) for key in keys if key not in specs)
        for first, *others in self.stored_once(layout):
            if first in specs and not any(key in specs for key in others):
                found.update(dict.fromkeys(others, first))
        return found

    def as_stored(self) -> Self:
        """The same model without the record of cut or computed tensors, which does not describe the
        weights as they are now."""
        return self

    def as_released(self) -> tuple[Self, dict[str, Any]]:
        """The same with the values of the released originals where nothing shows them, and these
        values by the names of their facts."""
        return self, {}

    def rules_back(self, layout: str) -> tuple[Rule, ...]:
        """The mapper from detrex's names to a layout.

        Raises:
            MappingError: rows were cut away, or tensors were computed, so that there is no way
                back.
        """
        return inverse(self.rules(layout), hint=self.keeps_rows)

    def in_transformers(self, layout: str, preprocessing: Mapping[str, Any]) -> TransformersModel:
        """The model of transformers that computes the same with the weights in a layout.

        Args:
            layout: one of transformers'.
            preprocessing: as for `overrides`.

        Raises:
            ArchitectureError: transformers has no such model; it says why, and what is nearest.
        """
        own = [name for name in self.layouts if name != "detrex"]
        raise ArchitectureError(
            f"transformers has no model for {self.name}"
            + (f": {self.not_in_transformers}" if self.not_in_transformers else ""),
            hint=f"Write the original's layout instead: --to {own[0]} -o {self.name}.pth"
            if own
            else "Use the weights in detrex, with from_hub",
        )

    def in_timm(self) -> TimmModel:
        """timm's model that computes the same as the stages of the backbone.

        Raises:
            ArchitectureError: timm has no such model.
        """
        raise ArchitectureError(
            f"timm cannot be given a {self.name}",
            hint="These can be exported to timm: ResNet, Swin, ConvNeXt, ViT-MAE",
        )

    def plan_export(self, specs: Specs, layout: str) -> ConversionPlan:
        """Plan the way back: from the detrex state dict to a layout, tied tensors tied there too.

        Raises:
            MappingError: rows were cut away, or the keys do not fit.
            ArchitectureError: it is not the state dict of the detrex model.
        """
        stored: dict[str, str] = {}
        for group in self.ties():
            present = [key for key in group if key in specs]
            stored.update((key, present[0]) for key in group if present and key != present[0])
        whole = {**specs, **{alias: specs[key] for alias, key in stored.items()}}
        self.prove(whole)
        planned = plan(
            self.rules_back(layout),
            whole,
            mapper=f"{self.name} (back to {layout})",
            ignore=stored.keys() | self.set_by_model(),
        ).reading(stored)
        alike: dict[Hashable, list[str]] = {}
        for key, move in planned.moves.items():
            alike.setdefault(move.pieces, []).append(key)
        return planned.tied(map(tuple, alike.values()))

    def original(self, layout: str | None = None) -> tuple[dict[str, TensorSpec], dict[str, str]]:
        """The original's own state dict with these hyper-parameters, and which of its keys are
        tied: key -> the key whose tensor it shares.

        Args:
            layout: another layout than the original's own. Its state dict then holds only the keys
                that the detrex model takes.
        """
        own = next(iter(self.layouts))
        layout = layout or own
        given = self.set_by_model()
        held = {key: spec for key, spec in self.target().items() if key not in given}
        specs = source_specs(self.rules(layout), held) | (self.dropped() if layout == own else {})
        planned = self.plan(specs, layout)
        same_as = {
            alias.key: stored.key
            for name, twin in planned.twins.items()
            for alias, stored in zip(
                twin.pieces, planned.moves[planned.ties[name]].pieces, strict=True
            )
            if isinstance(alias, Piece) and isinstance(stored, Piece)
        }
        return specs, same_as

    def prove(self, found: Specs) -> None:
        """Compare a state dict with that of the detrex model.

        Raises:
            ArchitectureError: naming every missing, unexpected and mismatched key.
        """
        expected = self.target()
        given = self.set_by_model()
        missing = [key for key in expected if key not in found and key not in given]
        unexpected = [key for key in found if key not in expected]
        mismatched = [
            f"{key} is {found[key]} instead of {spec}"
            for key, spec in expected.items()
            if key in found and not compatible(found[key], spec)
        ]
        problems = [
            f"{what}: {', '.join(keys[:6])}{f' and {len(keys) - 6} more' if len(keys) > 6 else ''}"
            for what, keys in (
                ("missing", collapse(missing)),
                ("unexpected", collapse(unexpected)),
                ("wrong shape", sorted(mismatched)),
            )
            if keys
        ]
        if problems:
            raise ArchitectureError(
                f"this is not the state dict of a detrex {self.name} with {self.describe()}; "
                + "; ".join(problems),
            )

    def describe(self) -> str:
        """The hyper-parameters in one line."""
        return ", ".join(
            f"{name} {value}"
            for name, value in self.hyper_parameters().items()
            if value is not None
        )


# Buffers that a profiler (thop) leaves in every module. The loading code of Deformable-DETR and of
# what follows from it (DETA f47e50e, main.py) passes over them.
_COUNTS = ("total_ops", "total_params")
_PROFILED = "counted by a profiler"
# buffers of torch's `AveragedModel` and of mmengine's `BaseAveragedModel`, beside the model
_AVERAGES = ("n_averaged", "steps")
_AVERAGED = "counter of the weight averaging"

# more than any known model has, and few enough to build a state dict quickly
_LARGEST_SIZE = 2**20
_MOST_LAYERS = 1000
_COUNT_LAYERS = ("layers", "levels", "depth", "depths")


def _check_types(cls: type[Architecture], values: Mapping[str, Any]) -> None:
    """Refuse hyper-parameters of other types than the fields have. Building a state dict does not
    check this, because not every field changes it."""
    types = _types(cls)
    for name, value in values.items():
        if name in types and not isinstance(value, Architecture):
            try:
                schema.typed(value, types[name])
            except msgspec.ValidationError as error:
                raise ArchitectureError(
                    f"invalid hyper-parameters of {cls.name}: {schema.in_words(error, name)}"
                ) from None


@cache
def _types(cls: type[Architecture]) -> Mapping[str, Any]:
    types = get_type_hints(cls)
    return {name: types[name] for name in cls.__struct_fields__}


def _check_sizes(values: Mapping[str, Any]) -> None:
    """Refuse hyper-parameters whose state dict would be too large. They may be a stranger's."""
    layers = 0
    for name, value in values.items():
        numbers = value if isinstance(value, list) else [value]
        integers = [n for n in numbers if isinstance(n, int)]
        if len(numbers) > 64 or any(not 0 <= n <= _LARGEST_SIZE for n in integers):
            raise ValueError(name)
        if name.endswith(_COUNT_LAYERS):
            layers += sum(integers)
    if layers > _MOST_LAYERS:
        raise ValueError("layers")


def compatible(found: TensorSpec, expected: TensorSpec) -> bool:
    """Whether a tensor can be loaded into a parameter: same shape, and floating point if it is."""
    return found.shape == expected.shape and _floating(found.dtype) == _floating(expected.dtype)


def _floating(dtype: str) -> bool:
    return dtype.startswith(("F", "BF"))


def image_overrides(preprocessing: Mapping[str, Any]) -> Overrides:
    """Overrides for mean and std (0..255, in channel order) and the order of the channels."""
    mean, std = list(preprocessing["pixel_mean"]), list(preprocessing["pixel_std"])
    image_format = preprocessing["image_format"]
    return Overrides(
        lazy={
            "model.pixel_mean": mean,
            "model.pixel_std": std,
            "dataloader.train.mapper.img_format": image_format,
            "dataloader.test.mapper.img_format": image_format,
        },
        lazy_if_present={"model.input_format": image_format},
        yacs={
            "MODEL.PIXEL_MEAN": mean,
            "MODEL.PIXEL_STD": std,
            "INPUT.FORMAT": image_format,
        },
    )
