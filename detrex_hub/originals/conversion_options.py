"""The user's options for the weights to convert: their source, and how to read them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from msgspec import Struct, field

from detrex_hub.errors import UsageError
from detrex_hub.floats import DTYPES


class ConversionOptions(Struct, frozen=True, kw_only=True):
    """The options of a conversion. The defaults leave everything to the file and the catalogue.

    Attributes:
        architecture: the architecture; recognised from the keys by default.
        layout: the layout of the keys, such as ``torchvision``; recognised by default.
        facts: what shapes cannot show, such as ``dilation``; overrides the catalogue's facts.
        container: the dict in the checkpoint that holds the weights, such as ``ema_state``.
        prefix: the prefix of the weights' keys, such as ``backbone.``; found by trying by default.
        dtype: the element type to which floating point numbers are rounded, such as ``float32``;
            they keep their own by default.
        ema: take the averaged weights of a training checkpoint. Any usual name of their dict works.
        revision: branch, tag or commit of a repository on the Hub.
        source: a file or URL to use instead of the catalogue's sources.
        synthetic: use seeded numbers with the original's keys, shapes and types.
        extra_catalogues: catalogue files in addition to the built-in ones.

    Raises:
        UsageError: two options exclude each other, or there is no such type.
    """

    architecture: str | None = None
    layout: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    container: str | None = None
    prefix: str | None = None
    dtype: str | None = None
    ema: bool = False
    revision: str | None = None
    source: str | None = None
    synthetic: bool = False
    extra_catalogues: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if self.ema and self.container is not None:
            raise UsageError(
                "--ema and --container cannot be combined",
                choices=["--ema", f"--container {quote(self.container)}"],
            )
        if self.dtype is not None and self.dtype not in DTYPES:
            raise UsageError(
                f"numbers cannot be rounded to {self.dtype!r}",
                choices=[f"--dtype {name}" for name in DTYPES],
            )
        if self.dtype is not None and self.synthetic:
            raise UsageError(
                "--dtype and --synthetic cannot be combined",
                choices=[f"--dtype {self.dtype}", "--synthetic"],
            )

    @property
    def reads_another_way(self) -> bool:
        """Whether the source is not simply the catalogue's, read as the catalogue says."""
        read = (
            self.source,
            self.architecture,
            self.layout,
            self.container,
            self.prefix,
            self.dtype,
        )
        return self.ema or any(one is not None for one in read)

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
            or self.dtype is not None
        )
