"""The commands and the Python code in the pages for users give the shown output, in order."""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from detrex_hub.cli.failures import run
from tests import tiny
from tests.checkpoint_files import save
from tests.configs.test_settings import lazy_config

DOCS = Path(__file__).parent.parent / "docs"
PAGES = [
    "quickstart.md",
    "troubleshooting.md",
    *(f"guides/{p.name}" for p in sorted((DOCS / "guides").iterdir())),
]
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def steps(page):
    """(language, code, output) in the order of a page: a command, or all Python of a block."""
    for language, block in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        if language == "python":
            yield language, block, ""
            continue
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            yield language, command, printed


def matches(shown, printed):
    """Whether output matches the shown text, in which … matches anything."""
    pattern = ".*".join(map(re.escape, shown.replace("…\n", "…").split("…")))
    return re.fullmatch(pattern, printed, re.DOTALL)


def files_of_a_user(place):
    tiny.detector(place / "my.pth")
    save(place / "strange.pth", {"net.0.weight": torch.zeros(3, 3)})
    content = bytearray((place / "my.pth").read_bytes())
    content[len(content) // 2] ^= 1
    (place / "damaged.pth").write_bytes(content)
    (place / "photos").mkdir()
    (place / "photos" / "cat.jpg").write_bytes(b"a cat")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_the_real_output(page, hub, login, tmp_path, monkeypatch, capfd):
    login("alice")
    monkeypatch.chdir(tmp_path)
    files_of_a_user(tmp_path)
    # both streams together, as on a terminal
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    cfg = lazy_config()
    names = {"cfg": cfg, "model": cfg.model, "dataloader": cfg.dataloader}
    names["train"] = OmegaConf.create({"init_checkpoint": ""})
    for language, code, shown in steps(page):
        capfd.readouterr()
        if language == "python":
            exec(compile(code, page, "exec"), names)
            continue
        program, *arguments = shlex.split(code)
        if program == "export":
            monkeypatch.setenv(*arguments[0].split("="))
            continue
        assert program == "detrex-hub"
        with contextlib.suppress(SystemExit):
            run(arguments)
        printed = "".join(capfd.readouterr())
        assert matches(shown, printed), f"$ {code}\n{printed}"


def test_explained_messages_occur_in_the_code():
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    messages = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    package = DOCS.parent / "detrex_hub"
    code = "\n".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    assert messages
    assert [message for message in messages if message not in code] == []
