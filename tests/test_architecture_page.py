"""The architecture page names exactly the existing packages, and only existing imports."""

import re
from pathlib import Path

from tests.test_layers import ROOT, imports, layer_of

PAGE = (Path(__file__).parent.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
PICTURE = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)[1]
ARROWS = [
    (upper, lower)
    for upper, lowers in re.findall(r"^(\w+) +-> (.+)$", PICTURE, re.MULTILINE)
    for lower in lowers.split(", ")
]
BELOW = set(re.findall(r"`(\w+)`", re.search(r"Below them are small modules.*", PAGE)[0]))
TABLE = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)


def rooms():
    """The packages and modules of the project."""
    found = {path.stem for path in ROOT.glob("*.py")} | {
        path.parent.name for path in ROOT.glob("*/__init__.py")
    }
    return found - {"__init__", "__main__"}


def imported_by(name):
    paths = [ROOT / f"{name}.py", *(ROOT / name).rglob("*.py")]
    found = {module.split(".")[1] for path in paths if path.exists() for module in imports(path)}
    return found - {name}


def test_each_package_and_module_is_described_once():
    assert sorted([*TABLE, *BELOW]) == sorted(rooms())


def test_the_picture_shows_each_package():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert {name for arrow in ARROWS for name in arrow} >= packages


def test_each_arrow_is_an_import_and_goes_down():
    assert len(ARROWS) > 30
    lines = [line.split()[0] for line in PICTURE.splitlines()]
    for upper, lower in ARROWS:
        assert lower not in lines or lines.index(upper) < lines.index(lower)
    for upper, lower in ARROWS:
        assert lower in imported_by(upper), f"{upper} does not import {lower}"
        assert layer_of(f"detrex_hub.{upper}") >= layer_of(f"detrex_hub.{lower}")


def test_the_modules_below_import_nothing_of_the_picture():
    shown = {name for arrow in ARROWS for name in arrow}
    for name in BELOW:
        assert not imported_by(name) & shown
