"""A command that a message names has the options that are named with it."""

import ast
import re
from pathlib import Path

import pytest

import detrex_hub
from detrex_hub.cli.app import COMMANDS, group

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
