"""``hf://owner/name@revision`` wherever detectron2 takes a path, once this module is imported::

    import detrex_hub.detectron2

    train.init_checkpoint = "hf://detrex/r101_v2@0123456…"

Such a path is plain text until the checkpoint is read: a config that names it loads without a
network, and can be dumped and read back on another machine. `detrex_hub.from_hub` is the other way:
it fetches at once, when the config is loaded, and can therefore set what the weights need on the
config too. ``hf://`` sets nothing on the config: `detrex_hub.apply_overrides` does that. If this
process has not done it, a warning lists what the weights need when the path is resolved. Both ways
read the same materialised file.

A path without a commit means whatever the repository holds when the checkpoint is read; `pin` makes
it mean the same for ever.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from iopath.common.file_io import PathHandler, g_pathmgr

from detrex_hub import loading
from detrex_hub.errors import MissingRepositoryError, UsageError
from detrex_hub.messages import log
from detrex_hub.repositories.names import is_commit, split
from detrex_hub.resolving import exists, resolve

SCHEME = "hf://"


class HubHandler(PathHandler):  # type: ignore[misc]
    """iopath's view of the Hub: a repository is one file, the materialised checkpoint."""

    def _get_supported_prefixes(self) -> list[str]:
        return [SCHEME]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        self._check_kwargs(kwargs)
        loaded = loading.load(_repository(path))
        if loaded.commit is not None and not _pinned(path):
            log(
                f"{path} is now {_at(path, loaded.commit)}; write that to load the same weights "
                "later"
            )
        if not loaded.configured and loaded.overrides:
            log(_needs(path, loaded), logging.WARNING)
        return loaded.path

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        self._check_kwargs(kwargs)
        if set(mode) & set("wax+"):
            raise UsageError(f"{path} can only be read", hint="Publish with: detrex-hub push")
        return Path(self._get_local_path(path)).open(mode, buffering)

    def _exists(self, path: str, **kwargs: Any) -> bool:
        self._check_kwargs(kwargs)
        return exists(_repository(path))

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        return self._exists(path, **kwargs)

    def _isdir(self, path: str, **kwargs: Any) -> bool:
        return False


def register() -> None:
    """Teach ``hf://`` to iopath's global path manager and, where they are installed, to those of
    detectron2 and fvcore. Importing this module does it."""
    managers = [g_pathmgr]
    for module in ("detectron2.utils.file_io", "fvcore.common.file_io"):
        try:
            managers.append(__import__(module, fromlist=["PathManager"]).PathManager)
        except ImportError:
            continue
    for manager in managers:
        manager.register_handler(HubHandler(), allow_override=True)


def pin(path: str) -> str:
    """The same path with the commit that it means now.

    Args:
        path: ``hf://owner/name``, with ``@branch``, ``@tag`` or ``@commit`` if wanted.

    Raises:
        HubError: the repository or the network fails.
        UsageError: it is no such path, or the repository is a folder, which has no commits.
    """
    if not path.startswith(SCHEME):
        raise UsageError(f"{path[:120]!r} does not begin with {SCHEME}")
    if _pinned(path):
        return path
    try:
        commit = resolve(_repository(path), convert=False).commit
    except MissingRepositoryError as error:
        hint = "Only a published repository has commits: publish it, or leave pin() out"
        raise MissingRepositoryError(error.message, hint=hint) from None
    if commit is None:
        raise UsageError(
            f"{path} is a folder here, which has no commits to pin",
            hint="Leave pin() out, or unset DETREX_HUB_ROOT",
        )
    return _at(path, commit)


def _needs(path: str, loaded: loading.Loaded) -> str:
    def listed(names: Iterable[str]) -> str:
        return ", ".join(f"{name} = {loaded.overrides[name]}" for name in names)

    repo = _repository(path)
    said = [f"{path} sets nothing on the config"]
    if known := listed(name for name in loaded.overrides if name not in loaded.assumed):
        said.append(
            f"Its weights need {known}. Set these before the model is built: "
            f"detrex_hub.apply_overrides(cfg, {repo!r}), or train.init_checkpoint = "
            f"from_hub({repo!r}, model=model, dataloader=dataloader)"
        )
    if assumed := listed(name for name in loaded.overrides if name in loaded.assumed):
        said.append(
            f"These values are assumed for its weights, because no file shows them: {assumed}"
        )
    return ". ".join(said)


def _repository(path: str) -> str:
    return os.fspath(path).removeprefix(SCHEME)


def _pinned(path: str) -> bool:
    revision = split(_repository(path))[1]
    return revision is not None and is_commit(revision)


def _at(path: str, commit: str) -> str:
    return f"{SCHEME}{split(_repository(path))[0]}@{commit}"


register()
