"""Each published architecture in its real detrex model, by one `from_hub` line and the stock
checkpointer."""

from __future__ import annotations

import pytest
import torch

from detrex_hub import catalogue, from_hub, load_state_dict
from detrex_hub.architectures import architectures
from detrex_hub.checking import examine
from detrex_hub.conversion import convert
from tests.real.checkpointers import built, load


def different() -> list[str]:
    """One name of the catalogue for each model that is published."""
    names = {}
    for name, entry in catalogue.load().items():
        model = (
            entry.architecture,
            entry.base_config,
            repr(sorted(entry.hyper_parameters.items())),
        )
        names.setdefault(model, name)
    return list(names.values())


@pytest.mark.parametrize("name", different())
def test_loads_into_its_real_model(name, config, tmp_path):
    entry = catalogue.load()[name]
    kind = architectures()[entry.architecture]
    done = convert(name, tmp_path / name, synthetic=True)
    cfg = config(entry.base_config)
    path = from_hub(done.folder, model=cfg.model, dataloader=cfg.dataloader)
    cfg.train.init_checkpoint = path
    checked = examine(cfg)
    assert checked.passed, checked.summary()

    model = built(cfg)
    loaded = load(model, path)
    made = kind.from_hyper_parameters(entry.hyper_parameters)
    prefix = f"{made.node.removeprefix('model.')}." if kind.backbone else ""
    by_model = {prefix + key for key in made.set_by_model()}
    assert not loaded.unexpected
    assert not loaded.wrong_shape
    assert {key for key in loaded.missing if key.startswith(prefix)} <= by_model

    now = {key: tensor for key, tensor in model.state_dict().items() if key.startswith(prefix)}
    ours = {prefix + key: tensor for key, tensor in load_state_dict(done.folder).items()}
    assert now.keys() - by_model == ours.keys()
    different = [key for key, tensor in ours.items() if not torch.equal(now[key], tensor)]
    assert not different

    # what `check` said before is what was done
    assert set(checked.match.missing) - checked.match.silent == loaded.missing
    assert set(checked.match.loaded) == loaded.given
