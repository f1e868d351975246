"""Refusals of a damaged folder offer a command that makes the folder again."""

import json
import shlex
from pathlib import Path

import pytest

from detrex_hub.records import CARD, CONFIG, CONVERSION
from tests import tiny
from tests.hub_server import Mirror

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(cli, tmp_path, monkeypatch):
    """The folder of a name in a catalogue, whose original is on a server."""
    content = tiny.original(tmp_path / "tiny.pth").read_bytes()
    with Mirror() as mirror:
        path = tiny.catalogue(tmp_path / "mine.toml", mirror.add("tiny.pth", content), content)
        monkeypatch.setenv("DETREX_HUB_CATALOGUE", str(path))
        assert cli("convert", tiny.NAME).code == 0
        yield Path(tiny.NAME)


def offered(done):
    """The command at the end of a refusal, as a reader would copy it."""
    assert done.code in (1, 2)
    (line,) = [one for one in done.err.splitlines() if one.startswith("Error: ")]
    return line[line.index("detrex-hub ") :]


def damage(folder):
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)


@pytest.mark.parametrize("name", [CONFIG, CONVERSION, CARD, WEIGHTS])
def test_a_folder_without_a_file_is_converted_again(cli, folder, name):
    (folder / name).unlink()
    command = offered(cli("push", "./tiny", "alice/tiny", "--to", "hub"))
    assert command == "detrex-hub convert tiny"
    assert cli(*shlex.split(command)[1:]).code == 0


@pytest.mark.parametrize(
    "command",
    [
        ("push", "./tiny", "alice/tiny", "--to", "hub"),
        ("verify", "./tiny", "--no-source"),
    ],
    ids=lambda command: command[0],
)
def test_damaged_weights_are_converted_again(cli, folder, command):
    damage(folder)
    again = offered(cli(*command))
    assert again == "detrex-hub convert tiny"
    assert cli(*shlex.split(again)[1:]).code == 0
    assert cli(*command).code == 0


@pytest.mark.parametrize("command", ["load", "verify", "card"])
def test_a_missing_folder_is_converted(cli, folder, command):
    folder.rename("other")
    assert offered(cli(command, "./tiny")) == "detrex-hub convert tiny"
    assert offered(cli(command, "./nothing")) == "detrex-hub list"


def test_a_file_in_place_of_a_folder_is_converted(cli, hub):
    tiny.original(Path("my file.pth"))
    command = offered(cli("load", "./my file.pth"))
    assert command == "detrex-hub convert './my file.pth'"
    assert cli(*shlex.split(command)[1:]).code == 0


def test_the_file_of_a_user_is_converted_again(cli, hub):
    tiny.original(Path("my file.pth"))
    assert cli("convert", "my file.pth", "-o", "made").code == 0
    damage(Path("made"))
    command = offered(cli("verify", "./made", "--no-source"))
    assert command == "detrex-hub convert './my file.pth'"
    assert cli(*shlex.split(command)[1:]).code == 0


def test_a_name_that_a_record_only_claims_is_not_offered(cli, folder):
    tiny.original(Path("other.pth"))
    assert cli("convert", "other.pth", "-o", "made").code == 0
    record = json.loads(Path("made", CONVERSION).read_text())
    record["name"] = tiny.NAME
    record["source"]["sha256"] = "0" * 64
    Path("made", CONVERSION).write_text(json.dumps(record))
    damage(Path("made"))
    command = offered(cli("push", "./made", "alice/tiny", "--to", "hub"))
    assert command == "detrex-hub convert ./other.pth"


def test_a_published_name_is_converted_before_it_is_pushed_elsewhere(cli, folder, login):
    login("alice", organizations=("detrex",))
    assert cli("push", "./tiny", "detrex/tiny").code == 0
    command = offered(cli("push", "detrex/tiny", "alice/tiny"))
    assert command == "detrex-hub convert tiny"
    assert cli(*shlex.split(command)[1:]).code == 0


def test_a_card_of_another_licence_is_rendered_again(cli, folder):
    card = folder / CARD
    before = card.read_text()
    card.write_text(before.replace("license: mit", "license: apache-2.0"))
    done = cli("push", "./tiny", "alice/tiny", "--to", "hub")
    assert offered(done) == "detrex-hub card ./tiny > ./tiny/README.md"
    assert cli("card", "./tiny", "-q").out == before
