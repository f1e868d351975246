"""The keys of a model that is not built: from a checkpoint, a name or an architecture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detrex_hub import catalogue, checkpoints
from detrex_hub.architectures import architectures
from detrex_hub.architectures.base import Architecture
from detrex_hub.architectures.recognise import recognise
from detrex_hub.catalogue.models import model_of
from detrex_hub.checking.checkpointer import bare, from_repository, is_repository, local_file
from detrex_hub.configs.matching import ModelKeys
from detrex_hub.errors import DetrexHubError, UsageError, did_you_mean, refuse_special
from detrex_hub.identify import identify
from detrex_hub.repositories import names
from detrex_hub.resolving import resolve


def target_keys(
    what: str, like: str | None = None, *, extra_catalogues: Sequence[Path] = ()
) -> ModelKeys:
    """The keys of a model, from a checkpoint of it, a name in the catalogue, or an architecture.

    A backbone's keys have the prefix ``backbone.``, as in a detrex model.

    Args:
        what: a file, a folder, ``owner/name``, a catalogue name, or an architecture's name.
        like: a checkpoint to read an architecture's hyper-parameters from.
        extra_catalogues: catalogue files in addition to the built-in ones.

    Raises:
        UsageError: it is none of these, or an architecture of unknown size.
    """
    if (entry := catalogue.look_up(what, extra_catalogues)) is not None:
        return _keys_of(model_of(entry))
    if what in architectures():
        return _keys_of(_sized(architectures()[what], like, extra_catalogues))
    path = Path(what)
    if path.is_file():
        with checkpoints.open(path) as checkpoint:
            return ModelKeys({key: spec.shape for key, spec in checkpoint.specs.items()})
    if path.is_dir() or names.is_repo_id(bare(what)):
        return ModelKeys(from_repository(what, what, extra_catalogues).file.shapes)
    refuse_special(what)
    raise UsageError(
        f"{what[:120]!r} is not a checkpoint, weights or an architecture",
        hint=did_you_mean(
            what, architectures(), f"Architectures: {', '.join(sorted(architectures()))}"
        ),
    )


def _sized(kind: type[Architecture], like: str | None, extra: Sequence[Path]) -> Architecture:
    if like is not None:
        try:
            path = like.partition("?")[0]
            if is_repository(path, extra):
                local = resolve(path, extra_catalogues=extra).weights()
            else:
                local = local_file(path)
            with checkpoints.open(local) as checkpoint:
                found = recognise(checkpoint.specs, among=[kind])
                known = identify(checkpoint.specs, found, metadata=checkpoint.metadata)
                return known.architecture
        except DetrexHubError:
            pass
    try:
        return kind()
    except TypeError:
        raise UsageError(
            f"the size of the {kind.name} is not known",
            hint="Pass weights of that size to --target. See: detrex-hub list",
        ) from None


def _keys_of(made: Architecture) -> ModelKeys:
    prefix = f"{made.node.removeprefix('model.')}." if made.backbone else ""
    return ModelKeys(
        shapes={prefix + key: spec.shape for key, spec in made.target().items()},
        ties=tuple(tuple(prefix + key for key in group) for group in made.ties()),
    )
