"""The unfinished names of the last batch, stored beside the cache."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import Struct, to_builtins
from msgspec.structs import replace

from detrex_hub import schema
from detrex_hub.errors import DetrexHubError, UsageError
from detrex_hub.originals.conversion_options import ConversionOptions
from detrex_hub.own_files import read_small, replace_text
from detrex_hub.publishing.outcomes import Published
from detrex_hub.repositories import PushOptions

# bytes
_LARGEST = 2**20


class _Options(Struct, frozen=True, kw_only=True):
    """The options of the last batch, as JSON holds them. They hold no token and no password."""

    facts: schema.PlainValues
    synthetic: bool
    extra_catalogues: tuple[str, ...]
    namespace: str | None
    to: str | None
    private: bool
    create_pr: bool
    message: str | None
    allow_synthetic: bool
    license: str | None
    sign_key: str | None = None
    collection: str | None = None


class _Document(Struct, frozen=True, kw_only=True):
    failed: tuple[str, ...]
    running: tuple[str, ...]
    options: _Options


class LastBatch(Struct, frozen=True):
    """The last batch: its refused and failed names, and its options."""

    failed: tuple[str, ...]
    running: tuple[str, ...]
    conversion: ConversionOptions
    push: PushOptions


class Memory:
    """Records the progress of a batch after each name, so that nothing is lost if it is killed.

    Args:
        conversion, push: the options of the batch.
    """

    def __init__(self, conversion: ConversionOptions, push: PushOptions) -> None:
        self._options = _options(conversion, push)
        self._failed: list[str] = []
        self._running: list[str] = []
        self._lock = threading.Lock()

    def started(self, name: str) -> None:
        """The download or conversion of its original begins."""
        with self._lock:
            self._running.append(name)
            self._write()

    def finished(self, published: Published) -> None:
        with self._lock:
            if published.name in self._running:
                self._running.remove(published.name)
            if published.error is not None:
                self._failed.append(published.name)
            self._write()

    def _write(self) -> None:
        document = _Document(
            failed=tuple(self._failed), running=tuple(self._running), options=self._options
        )
        # without a writable cache nothing is recorded
        with suppress(OSError):
            path = _path()
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(path, json.dumps(to_builtins(document), indent=2) + "\n")


def last_batch() -> LastBatch | None:
    """The last batch on this machine; None where there was none."""
    try:
        text = read_small(_path(), _LARGEST, ours=True)
        found = schema.validated(json.loads(text), _Document, where=str(_path()))
    except (OSError, ValueError, DetrexHubError):
        return None
    said = found.options
    return LastBatch(
        found.failed,
        found.running,
        ConversionOptions(
            facts=said.facts,
            synthetic=said.synthetic,
            extra_catalogues=tuple(map(Path, said.extra_catalogues)),
        ),
        PushOptions(
            namespace=said.namespace,
            to=None if said.to is None else Path(said.to),
            private=said.private,
            create_pr=said.create_pr,
            message=said.message,
            allow_synthetic=said.allow_synthetic,
            license=said.license,
            sign_key=None if said.sign_key is None else Path(said.sign_key),
            collection=said.collection,
        ),
    )


def what_failed(conversion: ConversionOptions, push: PushOptions) -> LastBatch:
    """The last batch, for a repetition with its own options.

    Args:
        conversion, push: the user's present options: either none, or the same ones.

    Raises:
        UsageError: there was no batch, or its options differ.
    """
    last = last_batch()
    if last is None:
        raise UsageError(
            "no batch is recorded on this machine",
            hint="Name what to publish: detrex-hub convert-and-push --all",
        )
    push = replace(push, dry_run=False)
    given = _options(conversion, push)
    plain = _options(ConversionOptions(), PushOptions())
    if given not in (plain, _options(last.conversion, last.push)):
        raise UsageError(
            "--retry-failed repeats the last batch with its own options, but these differ",
            hint="Leave them out: detrex-hub convert-and-push --retry-failed",
        )
    return last


def _options(conversion: ConversionOptions, push: PushOptions) -> _Options:
    return _Options(
        facts=_plain(conversion.facts),
        synthetic=conversion.synthetic,
        extra_catalogues=tuple(str(one.absolute()) for one in conversion.extra_catalogues),
        namespace=push.namespace,
        to=None if push.to is None else str(push.to.expanduser().absolute()),
        private=push.private,
        create_pr=push.create_pr,
        message=push.message,
        allow_synthetic=push.allow_synthetic,
        license=push.license,
        sign_key=None if push.sign_key is None else str(push.sign_key.expanduser().absolute()),
        collection=push.collection,
    )


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(dict(facts)))
    return found


def _path() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_ASSETS_CACHE) / "detrex-hub" / "last-batch.json"
