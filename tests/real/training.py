"""The output of a training run without training: each tensor has different numbers."""

from __future__ import annotations

from pathlib import Path

import torch

from detrex_hub import from_hub
from tests.real.checkpointers import built, load


def trained(cfg, path: Path) -> dict[str, torch.Tensor]:
    """Write a checkpoint of a config's model, and return its state dict."""
    state = built(cfg).state_dict()
    generator = torch.Generator().manual_seed(0)
    for tensor in {one.data_ptr(): one for one in state.values() if one.numel()}.values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1, generator=generator)
    torch.save({"model": state, "iteration": 89_999}, path)
    return state


def loads_whole(cfg, folder: Path, state: dict[str, torch.Tensor], *, build: bool = False) -> None:
    """Assert that one line brings every tensor back, through the stock checkpointer."""
    loader = cfg.get("dataloader")
    weights = from_hub(folder, model=cfg.model, dataloader=loader, build=build)
    model = built(cfg)
    for parameter in model.parameters():
        parameter.data.fill_(7)
    loaded = load(model, weights)
    assert not loaded.unexpected
    assert not loaded.wrong_shape
    assert not loaded.missing
    now = model.state_dict()
    assert now.keys() == state.keys()
    assert [key for key, tensor in state.items() if not torch.equal(now[key], tensor)] == []
