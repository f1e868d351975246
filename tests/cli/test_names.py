"""Every command that takes a repository takes the same names, whether they are published or not."""

from pathlib import Path

import pytest
import torch
from iopath.common.file_io import g_pathmgr
from omegaconf import OmegaConf

from detrex_hub import from_hub, local_conversions
from detrex_hub.catalogue import find_entry
from detrex_hub.detectron2 import register
from tests import tiny
from tests.hub_server import Mirror

ALIAS = "tiny-of-old"
NAMES = [tiny.NAME, ALIAS, f"detrex/{tiny.NAME}", f"detrex/{ALIAS}", f"hf://detrex/{tiny.NAME}"]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return tiny.original(tmp_path_factory.mktemp("tiny") / "tiny.pth")


@pytest.fixture
def unpublished(hub, original, tmp_path, monkeypatch):
    """An unpublished entry of a user's catalogue, whose original is on a local server."""
    with Mirror() as mirror:
        content = original.read_bytes()
        path = tiny.catalogue(tmp_path / "mine.toml", mirror.add("tiny.pth", content), content)
        path.write_text(path.read_text() + f'aliases = ["{ALIAS}"]\n')
        monkeypatch.setenv("DETREX_HUB_CATALOGUE", str(path))
        yield mirror


named = pytest.mark.parametrize("name", NAMES)


@named
def test_load_takes_a_name(cli, unpublished, name):
    done = cli("load", name, "--quiet")
    assert done.code == 0, done.err
    assert torch.load(done.out.strip(), weights_only=True)["model"]


def test_a_name_may_have_a_dot(cli, unpublished, original, tmp_path):
    content = original.read_bytes()
    url = unpublished.add("tiny.pth", content)
    path = tiny.catalogue(tmp_path / "dotted.toml", url, content)
    path.write_text(path.read_text().replace("[weights.tiny]", "[weights.'tiny.v1']"))
    for command in (("convert", "-o", "out"), ("convert-and-push", "--to", "hub"), ("load",)):
        done = cli(command[0], "tiny.v1", *command[1:], "--catalogue", path)
        assert done.code == 0, done.err


def test_the_query_of_an_address_is_not_on_the_card(cli, tmp_path):
    url = "https://example.org/tiny.pth?token=abc&X-Amz-Signature=def"
    path = tiny.catalogue(tmp_path / "private.toml", url, b"")
    done = cli("card", tiny.NAME, "--catalogue", path)
    assert "(https://example.org/tiny.pth)" in done.out
    assert "token" not in done.out and "Amz" not in done.out


@named
def test_inspect_takes_a_name(cli, unpublished, name):
    done = cli("inspect", name)
    assert done.code == 0, done.err
    assert "convnext (detrex)" in done.out


@named
def test_verify_takes_a_name(cli, unpublished, name):
    done = cli("verify", name)
    assert done.code == 0, done.err
    assert "is what it claims to be" in done.out


@named
def test_export_takes_a_name(cli, unpublished, original, name):
    done = cli("export", name, "-o", "back.pth")
    assert done.code == 0, done.err
    # its authors also saved their arguments
    theirs = torch.load(original, weights_only=False)["model"]
    back = torch.load("back.pth", weights_only=True)
    back = back.get("model", back)
    assert back
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in back.items())


@named
def test_diff_takes_a_name(cli, unpublished, name):
    assert cli("diff", name, tiny.NAME).code == 0


@pytest.fixture
def config(tmp_path):
    backbone = {"_target_": "detrex.modeling.backbone.ConvNeXt", **tiny.HYPER_PARAMETERS}
    cfg = OmegaConf.create({"model": {"backbone": backbone}, "train": {"init_checkpoint": ""}})
    OmegaConf.save(cfg, tmp_path / "config.yaml")
    return tmp_path / "config.yaml"


@named
def test_check_takes_a_name(cli, unpublished, name, config):
    done = cli("check", config, "--checkpoint", name, "--target", tiny.NAME)
    assert done.code == 0, done.err
    assert "are loaded (100.0%)" in done.out


