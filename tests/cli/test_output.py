"""Commands print results on stdout, and progress and hints on stderr."""

import ast
import fcntl
import io
import json
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from rich.console import Console

import detrex_hub
from detrex_hub import comparison
from detrex_hub.cli.app import COMMANDS, group
from detrex_hub.cli.bars import bars
from detrex_hub.conversion import convert
from tests import tiny
from tests.hub_server import Fault, contents, converted_folder

CLI = Path(detrex_hub.__file__).parent / "cli"


def statements(nodes):
    """The number of statements in a body, with nested ones."""
    return sum(isinstance(one, ast.stmt) for node in nodes for one in ast.walk(node))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_short(name):
    tree = ast.parse((CLI / f"{name.replace('-', '_')}.py").read_text())
    (command,) = [
        one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == "command"
    ]
    _docstring, *body = command.body
    assert statements(body) <= 15


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text(name):
    helps = {one.name: one.help for one in group().commands[name].params if one.opts[0][0] == "-"}
    assert [option for option, text in helps.items() if not text or text[-1] != "."] == []
    nouns = ("The ", "A ", "An ", "Their ", "How ", "Whether ", "What ")
    assert [option for option, text in helps.items() if text.startswith(nouns)] == []


def test_no_summary_is_cut_off_in_80_columns(cli):
    text = cli("--help", COLUMNS="80").out
    rows = dict(re.findall(r"^  ([a-z][a-z-]*)  +(\S.*)$", text, re.MULTILINE))
    assert rows.keys() == set(COMMANDS)
    assert [summary for summary in rows.values() if summary.endswith("...")] == []


@pytest.fixture
def chatty(monkeypatch, original):
    """Arguments of a command that prints and logs while it works, as building a model may."""
    real = comparison.diff

    def prints(*arguments, **keywords):
        print("Build model with 300 queries")
        logging.getLogger("detrex_hub.model").warning("no pretrained weights")
        return real(*arguments, **keywords)

    monkeypatch.setattr(comparison, "diff", prints)
    return ("diff", original, original)


def test_other_prints_stay_off_stdout(cli, chatty):
    done = cli(*chatty, "--json")
    assert json.loads(done.out)["equal"]
    assert "300 queries" in done.err
    assert "300 queries" in cli(*chatty).err
    assert "300 queries" not in cli(*chatty).out


def test_log_records_are_hints(cli, chatty):
    assert "no pretrained weights\n" in cli(*chatty).err
    assert "no pretrained weights" not in cli(*chatty, "--json").err


def test_quiet_prints_the_bare_result_and_nothing_on_stderr(cli, chatty):
    done = cli(*chatty, "--quiet")
    assert (done.out, done.err) == ("", "")


@pytest.mark.parametrize("option", ["--quiet", "--json"])
def test_a_retry_is_a_hint(cli, hub, naps, tmp_path, option):
    folder = convert(tiny.original(tmp_path / "tiny.pth"), tmp_path / "tiny").folder
    hub.put("alice/tiny", contents(folder))
    hub.put("alice/twin", contents(folder) | {"model.safetensors.index": b"another repository"})
    hub.storage.inject("GET", "/objects/*", Fault.status(503), times=2)
    assert "localhost: 503; next try in 1 s" in cli("load", "alice/tiny").err
    assert cli("load", "alice/twin", option).err == ""


def test_each_file_has_one_bar_with_the_name_of_its_weights():
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    with bars(console) as shown:
        shown.start("pushing convnext_tiny", None)
        shown.start("uploading convnext_tiny_22k_1k_384_of_mine", 111_300_000)
        shown.advance(100_700_000)
        console.file.truncate(0)
        shown.display.refresh()
        drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue().strip("\0"))
    (line,) = [line for line in re.split(r"[\r\n]+", drawn) if line.strip()]
    assert line.startswith("uploading convnext_tiny_22k_1k_38…")
    assert "100.7/111.3 MB" in line
    # a terminal echoes ^C at the end of the line
    assert len(line) <= 78


@pytest.fixture
def terminal(hub, tmp_path):
    """`terminal("load", …)` runs a command whose stderr is a terminal. Returns its exit code, its
    stdout, and the output on the terminal."""

    def _terminal(*arguments):
        ours, theirs = pty.openpty()
        # 24 lines, 80 columns
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "TERM": "xterm"}
        for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_VERBOSITY"):
            environment.pop(name, None)
        command = [sys.executable, "-m", "detrex_hub", *map(str, arguments)]
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=theirs, text=True
        )
        os.close(theirs)
        got = bytearray()
        try:
            while piece := os.read(ours, 4096):
                got += piece
        except OSError:
            pass  # Linux reports the end of a terminal as an error
        finally:
            os.close(ours)
        out, _ = process.communicate()
        return process.returncode, out, got.decode()

    return _terminal


@pytest.mark.parametrize("option", [None, "--quiet", "--json"])
def test_only_our_progress_bars_are_drawn(terminal, login, tmp_path, option):
    login("alice")
    folder = converted_folder(tmp_path / "r18", b"weights" * 500_000)
    code, out, drawn = terminal(*filter(None, ("push", folder, "alice/r18", option)))
    assert code == 0
    assert "alice/r18" in out
    # huggingface_hub's bars have the name of the file
    assert "model.safetensors" not in drawn
    if option is not None:
        assert drawn == ""


@pytest.mark.parametrize("option", ["--quiet", "--json"])
def test_a_quiet_download_draws_no_bar(terminal, hub, tmp_path, option):
    folder = convert(tiny.original(tmp_path / "tiny.pth"), tmp_path / "tiny").folder
    hub.put("alice/tiny", contents(folder))
    code, out, drawn = terminal("load", "alice/tiny", option)
    assert (code, drawn) == (0, "")
    assert "tiny.pth" in out
