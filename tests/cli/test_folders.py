"""Every command that takes a folder also takes a snapshot of the Hub's cache, and refuses pipes."""

import os
import socket
from pathlib import Path

import pytest

from detrex_hub import from_hub
from detrex_hub.card import render_folder
from detrex_hub.errors import DetrexHubError
from detrex_hub.repositories import push
from tests import tiny


def as_snapshot(folder, root):
    """A converted folder as in the Hub's cache: links into ``blobs``."""
    repository = root / "models--alice--tiny"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(repository / "blobs" / f"{number:064x}")
        (snapshot / file.name).symlink_to(f"../../blobs/{number:064x}")
    folder.rmdir()
    return snapshot


@pytest.fixture
def converted(cli, tmp_path):
    entries = tiny.catalogue(tmp_path / "tiny.toml")
    assert cli("convert", "tiny", "--synthetic", "--catalogue", entries).code == 0
    return tmp_path / "here" / "tiny"


def test_the_command_that_convert_names_next_works(cli, tmp_path):
    entries = tiny.catalogue(tmp_path / "tiny.toml")
    shown = cli("convert", "tiny", "--synthetic", "--catalogue", entries).out
    (line,) = [one for one in shown.splitlines() if one.startswith("next")]
    assert cli(*line.partition("detrex-hub ")[2].split()).code == 0