@pytest.mark.parametrize("path", [f"hf://{tiny.NAME}", f"hf://detrex/{ALIAS}"])
def test_detectron2_resolves_a_path_of_a_name(unpublished, path):
    register()
    assert g_pathmgr.get_local_path(path) == from_hub(tiny.NAME)


@named
def test_card_takes_a_name(cli, unpublished, name):
    cli("load", name)
    made = (local_conversions.find(find_entry(tiny.NAME)) / "README.md").read_text()
    assert cli("card", name, "--quiet").out == made


@named
def test_push_takes_a_name(cli, unpublished, name):
    done = cli("push", name, "--to", "hub", "--quiet")
    assert done.code == 0, done.err
    assert cli("verify", f"hub/detrex/{tiny.NAME}").code == 0


@pytest.mark.parametrize(
    "command",
    [
        ("info", tiny.NAME),
        ("load", tiny.NAME),
        ("inspect", tiny.NAME),
        ("verify", tiny.NAME),
        ("export", tiny.NAME),
        ("diff", tiny.NAME, tiny.NAME),
        ("check", "config.yaml", "--checkpoint", tiny.NAME, "--target", tiny.NAME),
        ("card", tiny.NAME),
        ("push", tiny.NAME, "--to", "hub"),
    ],
    ids=lambda command: command[0],
)
def test_an_option_names_a_catalogue(cli, unpublished, config, monkeypatch, command):
    monkeypatch.chdir(config.parent)
    monkeypatch.delenv("DETREX_HUB_CATALOGUE")
    assert cli(*command).code == 2
    done = cli(*command, "--catalogue", "mine.toml")
    assert done.code == 0, done.err


def test_a_fix_says_what_training_needs_to_find_a_name(cli, unpublished, monkeypatch, tmp_path):
    monkeypatch.setattr("detrex_hub.checking.config_file.has_detectron2", lambda: False)
    catalogue = tmp_path / "mine.toml"
    text = "train = model = dataloader = dict()\ntrain.init_checkpoint = 'x.pth'\n"
    config = Path("config.py")
    config.write_text(text)
    check = ("check", config, "--checkpoint", tiny.NAME, "--target", tiny.NAME)
    check = (*check, "--catalogue", catalogue, "--fix")
    needed = f"Before training: export DETREX_HUB_CATALOGUE={catalogue}"
    assert needed not in cli(*check).err
    config.write_text(text)
    monkeypatch.delenv("DETREX_HUB_CATALOGUE")
    assert needed in cli(*check).err
    assert f'from_hub("{tiny.NAME}"' in config.read_text()


def test_push_compares_the_licence_with_a_named_catalogue(cli, unpublished, monkeypatch, tmp_path):
    monkeypatch.delenv("DETREX_HUB_CATALOGUE")
    known = ("--catalogue", tmp_path / "mine.toml")
    assert cli("convert", tiny.NAME, *known).code == 0
    card = Path(tiny.NAME, "README.md")
    card.write_text(card.read_text().replace("license: mit", "license: apache-2.0"))
    refused = cli("push", f"./{tiny.NAME}", "--to", "hub", *known)
    assert refused.code == 1 and "that of tiny is mit" in refused.err
    assert cli("push", f"./{tiny.NAME}", "--to", "hub").code == 0


def test_a_repository_on_the_hub_is_not_pushed_to_another_one(cli, unpublished, login):
    login("alice", organizations=("detrex",))
    assert cli("convert", tiny.NAME).code == 0
    assert cli("push", f"./{tiny.NAME}", f"detrex/{tiny.NAME}").code == 0
    done = cli("push", f"detrex/{tiny.NAME}", "alice/tiny")
    assert done.code == 2
    assert "is on the Hub already" in done.err


@pytest.mark.parametrize("command", ["load", "inspect", "verify", "export", "card", "push"])
def test_the_refusal_of_an_unknown_name_suggests_the_nearest(cli, unpublished, command):
    done = cli(command, "tinyy")
    assert done.code == 2
    assert f"Did you mean {tiny.NAME}" in done.err
