"""A new architecture needs one module and no other change."""

import pytest
import torch

from detrex_hub import architectures, from_hub, load_state_dict
from tests.checkpoint_files import save
from tests.configs.test_settings import lazy_config

MODULE = '''
from collections.abc import Mapping
from typing import ClassVar

from detrex_hub import kinds
from detrex_hub.architectures.base import Architecture, Fact, Layout, Overrides, image_overrides
from detrex_hub.architectures.blocks import conv, under
from detrex_hub.architectures.shapes import shape_of
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Drop, Rename


class ToyNet(Architecture, frozen=True, kw_only=True):
    """Two convolutions."""

    width: int
    wobble: int | None = 3

    name: ClassVar[str] = "toy_net"
    backbone: ClassVar[bool] = True
    taken_by: ClassVar[frozenset[str]] = frozenset({"ToyNet"})
    facts: ClassVar[Mapping[str, Fact]] = {
        "wobble": Fact(
            kinds.Integer(1, 9), "how much it wobbles", default=3, assumed=True, config=(".wobble",)
        )
    }
    lazy_paths: ClassVar[Mapping[str, Kind]] = {".width": kinds.SIZE, ".wobble": kinds.SIZE}
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(present=("toy_first.weight", "toy_last.weight"), wrapped=True),
        "detrex": Layout(present=("toy.0.weight", "toy.1.weight")),
    }

    @classmethod
    def infer(cls, specs, layout, facts):
        names = ("toy_first.weight", "toy.0.weight")
        return cls(width=shape_of(specs, *names, dimensions=4)[0], wobble=facts.get("wobble"))

    def rules(self, layout):
        if layout == "detrex":
            return (Rename("toy.{i}.*", "toy.{i}.*"),)
        return (
            Rename("toy_first.*", "toy.0.*"),
            Rename("toy_last.*", "toy.1.*"),
            Drop("toy_head.*", "classifier", optional=True),
        )

    def target(self):
        return under("toy.0", conv(self.width, 3, 3)) | under("toy.1", conv(1, self.width, 1))

    @property
    def out_channels(self):
        return {"toy": 1}

    def overrides(self, preprocessing):
        lazy = {"model.backbone.width": self.width, "model.backbone.wobble": self.wobble}
        image = image_overrides(preprocessing)
        return Overrides(lazy={**image.lazy, **lazy}, yacs=image.yacs)

    def differences(self):
        return ("The toy in detrex wobbles the other way.",)
'''

ENTRY = """
[weights.toy]
architecture = "toy_net"
layout = "original"
title = "A toy"
license = "mit"
url = "https://example.org/toy.pth"
hyper_parameters = { width = 4 }
facts = { wobble = 5, image_format = "RGB" }
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the module, in which architectures are also searched."""
    folder = tmp_path / "architectures"
    folder.mkdir()
    (folder / "toy_net.py").write_text(MODULE)
    (tmp_path / "toy.toml").write_text(ENTRY)
    monkeypatch.setattr(architectures, "__path__", [*architectures.__path__, str(folder)])
    monkeypatch.setenv("DETREX_HUB_CATALOGUE", str(tmp_path / "toy.toml"))
    caches = (architectures.architectures, architectures._modules, architectures._of_module)
    for one in caches:
        one.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    for one in caches:
        one.cache_clear()


@pytest.fixture
def checkpoint(place):
    state = {
        "toy_first.weight": torch.arange(108.0).reshape(4, 3, 3, 3),
        "toy_first.bias": torch.arange(4.0),
        "toy_last.weight": torch.arange(4.0).reshape(1, 4, 1, 1),
        "toy_last.bias": torch.ones(1),
        "toy_head.weight": torch.ones(2, 2),
    }
    return save(place / "toy.pth", state, "model")


def test_an_architecture_needs_only_one_module(cli, place, checkpoint):
    hub = place / "hub"
    assert cli("inspect", checkpoint, "--json").document["architecture"] == "toy_net"
    pushed = cli("convert-and-push", "toy", "--source", checkpoint, "--to", hub)
    assert pushed.code == 0, pushed.err
    folder = hub / "detrex" / "toy"
    assert "wobbles the other way" in (folder / "README.md").read_text()

    verified = cli("verify", folder, "--source", checkpoint)
    assert verified.code == 0, verified.err
    assert cli("card", folder).code == 0
    assert "toy_net" in cli("list", "toy").out
    exported = cli("export", folder, "-o", place / "back.pth")
    assert exported.code == 0, exported.err
    assert "toy_first.weight" in torch.load(place / "back.pth", weights_only=True)["model"]


def test_its_overrides_are_set_and_checked(cli, place, checkpoint):
    assert cli("convert", "toy", "--source", checkpoint, "-o", place / "toy").code == 0
    cfg = lazy_config({"_target_": "toys.ToyNet", "width": 8, "wobble": 1})
    from_hub(place / "toy", model=cfg.model)
    assert (cfg.model.backbone.width, cfg.model.backbone.wobble) == (4, 5)
    assert load_state_dict(place / "toy")["toy.0.weight"].shape == (4, 3, 3, 3)


def test_its_facts_are_checked_by_their_kinds(cli, place, checkpoint):
    refused = cli("convert", checkpoint, "--fact", "wobble=10", "-o", place / "toy")
    assert refused.code == 2
    assert "an integer from 1 to 9" in refused.err


def test_a_fact_that_the_user_does_not_give_is_assumed(cli, place, checkpoint):
    converted = cli("convert", checkpoint, "-o", place / "mine")
    assert "wobble" in converted.err
    assert "assumed" in converted.err


def test_check_replays_what_a_config_loads(cli, place, checkpoint):
    assert cli("convert", "toy", "--source", checkpoint, "-o", place / "toy").code == 0
    (place / "config.yaml").write_text(
        "model:\n  backbone: {_target_: toys.ToyNet, width: 4, wobble: 5}\n"
        "  pixel_mean: [123.675, 116.28, 103.53]\n  pixel_std: [58.395, 57.12, 57.375]\n"
        f"train: {{init_checkpoint: '{place / 'toy'}'}}\n"
    )
    checked = cli("check", place / "config.yaml", "--target", "toy", "--json")
    assert checked.code == 0, checked.err
    assert checked.document["share"] == 1