COMMANDS = {
    "load": ("load", "FOLDER"),
    "inspect": ("inspect", "FOLDER"),
    "verify": ("verify", "FOLDER", "--no-source"),
    "card": ("card", "FOLDER"),
    "diff": ("diff", "FOLDER", "FOLDER"),
    "export": ("export", "FOLDER", "--to", "original", "-o", "back.pth"),
    "push": ("push", "FOLDER", "alice/tiny", "--to", "hub"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_a_snapshot_of_the_cache(cli, converted, tmp_path, command):
    snapshot = as_snapshot(converted, tmp_path / "cache")
    done = cli(*(str(snapshot) if one == "FOLDER" else one for one in COMMANDS[command]))
    assert done.code == 0, done.err


@pytest.mark.parametrize("name", ["config.json", "conversion.json", "README.md"])
def test_no_command_waits_for_a_pipe_in_a_folder(converted, tmp_path, name):
    (converted / name).unlink()
    os.mkfifo(converted / name)
    for use in (
        from_hub,
        lambda folder: render_folder(folder, {}),
        lambda folder: push(folder, to=tmp_path / "hub"),
    ):
        try:
            use(converted)
        except DetrexHubError as error:
            assert "\n" not in str(error)


@pytest.fixture
def special(cli):
    """Paths in this folder that are neither files nor folders, by what they are."""
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket")
    Path("device").symlink_to(os.devnull)
    Path("loop").symlink_to("loop")
    return {
        "pipe": "a pipe",
        "socket": "a socket",
        "device": "a device",
        "loop": "a symbolic link in a loop",
    }


@pytest.mark.parametrize(
    "command",
    [
        "check {}",
        "check config.yaml --checkpoint {}",
        "check config.yaml --checkpoint tiny.pth --target {}",
        "push tiny.pth --config {}",
        "push ./{}",
        "push {}",
        "card ./{}",
        "verify ./{}",
        "load ./{}",
        "load {}",
        "convert {}",
        "convert r18_v1 --source {}",
        "convert-and-push {} --to hub",
        "convert-and-push r18_v1 --to {}",
        "export {}",
        "inspect {}",
        "diff {} tiny.pth",
        "pull r18_v1 --source {}",
    ],
)
def test_a_path_that_is_neither_file_nor_folder_is_called_what_it_is(cli, special, command):
    tiny.original(Path("tiny.pth"))
    Path("config.yaml").write_text("model: {}\n")
    for path, kind in special.items():
        done = cli(*command.format(path).split())
        assert done.code == 2, done.err
        assert f"{path} is {kind}, not a " in done.err


@pytest.mark.parametrize(
    "command",
    [
        "list --catalogue {}",
        "convert r18_v1 --classes-from {}",
        "convert-and-push r18_v1 --synthetic --to hub --sign-key {}",
    ],
)
@pytest.mark.parametrize("path", ["pipe", "socket", "device"])
def test_a_special_file_that_is_read_is_called_what_it_is(cli, special, command, path):
    assert f"It is {special[path]}, not a regular file" in cli(*command.format(path).split()).err


@pytest.mark.parametrize("command", ["zoo -o {}", "pull r18_v1 --source tiny.pth -o {}"])
@pytest.mark.parametrize("path", ["pipe", "socket"])
def test_no_output_replaces_a_special_file(cli, special, command, path):
    tiny.original(Path("tiny.pth"))
    before = Path(path).lstat()
    done = cli(*command.format(path).split())
    assert done.code == 2
    assert f"{path} is {special[path]}, not a regular file. Choose another place with " in done.err
    assert Path(path).lstat() == before


def test_a_link_to_nothing_is_not_offered_for_itself(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pth").symlink_to("nothing")
    (tmp_path / "weight.pth").touch()
    done = cli("inspect", "weights.pth")
    assert done.err == "Error: there is no file weights.pth. Did you mean weight.pth?\n"


@pytest.mark.parametrize("command", ["info", "pull", "lock", "verify", "load"])
def test_a_file_in_the_place_of_a_name_is_called_a_file(cli, original, monkeypatch, command):
    monkeypatch.chdir(original.parent)
    done = cli(command, original.name)
    assert done.err == (
        f"Error: {original.name} is a file, and not a name in the catalogue. See what it is: "
        f"detrex-hub inspect {original.name}\n"
    )


def test_a_folder_in_the_place_of_a_file_is_called_a_folder(cli, tmp_path):
    (tmp_path / "config.py").mkdir()
    done = cli("pull", "r18_v1", "--source", tmp_path)
    assert done.err == f"Error: {tmp_path} is a folder. --source takes a file or a URL\n"
    done = cli("check", tmp_path / "config.py")
    assert done.err.startswith(f"Error: {tmp_path / 'config.py'} is a folder and no config. Give")


def test_a_conversion_never_replaces_its_source(cli, tmp_path):
    source = tiny.original(tmp_path / "model.pth")
    before = source.read_bytes()
    (tmp_path / "link.pth").symlink_to(source)
    (tmp_path / "other").mkdir()
    for target in ("model.pth", "link.pth", "other/../model.pth"):
        done = cli("convert", source, "-o", tmp_path / target)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert f"{source} is the source of the weights, and" in done.err
        assert source.read_bytes() == before
    done = cli("convert", source, "-o", tmp_path / "folder")
    assert done.code == 0
    weights = tmp_path / "folder" / "model.safetensors"
    before = weights.read_bytes()
    done = cli("convert", weights, "-o", tmp_path / "folder")
    assert done.code == 2
    assert "_detrex" in done.err
    assert weights.read_bytes() == before


def test_the_path_of_an_option_is_read_as_shells_read_it(cli, tmp_path, original):
    done = cli("convert", original, "--output=~/out", "-q", HOME=str(tmp_path))
    assert (done.code, done.out) == (0, f"{tmp_path / 'out'}\n")
    done = cli("pull", "r18_v1", "--source", original, "-o", "weights/", "-q")
    assert done.out == f"weights/{original.name}\n"


@pytest.mark.parametrize(
    "command",
    [
        ("convert", ""),
        ("push", "", "alice/mine"),
        ("diff", "a.pth", ""),
        ("convert-and-push", "r18_v1", "", "--synthetic", "--dry-run"),
        ("convert-and-push", "r18_v1", "--synthetic", "--to", ""),
        ("convert", "r18_v1", "--synthetic", "-o", ""),
        ("list", "--catalogue", ""),
    ],
    ids=lambda command: command[0],
)
def test_an_unset_variable_does_not_mean_the_current_folder(cli, tmp_path, command):
    done = cli(*command)
    assert done.code == 2
    assert "it is empty. See: detrex-hub" in done.err
    assert not list((tmp_path / "here").iterdir())
