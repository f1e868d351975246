"""The declarations of an architecture in addition to its rules: facts, and the config paths that it
may set.

A fact is a value that a conversion needs and that shapes do not show. It comes from a user, a
training config, a checkpoint's own arguments or the catalogue. If none of them
states it, its default is taken. An assumed default is reported as assumed in every result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

from msgspec import Struct

from detrex_hub import kinds
from detrex_hub.errors import UsageError
from detrex_hub.kinds import Kind
from detrex_hub.specs import TensorSpec

Specs: TypeAlias = Mapping[str, TensorSpec]
Facts: TypeAlias = Mapping[str, Any]


class Fact(Struct, frozen=True):
    """A value that a conversion needs and that shapes do not show.

    Args:
        kind: the values that it can have.
        meaning: a description for users.
        default: the value if nothing states the fact. None: the config decides.
            A function gets the source state dict, its layout and the facts settled before.
        assumed: whether the default is a guess about the weights, and not our choice.
        shown: the value that the shapes of some files show after all; None if they do not.
        config: the paths of a training config that state it; the first existing one counts. A
            path of a backbone that begins with a dot is below its node.
        applies: whether the fact applies to a state dict, in the original's names or detrex's;
            None if it always does.
    """

    kind: Kind
    meaning: str
    default: Any | Callable[[Specs, str, Facts], Any] = None
    assumed: bool = False
    shown: Callable[[Specs, str], Any] | None = None
    config: tuple[str, ...] = ()
    applies: Callable[[Specs], bool] | None = None

    def understood(self, name: str, value: Any) -> Any:
        """A value that the kind has checked. The text of a command line is parsed.

        Args:
            name: of the fact, for messages.

        Raises:
            UsageError: the value is of another kind.
        """
        if self.kind.accepts(value):
            return list(value) if isinstance(value, tuple) else value
        if isinstance(value, str):
            try:
                return self.kind.parse(value)
            except (ValueError, RecursionError):
                pass
        raise UsageError(
            f"{name} should be {self.kind.meaning}, not {str(value)[:80]!r}",
            hint=f"For example: {as_options({name: self.kind.example})}",
        )


class Settled(Struct, frozen=True):
    """Facts with their values. ``assumed`` names the unstated ones, in order."""

    values: Facts
    assumed: tuple[str, ...] = ()

    def only(self, names: Collection[str]) -> Settled:
        """The facts with some names."""
        return Settled(
            {name: value for name, value in self.values.items() if name in names},
            tuple(name for name in self.assumed if name in names),
        )

    def beside(self, others: Settled, prefix: str) -> Settled:
        """These facts, and others whose names get a prefix."""
        return Settled(
            {**self.values, **{prefix + name: one for name, one in others.values.items()}},
            (*self.assumed, *(prefix + name for name in others.assumed)),
        )


class Paths(Struct, frozen=True):
    """The config paths that weights may set, with the kinds of their values.

    ``lazy`` are templates of LazyConfig paths, where ``*`` stands for one name; ``yacs`` are keys
    of classic configs.
    """

    lazy: Mapping[str, Kind] = {}
    yacs: Mapping[str, Kind] = {}


def as_options(facts: Facts) -> str:
    """Facts as options of a command: ``--fact image_format=BGR --fact pixel_std=1,1,1``."""
    return " ".join(f"--fact {name}={kinds.text(value)}" for name, value in facts.items())


def applying(declared: Mapping[str, Fact], specs: Specs) -> dict[str, Fact]:
    """The facts that apply to a state dict."""
    return {
        name: fact for name, fact in declared.items() if fact.applies is None or fact.applies(specs)
    }


def settle(declared: Mapping[str, Fact], specs: Specs, layout: str, given: Facts) -> Settled:
    """Give every declared fact a value: the given one, the one that shapes show, or the default.

    Args:
        declared: the facts by name.
        specs: the source state dict.
        layout: its layout.
        given: the known facts, values or texts of a command line. Undeclared names are ignored.

    Raises:
        UsageError: a value is of another kind, or contradicts the shapes.
    """
    values: dict[str, Any] = {}
    assumed: list[str] = []
    for name, fact in applying(declared, specs).items():
        value = given.get(name)
        value = None if value is None else fact.understood(name, value)
        shown = fact.shown(specs, layout) if fact.shown is not None else None
        if value is not None and shown is not None and value != shown:
            raise UsageError(
                f"{name} was given as {value}, but the shapes show {shown}",
                hint=f"Leave {name} out, or pass {as_options({name: shown})}",
            )
        if value is None:
            value = shown
        if value is None:
            default = fact.default
            value = default(specs, layout, values) if callable(default) else default
            if fact.assumed and value is not None:
                assumed.append(name)
        if value is not None:
            values[name] = value
    return Settled(values, tuple(assumed))


def released(value: Any) -> Callable[[Specs, str, Facts], Any]:
    """The default of a fact that is the same in all released originals. A model that was trained
    with detrex can have any value, and its config has it."""

    def default(specs: Specs, layout: str, facts: Facts) -> Any:
        return None if layout == "detrex" else value

    return default


def understood(declared: Mapping[str, Fact], given: Facts, *, where: str) -> dict[str, Any]:
    """Given facts, each checked by its kind. Texts of a command line are parsed.

    Args:
        declared: the facts that are known, by name.
        given: values or texts.
        where: the name of what takes the facts, for messages.

    Raises:
        UsageError: a fact is not known, or its value is of another kind.
    """
    unknown = sorted(given.keys() - declared.keys())
    if unknown:
        raise UsageError(
            f"{where} does not take {', '.join(unknown)}",
            hint=f"It takes {', '.join(sorted(declared))}",
        )
    return {
        name: declared[name].understood(name, value)
        for name, value in given.items()
        if value is not None
    }


# Means and deviations in 0..255, in the order of the channels. The originals of all architectures
# here were trained with these (torchvision's transforms, in 0..1, times 255).
IMAGENET_RGB: dict[str, Any] = {
    "image_format": "RGB",
    "pixel_mean": [123.675, 116.28, 103.53],
    "pixel_std": [58.395, 57.12, 57.375],
}


def _in_order(name: str) -> Callable[[Specs, str, Facts], list[float]]:
    """ImageNet's value in the order of the image's channels."""

    def default(specs: Specs, layout: str, facts: Facts) -> list[float]:
        rgb: list[float] = IMAGENET_RGB[name]
        return rgb[::-1] if facts.get("image_format") == "BGR" else list(rgb)

    return default


IMAGE_FACTS: dict[str, Fact] = {
    "image_format": Fact(
        kinds.IMAGE_FORMAT,
        "order of the image's channels",
        default=IMAGENET_RGB["image_format"],
        assumed=True,
        config=(
            "dataloader.test.mapper.img_format",
            "dataloader.test.mapper.image_format",
            "model.input_format",
            "dataloader.train.mapper.img_format",
            "INPUT.FORMAT",
        ),
    ),
    "pixel_mean": Fact(
        kinds.THREE_CHANNELS,
        "mean of the pixels, 0 to 255, in the order of the image format",
        default=_in_order("pixel_mean"),
        assumed=True,
        config=("model.pixel_mean", "MODEL.PIXEL_MEAN"),
    ),
    "pixel_std": Fact(
        kinds.THREE_DEVIATIONS,
        "standard deviation of the pixels, 0 to 255, in the order of the image format",
        default=_in_order("pixel_std"),
        assumed=True,
        config=("model.pixel_std", "MODEL.PIXEL_STD"),
    ),
}

IMAGE_PATHS = Paths(
    lazy={
        "model.pixel_mean": kinds.THREE_CHANNELS,
        "model.pixel_std": kinds.THREE_DEVIATIONS,
        "model.input_format": kinds.IMAGE_FORMAT,
        "dataloader.train.mapper.img_format": kinds.IMAGE_FORMAT,
        "dataloader.test.mapper.img_format": kinds.IMAGE_FORMAT,
    },
    yacs={
        "MODEL.PIXEL_MEAN": kinds.THREE_CHANNELS,
        "MODEL.PIXEL_STD": kinds.THREE_DEVIATIONS,
        "INPUT.FORMAT": kinds.IMAGE_FORMAT,
    },
)
