"""The documentation site is complete, and builds without a warning."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import detrex_hub
from detrex_hub.cli.app import COMMANDS, group
from detrex_hub.cli.reference import reference

ROOT = Path(__file__).parent.parent


def test_the_reference_has_every_command_and_option():
    page = reference()
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == list(COMMANDS)
    for name in COMMANDS:
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        for parameter in group().commands[name].params:
            if parameter.param_type_name == "option":
                assert f"`{parameter.opts[0]}`" in section, (name, parameter.opts)


def test_the_python_page_has_all_public_names():
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    shown = re.findall(r"^::: detrex_hub\.(\w+)$", page, re.MULTILINE)
    assert sorted(shown) == sorted({*detrex_hub.__all__} - {"__version__"})


def test_every_page_is_in_the_navigation():
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert {page for page in pages if f": {page}\n" not in config} == set()


def test_no_page_needs_a_script_of_another_host():
    """The theme loads mermaid from elsewhere, as soon as a page has a figure for it."""
    pages = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), ROOT / "mkdocs.yml"]
    assert [path.name for path in pages if "mermaid" in path.read_text(encoding="utf-8")] == []


@pytest.mark.skipif(importlib.util.find_spec("material") is None, reason="needs the extra docs")
def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("index.html", "zoo/index.html", "reference/commands.html", "llms.txt"):
        assert (tmp_path / name).stat().st_size > 500, name
    python = (tmp_path / "reference" / "python.html").read_text(encoding="utf-8")
    assert "from_hub" in python
    pages = {*re.findall(r"\]\(([^)]+)\)", (tmp_path / "llms.txt").read_text())}
    assert {page for page in pages if not (tmp_path / page).is_file()} == set()
    outside = re.findall(r'(?:src|href)="(https?://[^"]+\.(?:js|css))"', python)
    assert outside == []
