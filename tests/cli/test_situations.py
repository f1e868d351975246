"""Each file of `docs/situations.md` is built, and its command has the described result."""

import json
import re
import shlex

import pytest

from tests.situations import PAGE, page, situations

ALL = [*situations()]
_COMMAND = re.compile(r"detrex-hub .+?(?=$| or detrex-hub )")


def commands(text):
    """The commands in a line, as a reader would copy them."""
    return _COMMAND.findall(text)


def run(cli, command):
    program, *arguments = shlex.split(command)
    assert program == "detrex-hub"
    return cli(*arguments)


@pytest.mark.parametrize("one", ALL, ids=[f"{one.command}: {one.file[:40]}" for one in ALL])
def test_the_command_does_what_the_page_says(cli, tmp_path, one):
    one.build(tmp_path / "here")
    ended = run(cli, one.command)
    shown = ended.out + ended.err
    for text in one.says:
        assert text in shown
    assert "Traceback" not in shown
    if not one.refused:
        assert ended.code == 0, shown
        return
    assert ended.code in (1, 2), shown
    (line,) = [line for line in ended.err.splitlines() if line.startswith("Error: ")]
    if one.elsewhere:
        assert ": python" in line, line
        return
    offered = commands(line)
    assert offered, f"no command in: {line}"
    assert line.endswith(offered[-1])
    for command in offered:
        again = run(cli, command)
        assert again.code == 0, f"{command}\n{again.out}{again.err}"


FILES = {shlex.split(one.command)[2]: one for one in reversed(ALL)}


@pytest.mark.parametrize("file", FILES)
def test_inspect_describes_every_file_and_never_suggests_itself(cli, tmp_path, file):
    FILES[file].build(tmp_path / "here")
    ended = cli("inspect", file, "--json")
    document = json.loads(ended.out)
    assert "detrex-hub inspect" not in ended.out + ended.err
    assert (document["error"] is not None) >= (ended.code != 0)
    if document["error"] is not None:
        assert _COMMAND.search(document["error"]) or "python" in document["error"]
    plain = cli("inspect", file)
    assert plain.code == ended.code
    assert "detrex-hub inspect" not in plain.out + plain.err


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page(), "write it: python -m tests.situations"
