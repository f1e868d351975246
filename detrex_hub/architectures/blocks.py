"""Target specs of the layers that detrex's models are made of.

Each function returns the state dict of one module, names relative to it; `under` puts a module's
state dict below a prefix.
"""

from __future__ import annotations

from collections.abc import Mapping

from detrex_hub.specs import TensorSpec

StateDict = dict[str, TensorSpec]


def tensor(*shape: int) -> TensorSpec:
    return TensorSpec("F32", shape)


def under(prefix: str, module: Mapping[str, TensorSpec]) -> StateDict:
    """A module's state dict with ``prefix.`` before its keys."""
    return {f"{prefix}.{name}": spec for name, spec in module.items()}


def linear(out_features: int, in_features: int, *, bias: bool = True) -> StateDict:
    weight = {"weight": tensor(out_features, in_features)}
    return weight | {"bias": tensor(out_features)} if bias else weight


def conv(out_channels: int, in_channels: int, kernel: int, *, bias: bool = True) -> StateDict:
    weight = {"weight": tensor(out_channels, in_channels, kernel, kernel)}
    return weight | {"bias": tensor(out_channels)} if bias else weight


def norm(channels: int) -> StateDict:
    """LayerNorm or GroupNorm."""
    return {"weight": tensor(channels), "bias": tensor(channels)}


def frozen_batch_norm(channels: int) -> StateDict:
    return norm(channels) | {"running_mean": tensor(channels), "running_var": tensor(channels)}


def batch_norm(channels: int) -> StateDict:
    return frozen_batch_norm(channels) | {"num_batches_tracked": TensorSpec("I64", ())}
