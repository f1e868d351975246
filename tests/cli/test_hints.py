"""Commands in messages have the options that the messages name."""

import ast
import re
from pathlib import Path

import pytest
import torch

import detrex_hub
from detrex_hub.cli.app import COMMANDS, group
from detrex_hub.cli.failures import _command_line
from tests.checkpoint_files import save

ROOT = Path(detrex_hub.__file__).parent
NAMED = re.compile(r"detrex-hub ([a-z][a-z-]*)((?: [^ \n;,|`'\")]+)*)")


def texts(path):
    """The strings of a module, with `…` for what is filled in."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = (one.value if isinstance(one, ast.Constant) else "…" for one in node.values)
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def options(command):
    return {name for one in group().commands[command].params for name in one.opts}


@pytest.mark.parametrize(
    "path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_commands_in_messages_have_their_options(path):
    for text in texts(path):
        for command, rest in NAMED.findall(text):
            if command not in COMMANDS:
                continue
            named = {word for word in rest.split() if re.fullmatch("--?[a-z][a-z-]*", word)}
            assert named <= {*options(command), "--help"}, text


@pytest.mark.parametrize(
    ("given", "choices", "shown"),
    [
        ("a.pth --prefix x -o out", ["--prefix model."], "a.pth -o out"),
        ("a.pth --prefix=x", ["--prefix model."], "a.pth"),
        ("a.pth --out=b --arch swin", ["--arch resnet --layout other"], "a.pth --out=b"),
        ("a.pth -o x -o y", ["-o z"], "a.pth"),
        ("a.pth --ema", ["--container x"], "a.pth"),
        ("a.pth --synthetic --dtype float16", ["--dtype float16", "--synthetic"], "a.pth"),
        # an option that may be given several times
        ("a.pth --fact a=b", ["--fact c=d"], "a.pth --fact a=b"),
    ],
)
def test_a_choice_replaces_the_given_option(given, choices, shown):
    line = _command_line(["convert", *given.split()], choices)
    assert line == f"detrex-hub convert {shown}"


def test_the_keys_of_an_unknown_folder_can_be_inspected(cli):
    Path("saved").mkdir()
    save(Path("saved/pytorch_model.bin"), {"odd.weight": torch.ones(2, 2)})
    ended = cli("convert", "saved", "-o", "out")
    assert ended.code == 1
    (line,) = [one for one in ended.err.splitlines() if one.startswith("Error: ")]
    assert line.endswith(": detrex-hub inspect saved --keys")
    assert cli("inspect", "saved", "--keys").code == 0


@pytest.mark.parametrize(
    ("command", "near"),
    [
        ("load ./hub/detrex/my_r50_v8", "./hub/detrex/my_r50_v9"),
        ("verify ./hub/detrex/MY_R50_V9", "./hub/detrex/my_r50_v9"),
        ("push ./hub/detrex/my_r50_v8 a/b --to out", "hub/detrex/my_r50_v9"),
        ("inspect my_dter.pth", "'my detr.pth'"),
        ("convert my_dter.pth", "'my detr.pth'"),
        ("convert r18_v1 --source my_dter.pth", "'my detr.pth'"),
        ("check confg.py", "config.py"),
        ("list --catalogue catalog.toml", "catalogue.toml"),
    ],
)
def test_a_mistyped_path_is_answered_with_the_nearest(cli, command, near):
    Path("hub/detrex/my_r50_v9").mkdir(parents=True)
    for name in ("my detr.pth", "config.py", "catalogue.toml"):
        Path(name).touch()
    ended = cli(*command.split())
    assert ended.code in (1, 2)
    assert ended.err.splitlines()[-1].endswith(f". Did you mean {near}?")


@pytest.mark.parametrize("command", ["convert", "export"])
@pytest.mark.parametrize("name", ["x.pt", "x.PTH", "x.ckpt"])
def test_a_file_that_is_not_written_is_no_folder(cli, command, name):
    ended = cli(command, "r18_v1", "-o", name)
    assert (ended.code, [*Path().iterdir()]) == (2, [])
    assert ended.err.endswith(f"Try: detrex-hub {command} r18_v1 -o x.pth\n")


@pytest.mark.parametrize(
    ("command", "kind"),
    [("cache prune --older-than x", "a number"), ("convert r18_v1 --seed x", "a whole number")],
)
def test_a_word_in_place_of_a_number_is_refused(cli, command, kind):
    assert f"'x' is not {kind}. See: " in cli(*command.split()).err


def test_a_name_in_place_of_a_family_is_published_by_its_name(cli):
    ended = cli("convert-and-push", "--only", "r18_v1", "--synthetic")
    assert ended.err.endswith("Publish it: detrex-hub convert-and-push r18_v1\n")


def test_a_malformed_catalogue_is_one_error(cli):
    Path("my.toml").write_text("[weights.mine]\ncolour = 1\n")
    ended = cli("convert-and-push", "r18_v1", "r34_v1", "--to", "x", "--catalogue", "my.toml")
    assert (ended.code, ended.out) == (1, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("Error: my.toml: [weights.mine]")
