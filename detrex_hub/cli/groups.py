"""Options that belong together. A command takes a group as one parameter; its fields become the
options of the command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import asdict
from typer import BadParameter

from detrex_hub.cli import options

if TYPE_CHECKING:
    from detrex_hub.originals.conversion_options import ConversionOptions
    from detrex_hub.repositories import PushOptions


class ConversionGroup(Struct, kw_only=True):
    """The weights to convert, and how to read them."""

    source: options.Source = None
    synthetic: options.Synthetic = False
    arch: options.Arch = None
    layout: options.Layout = None
    revision: options.Revision = None
    container: options.Container = None
    prefix: options.Prefix = None
    dtype: options.Dtype = None
    keep_classifier: options.KeepClassifier = False
    dc5: options.Dc5 = None
    classes: options.Classes = None
    num_classes: options.NumClasses = None
    classes_from: options.ClassesFrom = None
    exact_names: options.ExactNames = False
    new_head: options.NewHead = False
    seed: options.Seed = None
    ema: options.Ema = False
    image_format: options.ImageFormat = None
    fact: options.FactsOption = None
    catalogue: options.Catalogues = None

    def options(self) -> ConversionOptions:
        """The options as the library takes them.

        Raises:
            BadParameter: a fact has no name or no value.
            UsageError: two options exclude each other, or the file contains no class names.
        """
        from detrex_hub.originals.conversion_options import ConversionOptions

        return ConversionOptions(
            architecture=self.arch,
            layout=self.layout,
            facts=self._facts(),
            container=self.container,
            prefix=self.prefix,
            dtype=self.dtype,
            ema=self.ema,
            revision=self.revision,
            source=self.source,
            synthetic=self.synthetic,
            extra_catalogues=tuple(self.catalogue or ()),
        )

    def _facts(self) -> dict[str, Any]:
        names = None
        if self.classes_from is not None:
            from detrex_hub.architectures.class_names import read_names

            names = read_names(self.classes_from)
        own = {
            "keep_classifier": self.keep_classifier or None,
            "dilation": self.dc5,
            "classes": self.classes,
            "num_classes": self.num_classes,
            "exact_names": self.exact_names or None,
            "new_head": self.new_head or None,
            "seed": self.seed,
            "class_names": names,
            "image_format": self.image_format,
        }
        said = {name: value for name, value in own.items() if value is not None}
        return said | facts(self.fact)


class PushGroup(Struct, kw_only=True):
    """The target and the options of a push."""

    namespace: options.Namespace = None
    to: options.To = None
    private: options.Private = False
    create_pr: options.CreatePr = False
    message: options.Message = None
    license: options.License = None
    collection: options.Collection = None
    sign_key: options.SignKey = None
    allow_synthetic: options.AllowSynthetic = False
    dry_run: options.DryRun = False

    def options(self) -> PushOptions:
        """The options as the library takes them."""
        from detrex_hub.repositories import PushOptions

        return PushOptions(**asdict(self))


def facts(given: list[str] | None) -> dict[str, str]:
    """The facts of ``--fact NAME=VALUE``. The library reads their values once it knows the
    architecture.

    Raises:
        BadParameter: a fact has no name or no value.
    """
    found = {}
    for one in given or ():
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise BadParameter(f"--fact {one!r} is not of the form NAME=VALUE")
        found[name] = value
    return found
