"""Each published model loads into its real detrex model by the lines of its card."""

from __future__ import annotations

import pytest
import torch

from detrex_hub import catalogue, load_state_dict
from detrex_hub.architectures import architectures
from detrex_hub.catalogue.models import model_of
from detrex_hub.checking import examine
from detrex_hub.configs.nodes import target_of
from detrex_hub.conversion import convert
from tests.real.checkpointers import built, load


def different() -> list[str]:
    """One name of the catalogue for each published model of detrex."""
    names: dict[object, str] = {}
    for name, entry in catalogue.load_entries().items():
        numbers = sorted(entry.hyper_parameters.items())
        if entry.base_config is not None:
            names.setdefault((entry.architecture, entry.base_config, repr(numbers)), name)
    return list(names.values())


def runs_here(entry, cfg):
    """Whether an image can be run through a model: DETA's NMS is a compiled operator of
    torchvision, InternImage's convolutions and Mask DINO's boxes of masks need a GPU, CO-MOT takes
    videos, and EVA's larger squares take many minutes on a CPU."""
    facts = entry.facts
    if entry.architecture == "co_mot":
        return False
    if facts.get("assign_first_stage") or facts.get("initialize_box_type") == "mask2box":
        return False
    if target_of(cfg.model.backbone).endswith(".InternImage"):
        return False
    return (cfg.model.backbone.get("square_pad") or 0) <= 1024


def run_card(folder, base_module, cfg):
    """Run the Python of a card on a config that is loaded already."""
    text = (folder / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    # no statement can name the config of Align-DETR, which has a "=" in its name
    named = base_module if base_module.isidentifier() else "your_config"
    imported = f"from .{named} import train, dataloader, optimizer, lr_multiplier, model\n"
    assert imported in code
    exec(code.replace(imported, ""), {name: cfg[name] for name in ("train", "dataloader", "model")})


@pytest.mark.parametrize("name", different())
def test_loads_into_its_real_model(name, config, tmp_path, monkeypatch):
    entry = catalogue.load_entries()[name]
    kind = architectures()[entry.architecture]
    monkeypatch.setenv("DETREX_HUB_ROOT", str(tmp_path))
    folder = convert(name, tmp_path / "detrex" / name, synthetic=True).folder
    cfg = config(entry.base_config)
    run_card(folder, entry.base_config.rpartition("/")[2].removesuffix(".py"), cfg)
    checked = examine(cfg)
    assert checked.passed, checked.summary()

    model = built(cfg)
    loaded = load(model, cfg.train.init_checkpoint)
    made = model_of(entry)
    prefix = f"{made.node.removeprefix('model.')}." if kind.backbone else ""
    by_model = {prefix + key for key in made.set_by_model()}
    assert not loaded.unexpected
    assert not loaded.wrong_shape
    assert {key for key in loaded.missing if key.startswith(prefix)} <= by_model

    now = {key: tensor for key, tensor in model.state_dict().items() if key.startswith(prefix)}
    ours = {prefix + key: tensor for key, tensor in load_state_dict(folder).items()}
    assert now.keys() - by_model <= ours.keys() <= now.keys()
    assert [key for key, tensor in ours.items() if not torch.equal(now[key], tensor)] == []

    if not kind.backbone and runs_here(entry, cfg):
        # neither names nor shapes show that the neck gets what it counts on
        with torch.no_grad():
            size = 512 if entry.architecture == "focus_detr" else 256
            model.eval()([{"image": torch.zeros(3, size, size), "height": size, "width": size}])

    # what `check` said before is what was done
    assert set(checked.match.missing) - checked.match.silent == loaded.missing
    assert set(checked.match.loaded) == loaded.given
