"""LazyConfigs, and the keys of the models that they describe, without allocating weights.

Loading a config and building its model need detectron2, and detrex if the config uses it. They are
imported only when a function here needs them.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detrex_hub.configs.matching import ModelKeys
from detrex_hub.configs.nodes import imported
from detrex_hub.errors import ConfigError, UsageError, did_you_mean_path, refuse_special

_STATISTICS = ("running_mean", "running_var")


def has_detectron2() -> bool:
    from importlib.util import find_spec

    return find_spec("detectron2") is not None


def load_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Any:
    """A LazyConfig as a training script loads it.

    Args:
        path: a ``.py``, which detectron2 runs, or a ``.yaml`` as `LazyConfig.save` writes it,
            which is read without detectron2 if there are no overrides.
        overrides: ``path=value``, as on the training script's command line.

    Raises:
        ConfigError: the file is missing or cannot be loaded.
        UsageError: detectron2 is needed and not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise missing_config(path)
    try:
        if path.suffix != ".py" and not overrides:
            return _read_yaml(path)
        LazyConfig = _detectron2("config").LazyConfig  # noqa: N806
        cfg = LazyConfig.load(str(path)) if path.suffix == ".py" else _read_yaml(path)
        return LazyConfig.apply_overrides(cfg, list(overrides)) if overrides else cfg
    except (ConfigError, UsageError):
        raise
    except UnicodeDecodeError:
        raise ConfigError(
            f"{path} is not the text of a config",
            hint="Give the config, and name a checkpoint with --checkpoint PATH",
        ) from None
    except (Exception, SystemExit) as error:
        # a config is a program, and may fail in any way
        raise ConfigError(f"{path} cannot be loaded: {_reason(error)}") from error


def missing_config(path: Path) -> ConfigError:
    """The error of a config that does not exist, or is a folder.

    Raises:
        UsageError: it is neither a file nor a folder, such as a pipe.
    """
    refuse_special(path)
    if path.is_dir():
        return ConfigError(
            f"{path} is a folder and no config", hint="Give a .py or .yaml file in it"
        )
    return ConfigError(
        f"there is no config {path}",
        hint=did_you_mean_path(str(path), f"{path.parent.resolve()} does not have it"),
    )


def _read_yaml(path: Path) -> Any:
    """The content of a file that `LazyConfig.save` wrote, read without running it.

    Functions, classes and objects are stored by name. detectron2 imports or even calls them, and
    fails on the lambdas in the optimizers of detrex's configs. Here functions and classes of
    imported modules are looked up, and all others are None.
    """
    import yaml
    from omegaconf import OmegaConf

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        pass

    def named(loader: Any, name: str, node: Any) -> Any:
        return imported(name)

    def inert(loader: Any, tag: str, node: Any) -> Any:
        if tag == "object:detectron2.layers.shape_spec.ShapeSpec":
            # in the necks of detrex's configs
            return {"_target_": "detectron2.layers.ShapeSpec", **loader.construct_mapping(node)}
        return None

    Loader.add_multi_constructor("tag:yaml.org,2002:python/name:", named)
    Loader.add_multi_constructor("tag:yaml.org,2002:python/", inert)
    with path.open(encoding="utf-8") as file:
        found = yaml.load(file, Loader)
    if not isinstance(found, dict):
        raise ConfigError(f"{path} is not a config: it is {type(found).__name__}, not a dict")
    return OmegaConf.create(found, flags={"allow_objects": True})


def model_keys(node: Any) -> ModelKeys:
    """Names and shapes of the model that a node describes. It is built on the meta device: no
    weights are allocated, and none are downloaded.

    Args:
        node: ``cfg.model``; it is not changed.

    Raises:
        ConfigError: the model cannot be built.
        UsageError: detectron2 is not installed.
    """
    instantiate = _detectron2("config").instantiate
    from omegaconf import OmegaConf

    if OmegaConf.is_config(node):
        parent = node._get_parent()
        # interpolations may point outside the node
        node = copy.deepcopy(node)
        node._set_parent(parent)
        if "device" in node:
            node.device = "meta"
    try:
        with weightless():
            model = instantiate(node)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"the config's model cannot be built: {_reason(error)}") from error
    return keys_of(model)


def _reason(error: BaseException) -> str:
    """The failure of a config's code, in one line. detrex's ``TimmBackbone`` exits after a failure,
    which is the reason."""
    if isinstance(error, SystemExit) and error.__context__ is not None:
        error = error.__context__
    return " ".join(f"{type(error).__name__}: {error}".split())


def keys_of(model: Any) -> ModelKeys:
    """The part of a ``torch.nn.Module`` that the checkpointer uses."""
    tensors = model.state_dict(keep_vars=True)
    names: dict[int, list[str]] = {}
    for name, tensor in tensors.items():
        names.setdefault(id(tensor), []).append(name)
    statistics, swallowed = set(), set()
    for name, module in model.named_modules():
        kind = type(module)
        if kind.__name__ != "FrozenBatchNorm2d":
            continue
        if kind.__module__.startswith("detectron2."):
            statistics |= {f"{name}.{one}" for one in _STATISTICS}
        else:
            # detrex's and torchvision's own
            swallowed.add(f"{name}.num_batches_tracked")
    return ModelKeys(
        shapes={name: tuple(tensor.shape) for name, tensor in tensors.items()},
        ties=tuple(tuple(group) for group in names.values() if len(group) > 1),
        statistics=frozenset(statistics),
        swallowed=frozenset(swallowed),
    )


def _detectron2(module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"detectron2.{module}")
    except ImportError as error:
        if error.name != "detectron2":
            raise
        raise UsageError(
            "This needs detectron2, which is not installed here",
            hint="Describe the model instead: --target CHECKPOINT_OR_ARCH",
        ) from None


def weightless() -> Any:
    """A context in which tensors are created on the meta device.

    ``linspace`` is an exception, because the drop-path schedules of Swin, ConvNeXt, FocalNet,
    InternImage, EVA and ViT read its numbers.
    """
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils._device import _device_constructors

    constructors = _device_constructors()

    class Weightless(TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = dict(kwargs or {})
            if func in constructors and func is not torch.linspace:
                kwargs["device"] = kwargs.get("device") or "meta"
            return func(*args, **kwargs)

    return Weightless()
