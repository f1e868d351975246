"""Commands print names from untrusted files safely."""

import json

import pytest
import torch

from detrex_hub.conversion import convert
from detrex_hub.errors import ConfigError
from detrex_hub.exporting import export
from detrex_hub.redaction import visible, visible_json
from tests import tiny

EVIL = "\x1b]0;owned\x07\x1b[2J\nError: fake\r\x9b31m\u202eevil\0"
KEY = f"layer{EVIL}.weight"


@pytest.fixture
def hostile(tmp_path):
    content = {"model": {KEY: torch.ones(1)}, EVIL: 1, f"{EVIL}ema": {"w": torch.ones(1)}}
    torch.save(content, tmp_path / "hostile.pth")
    return tmp_path / "hostile.pth"


@pytest.mark.parametrize("options", [(), ("--keys",), ("--json",), ("--quiet",)])
def test_keys_cannot_control_the_terminal(cli, hostile, options):
    done = cli("inspect", hostile, *options)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert all(line.isprintable() for line in lines)
    assert not any(line.lstrip().startswith("Error: fake") for line in lines)
    if "--json" in options:
        assert json.loads(done.out)["tensors"] == {KEY: ["F32", [1]]}
    elif "--quiet" not in options:
        assert r"\x1b[2J\nError: fake\r\x9b31m\u202eevil\x00" in done.out


def test_paths_and_container_names_are_printed_without_control_characters(cli, hostile):
    for arguments in (("inspect", EVIL), ("inspect", hostile, "--container", EVIL)):
        done = cli(*arguments)
        assert done.code in (1, 2)
        assert done.err.count("\n") == 1
        assert done.err[:-1].isprintable()


def test_half_characters_are_printed(cli, tmp_path):
    torch.save({"a": {"w": torch.ones(1)}, "b\ud800": {"w": torch.ones(1)}}, tmp_path / "x.pth")
    done = cli("inspect", tmp_path / "x.pth", "--container", "a")
    assert (done.code, done.err) == (0, "")
    assert r"b\ud800: 1 tensors" in done.out


@pytest.mark.parametrize(
    "name, stem",
    [
        ("it's my \n;$(x) model", "it-s-my-x-model"),
        ("-o", "o"),
        ("日本 é", "日本-é"),
        ("'!'", "weights"),
    ],
)
def test_weights_of_every_name_are_exported(tmp_path, monkeypatch, name, stem):
    monkeypatch.chdir(tmp_path)
    tiny.original(tmp_path / f"{name}.pth")
    convert(tmp_path / f"{name}.pth", "converted")
    assert str(export("./converted").path) == f"{stem}-original.pth"


def test_a_file_name_that_is_not_unicode_is_refused_in_a_record(tmp_path, monkeypatch):
    checkpoint = tiny.original(tmp_path / "tiny.pth")
    monkeypatch.setattr("detrex_hub.originals.opening.file_stem", lambda path: "\udcff")
    with pytest.raises(ConfigError, match=r'not Unicode: ".*". Rename it'):
        convert(checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_message_with_a_thousand_reasons_is_cut(cli, tmp_path):
    torch.save({f"{chr(97 + i % 26) * 200}{i}": torch.ones(1) for i in range(999)}, "x.pth")
    done = cli("convert", "x.pth", "--arch", "swin")
    assert done.code == 1
    assert len(done.err) < 5000


def test_visible_characters_are_kept():
    for line in ("plain", "ünï ⚠️ 日本", "a\tb", ""):
        assert visible(line) == line
    document = json.dumps({"a": ["ünï", 1]}, indent=2, ensure_ascii=False)
    assert visible_json(document) == document
