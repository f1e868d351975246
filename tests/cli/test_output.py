"""What a command prints beside its result, and where."""

import ast
import json
import logging
import re
from pathlib import Path

import pytest

import detrex_hub
from detrex_hub import comparison
from detrex_hub.cli.app import COMMANDS
from detrex_hub.conversion import convert
from tests import tiny
from tests.hub_server import Fault, contents

CLI = Path(detrex_hub.__file__).parent / "cli"


def statements(nodes):
    """How many statements a body has, with those inside of them."""
    return sum(isinstance(one, ast.stmt) for node in nodes for one in ast.walk(node))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_short(name):
    tree = ast.parse((CLI / f"{name.replace('-', '_')}.py").read_text())
    (command,) = [
        one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == "command"
    ]
    _docstring, *body = command.body
    assert statements(body) <= 15


def test_no_summary_is_cut_off_in_80_columns(cli):
    text = cli("--help", COLUMNS="80").out
    rows = dict(re.findall(r"^  ([a-z][a-z-]*)  +(\S.*)$", text, re.MULTILINE))
    assert rows.keys() == set(COMMANDS)
    assert [summary for summary in rows.values() if summary.endswith("...")] == []


@pytest.fixture
def chatty(monkeypatch, original):
    """Arguments of a command whose work prints and logs, as building a model may."""
    real = comparison.diff

    def prints(*arguments, **keywords):
        print("Build model with 300 queries")
        logging.getLogger("detrex_hub.model").warning("no pretrained weights")
        return real(*arguments, **keywords)

    monkeypatch.setattr(comparison, "diff", prints)
    return ("diff", original, original)


def test_whatever_prints_while_a_command_works_stays_off_stdout(cli, chatty):
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
    assert "next try" in cli("load", "alice/tiny").err
    assert cli("load", "alice/twin", option).err == ""
