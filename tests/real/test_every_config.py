"""Every detrex config with a checkpoint file loads an unpublished name of the catalogue instead,
whose original is on a local server."""

from __future__ import annotations

import json
import mmap
from pathlib import Path

import pytest
import torch

from detrex_hub import catalogue, from_hub, load_state_dict
from detrex_hub.architectures import architecture
from detrex_hub.catalogue.models import model_of
from detrex_hub.configs.lazy import weightless
from tests.detrex_configs import record, weights_of
from tests.hub_server import Mirror
from tests.real.checkpointers import load

CONFIGS = sorted(record()["configs"], key=lambda config: (str(weights_of(config)), config))

_ENTRY = """
[weights.{name}]
architecture = "{architecture}"
layout = "{layout}"
title = "{name}"
license = "mit"
url = "{url}"
hyper_parameters = {hyper_parameters}
facts = {facts}
"""


def inline(values) -> str:
    """Plain values as TOML writes them in one line."""
    return f"{{ {', '.join(f'{name} = {json.dumps(value)}' for name, value in values.items())} }}"


def original(entry, path: Path) -> None:
    """Write a file in its authors' form, with each tensor filled with a different number."""
    layout = entry.sources[0].layout
    made = model_of(entry)
    specs, same_as = made.original(layout)
    # the largest of them has a billion parameters
    dtype = torch.float16 if len(specs) > 600 else torch.float32
    state = {}
    for number, (key, spec) in enumerate(specs.items()):
        kind = dtype if spec.dtype.startswith("F") else torch.int64
        state[key] = torch.full(spec.shape, 2 + number % 512, dtype=kind)
    state |= {alias: state[stored] for alias, stored in same_as.items()}
    torch.save({"model": state} if type(made).layouts[layout].wrapped else state, path)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """`server(name)` is a catalogue in which a name's original is on this machine."""
    folder = tmp_path_factory.mktemp("originals")
    with Mirror() as mirror:

        def serve(name):
            path, entry = folder / f"{name}.toml", catalogue.load_entries()[name]
            if not path.exists():
                for file in folder.iterdir():
                    file.unlink()
                mirror.files.clear()
                file = folder / f"{name}.pth"
                original(entry, file)
                with file.open("rb") as opened:
                    content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
                path.write_text(
                    _ENTRY.format(
                        name=name,
                        architecture=entry.architecture,
                        layout=entry.sources[0].layout,
                        url=mirror.add(file.name, content),
                        hyper_parameters=inline(entry.hyper_parameters),
                        facts=inline(entry.facts),
                    )
                )
            return path

        yield serve


def empty(cfg):
    """The model of a config, filled with a number that no file holds."""
    from detectron2.config import instantiate

    if "device" in cfg.model:
        cfg.model.device = "cpu"
    with weightless():
        model = instantiate(cfg.model)
    model.to_empty(device="cpu")
    for tensor in model.state_dict().values():
        tensor.fill_(-7)
    return model


@pytest.mark.parametrize("path", CONFIGS)
def test_a_config_starts_from_an_unpublished_name(path, config, server, monkeypatch, caplog):
    name = weights_of(path)
    monkeypatch.setenv("DETREX_HUB_CATALOGUE", str(server(name)))
    cfg = config(path)
    weights = from_hub(name, model=cfg.model)
    assert f"{name} is not published (not found, or private)" in caplog.text

    model = empty(cfg)
    loaded = load(model, weights)
    entry = catalogue.load_entries()[name]
    made = model_of(entry)
    prefix = f"{made.node.removeprefix('model.')}."
    assert architecture(entry.architecture).backbone
    assert not loaded.unexpected
    assert not loaded.wrong_shape
    lacking = {key for key in loaded.missing if key.startswith(prefix)}
    assert lacking <= {prefix + key for key in made.set_by_model()}
    held, ours = model.state_dict(), load_state_dict(name)
    assert loaded.given == {prefix + key for key in ours}
    assert [
        key for key, tensor in ours.items() if not torch.equal(held[prefix + key], tensor)
    ] == []
