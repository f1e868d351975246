"""The README's commands print the output that it shows."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from detrex_hub import catalogue, from_hub
from detrex_hub.architectures.base import IMAGENET_RGB
from detrex_hub.errors import ConfigError
from tests import reference
from tests.checkpoint_files import save
from tests.configs.test_settings import lazy_config

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def sessions():
    """(command, output) of every console block."""
    for language, block in BLOCKS:
        if language == "console":
            for part in block.split("$ ")[1:]:
                command, _, printed = part.partition("\n")
                yield command.partition("  #")[0].strip(), printed


COMMANDS = [one for one in sessions() if one[0].startswith("detrex-hub ")]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The output of each command, run in order in one folder."""
    place = tmp_path_factory.mktemp("readme")
    specs = reference.load("detr_r50").source
    state = {key: torch.zeros(spec.shape) for key, spec in specs.items()}
    save(place / "my.pth", state, "model")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    printed = {}
    for command, _ in COMMANDS:
        done = subprocess.run(
            [sys.executable, "-m", "detrex_hub", *command.split()[1:]],
            cwd=place,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        printed[command] = done.stdout
    return place, printed


@pytest.mark.parametrize(("command", "shown"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_commands_print_what_the_readme_shows(ran, command, shown):
    printed = ran[1][command]
    if shown.startswith("NAME "):
        # a table has no header and no alignment outside a terminal
        shown = re.sub(r"  +", "\t", shown.partition("\n")[2])
    # … matches anything
    pattern = ".*".join(map(re.escape, shown.replace("…\n", "…").split("…")))
    assert re.fullmatch(pattern, printed, re.DOTALL), printed


def test_the_shown_log_and_refusal_match_a_load(ran, hub, monkeypatch, caplog):
    plain = [block.strip() for language, block in BLOCKS if not language]
    told, refused = plain
    monkeypatch.setenv("DETREX_HUB_ROOT", str(ran[0] / "hub"))
    cfg = lazy_config()
    cfg.model.backbone.stages.depth = 50
    cfg.model.backbone.stages.stride_in_1x1 = False
    cfg.model.pixel_mean, cfg.model.pixel_std = (
        list(IMAGENET_RGB[name]) for name in ("pixel_mean", "pixel_std")
    )
    cfg.dataloader.test.mapper.img_format = "BGR"
    with caplog.at_level(logging.INFO, "detrex_hub"):
        from_hub("detrex/r101_v2", model=cfg.model, dataloader=cfg.dataloader)
    assert told.splitlines() == [record.getMessage() for record in caplog.records]

    swin = lazy_config({"_target_": "detectron2.modeling.backbone.SwinTransformer"})
    with pytest.raises(ConfigError) as caught:
        from_hub("detrex/r101_v2", model=swin.model)
    assert str(caught.value) == refused


def test_linked_files_exist():
    root = Path(__file__).parent.parent
    links = re.findall(r"\]\((?!https?://)([^)#]+)", README)
    assert links
    assert [link for link in links if not (root / link).exists()] == []


def test_the_readme_begins_with_installation_and_two_config_lines():
    (_, first), (_, second), (_, third) = BLOCKS[:3]
    assert first == "pip install detrex-hub\n"
    assert len([line for line in second.splitlines() if line]) == 2
    # the message of the first use of a name
    url = catalogue.find_entry("r101_v2").sources[0].url
    why = "is not published (not found, or private)"
    assert third == f"detrex/r101_v2 {why}: converted on this machine from {url}\n"


def test_one_table_has_every_environment_variable():
    root = Path(__file__).parent.parent / "detrex_hub"
    code = " ".join(path.read_text(encoding="utf-8") for path in root.rglob("*.py"))
    page = root.parent / "docs" / "reference" / "environment.md"
    section = page.read_text(encoding="utf-8")
    table = re.findall(r"^\| `(DETREX_HUB_[A-Z_]+)` \|", section, re.MULTILINE)
    assert sorted(table) == sorted(set(re.findall(r"\bDETREX_HUB_[A-Z_]+\b", code)))
