"""What a user may say of the weights to convert: where they come from and how to read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detrex_hub.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class ConversionOptions:
    """The options of a conversion. The defaults leave everything to the file and the catalogue.

    Attributes:
        architecture: the architecture; recognised from the keys by default.
        layout: the layout of the keys, such as ``torchvision``; recognised by default.
        facts: what shapes cannot show, such as ``dilation``; overrides the catalogue's facts.
        container: the dict in the checkpoint that holds the weights, such as ``ema_state``.
        prefix: what stands before the keys of the weights, such as ``backbone.``; tried by default.
        ema: take the averaged weights of a training checkpoint, whatever their dict is called.
        revision: branch, tag or commit of a repository on the Hub.
        source: a file or URL to use instead of the catalogue's sources.
        synthetic: use seeded numbers with the original's keys, shapes and types.
        extra_catalogues: catalogue files beyond the built-in ones.

    Raises:
        UsageError: ``ema`` and ``container`` are both given.
    """

    architecture: str | None = None
    layout: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    container: str | None = None
    prefix: str | None = None
    ema: bool = False
    revision: str | None = None
    source: str | None = None
    synthetic: bool = False
    extra_catalogues: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if self.ema and self.container is not None:
            raise UsageError("--ema and --container exclude each other")

    @property
    def as_catalogued(self) -> bool:
        """Whether the result is the one that the catalogue describes."""
        return not (
            self.synthetic
            or self.source
            or self.facts
            or self.ema
            or self.container is not None
            or self.prefix is not None
        )
