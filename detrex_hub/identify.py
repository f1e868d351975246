"""Identify a state dict: the one place where keys, shapes, facts and the catalogue meet."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from shlex import quote
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from detrex_hub.architectures import architecture as architecture_named
from detrex_hub.architectures import architectures, deleted_heads, prefixes
from detrex_hub.architectures.base import Architecture, Overrides
from detrex_hub.architectures.declared import Facts, Specs
from detrex_hub.architectures.deleted_heads import Deleted
from detrex_hub.architectures.recognise import Recognition, UnrecognisedError, below
from detrex_hub.configs import settings
from detrex_hub.errors import ArchitectureError, DetrexHubError, MappingError, UsageError
from detrex_hub.mapping import ConversionPlan


class Identified(Struct, frozen=True, kw_only=True, dict=True):
    """A recognised state dict with its hyper-parameters and facts.

    Args:
        specs: the tensors of the architecture, by their keys without the prefix.
        prefix: the prefix of these keys in the state dict.
        lacking: class heads that the file does not have; they are among ``specs``.
        outside: the other keys of the state dict, with the reason why they are dropped.
        architecture: with its hyper-parameters.
        layout: the layout of the keys.
        because: the keys that identify the layout.
        facts: the facts from the user, the checkpoint and the catalogue.
        settled: every fact with its value, including the assumed ones.
        assumed: the facts that neither the user nor the checkpoint nor the catalogue states.
        unsaid: the facts that neither the user nor the checkpoint states.
        preprocessing: image format, mean and std (0..255).
        overrides: the values that a training config needs.
    """

    specs: Specs
    prefix: str
    outside: Mapping[str, str]
    lacking: Deleted
    architecture: Architecture
    layout: str
    because: tuple[str, ...]
    facts: Facts
    settled: Facts
    assumed: Facts
    unsaid: Facts
    preprocessing: Mapping[str, Any]
    overrides: Overrides

    @cached_property
    def plan(self) -> ConversionPlan:
        """The plan for each tensor of the state dict, proven to lose nothing.

        Raises:
            MappingError: the keys do not fit the mapper.
            ArchitectureError: they do not give the detrex model.
        """
        try:
            planned = self.architecture.plan(self.specs, self.layout)
        except (ArchitectureError, MappingError) as error:
            if not self.prefix:
                raise
            raise type(error)(f"below {self.prefix!r}: {error.message}", hint=error.hint) from None
        if self.lacking:
            planned = self.lacking.left_out(planned, self.settled["seed"])
        return planned.below(self.prefix, self.outside) if self.prefix else planned

    def of_facts(self, facts: Facts) -> Architecture:
        """The architecture that the same keys and shapes give with other facts.

        Raises:
            UsageError: a fact contradicts the shapes.
            ArchitectureError: the shapes fit no hyper-parameters.
        """
        kind = type(self.architecture)
        settled = kind.settle(self.specs, self.layout, facts)
        return kind.infer(self.specs, self.layout, settled.values)


def recognised(
    specs: Specs,
    *,
    name: str | os.PathLike[str],
    architecture: str | None = None,
    layout: str | None = None,
    prefix: str | None = None,
    facts: Facts | None = None,
) -> Recognition:
    """The architecture, the layout and the prefix of a state dict, by its keys.

    Args:
        specs: the state dict.
        name: of the file, for messages.
        architecture: the architecture, where it is known.
        layout: the layout, where it is known.
        prefix: the prefix of the weights' keys, such as ``backbone.``. It is found by
            trying if it is None.
        facts: what the user says. A file whose class heads were deleted is recognised if they say
            the number of classes.

    Raises:
        ArchitectureError: no architecture has these keys, or several have.
        UsageError: there is no such architecture, layout or prefix.
    """
    kinds = [architecture_named(architecture)] if architecture else [*architectures().values()]
    if layout is None:
        return _found(specs, os.fspath(name), kinds, prefix, facts or {})
    fitting = [kind for kind in kinds if layout in kind.layouts]
    if len(fitting) != 1:
        known = sorted({one for kind in kinds for one in kind.layouts})
        raise UsageError(
            f"--layout {layout} needs --arch with an architecture that has it",
            hint=f"Layouts: {', '.join(known)}",
            choices=[f"--arch {kind.name}" for kind in fitting[:4]],
        )
    (kind,) = fitting
    if prefix is None:
        try:
            found = prefixes.find(specs, name=os.fspath(name), among=[kind])
            prefix = found.prefix if found.layout == layout else ""
        except UnrecognisedError:
            # the user's choice takes precedence over the keys
            prefix = ""
    return prefixes.named(specs, kind, layout, name=os.fspath(name), prefix=prefix)


def _found(
    specs: Specs,
    name: str,
    kinds: Sequence[type[Architecture]],
    prefix: str | None,
    facts: Facts,
) -> Recognition:
    found, refusal = None, None
    try:
        found = prefixes.find(specs, name=name, among=kinds, prefix=prefix)
    except UnrecognisedError as error:
        refusal = error
    if found is not None and (prefix is not None or not found.architecture.backbone):
        return found
    # one of these may contain a backbone inside a detector
    if (headless := _headless(specs, name, kinds, prefix, facts)) is not None:
        return headless
    if _headless(specs, name, kinds, prefix, _LIKE_COCO) is not None:
        backbone = (f"--prefix {quote(found.prefix)}",) if found is not None else ()
        raise _without_heads(name, *backbone)
    if found is None:
        assert refusal is not None
        raise refusal
    return found


def offer_backbone(error: DetrexHubError, specs: Specs) -> None:
    """Add to the refusal of a state dict the option that takes the backbone inside it, if there is
    one that converts."""
    for found in prefixes.backbones(specs):
        try:
            _ = identify(specs, found).plan
        except DetrexHubError:
            continue
        error.offer(f"--prefix {quote(found.prefix)}")
        return


_LIKE_COCO: Facts = {"num_classes": 80}


def _without_heads(what: str, *choices: str) -> ArchitectureError:
    number = f"--num-classes {_LIKE_COCO['num_classes']}"
    return ArchitectureError(
        f"the class heads or the label embedding of {what} were deleted",
        choices=(number, *choices),
    )


def _headless(
    specs: Specs,
    name: str,
    kinds: Sequence[type[Architecture]],
    prefix: str | None,
    facts: Facts,
) -> Recognition | None:
    """A detector whose class heads were deleted, if the facts say the number of its classes."""
    for whole in deleted_heads.put_back(specs, facts):
        try:
            found = prefixes.find(whole, name=name, among=kinds, prefix=prefix)
        except UnrecognisedError:
            continue
        if not found.architecture.backbone:
            there = tuple(key for key in found.because if found.prefix + key in specs)
            return replace(found, because=there)
    return None


def identify(
    specs: Specs,
    found: Recognition,
    *,
    given: Facts | None = None,
    metadata: Mapping[str, Any] | None = None,
    catalogue: Facts | None = None,
) -> Identified:
    """Read hyper-parameters from shapes, and settle the facts.

    Args:
        specs: the state dict.
        found: its architecture and layout.
        given: the user's facts, values or texts of a command line.
        metadata: the plain values beside the weights in the checkpoint.
        catalogue: the catalogue's facts.

    Raises:
        UsageError: a fact is unknown, or its value is of another kind.
        ArchitectureError: the shapes fit no hyper-parameters.
    """
    kind, layout = found.architecture, found.layout
    outside = {}
    if found.prefix:
        reason = f"outside {found.prefix!r}, where the {kind.name} is"
        outside = {key: reason for key in specs if not key.startswith(found.prefix)}
        specs = below(specs, found.prefix)
    given = dict(given or {})
    lacking = deleted_heads.NOTHING
    if "num_classes" in kind.facts:
        lacking = deleted_heads.deleted(specs, kind.layouts[layout], given)
        specs, given = lacking.put_back(specs), {**given, **lacking.facts()}
    said = kind.known_facts(specs, layout, given=given or {}, metadata=metadata or {})
    facts = said
    if catalogue:
        facts = kind.known_facts(
            specs, layout, given=given or {}, metadata=metadata or {}, catalogue=catalogue
        )
    settled = kind.settle(specs, layout, facts)
    unsaid = kind.settle(specs, layout, said).assumed if catalogue else settled.assumed
    try:
        made = kind.infer(specs, layout, settled.values)
    except ArchitectureError:
        if "num_classes" in kind.facts and deleted_heads.deleted(
            specs, kind.layouts[layout], _LIKE_COCO
        ):
            raise _without_heads(f"the {kind.name}") from None
        raise
    preprocessing = made.preprocessing(settled.values)
    return Identified(
        specs=specs,
        prefix=found.prefix,
        outside=outside,
        lacking=lacking,
        architecture=made,
        layout=layout,
        because=found.because,
        facts=facts,
        settled=settled.values,
        assumed={name: settled.values[name] for name in settled.assumed},
        # facts of the catalogue can decide which other facts exist
        unsaid={name: settled.values[name] for name in unsaid if name in settled.values},
        preprocessing=preprocessing,
        overrides=settings.check_overrides(
            made.overrides(preprocessing), made.paths(), where=f"the architecture {made.name}"
        ),
    )
