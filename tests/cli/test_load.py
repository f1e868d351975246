"""`detrex-hub load`"""

from pathlib import Path

import pytest


def test_load_reads_the_config_once(cli, original, login, hub):
    assert cli("convert", original, "-o", "r18").code == 0
    login("alice")
    commit = cli("push", "r18", "alice/r18", "--license", "mit", "--json").document["commit"]
    before = len(hub.log)
    document = cli("load", "alice/r18", "--json").document
    asked = [one for one in hub.log[before:] if one.method == "GET" and "config.json" in one.path]
    assert len(asked) == 1
    assert document["commit"] == commit
    assert document["overrides"]["model.backbone.stages.depth"] == 18


@pytest.mark.parametrize(
    ("root", "hint"), [("./hbu", "Write an absolute path, or"), ("/no/such", "Create it, or")]
)
def test_a_missing_root_says_how_to_name_it(cli, root, hint):
    where = f" in {Path.cwd()}" if root.startswith(".") else ""
    said = cli("load", "detrex/r18_v1", DETREX_HUB_ROOT=root).err
    assert f"={root} is not a folder{where}. {hint}" in said
