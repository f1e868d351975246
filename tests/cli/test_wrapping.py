"""Long lines are wrapped at spaces in a terminal, and are one line elsewhere."""

import pytest

from detrex_hub.cli.app import COMMANDS
from detrex_hub.cli.wrapping import wrapped
from detrex_hub.conversion import convert
from tests import tiny

LONG = f"/weights/{'of-a-long-name/' * 6}r101.pth"


@pytest.fixture
def files(hub, tmp_path, monkeypatch):
    """A checkpoint, and the folder of its conversion."""
    file = tiny.original(tmp_path / "tiny.pth")
    convert(file, tmp_path / "tiny")
    return tmp_path


def words(text):
    """The words of printed lines, without the marks of commands that continue."""
    return text.replace(" \\\n", "\n").split()


def fits(text, columns):
    return all(len(line) <= columns or len(line.split()) == 1 for line in text.splitlines())


@pytest.mark.parametrize(
    "arguments",
    [
        "info dino_r50_4scale_12ep",
        "verify {}/tiny",
        "export {}/tiny --to original -o out.pth",
        "convert {}/tiny.pth --dry-run",
        "convert {}/tiny.pth -o out",
        "convert {}/no/such/file.pth --source x.pth",
        "push {}/tiny a_name_of_a_repository_that_is_too_long_to_be_taken_by_the_hub/" + "r" * 90,
        "list --license none-of-the-licences-that-any-entry-of-the-catalogue-states",
    ],
)
def test_a_terminal_breaks_lines_at_spaces(cli, on_terminal, files, arguments):
    command = arguments.format(files).split()
    piped = cli(*command)
    shown = on_terminal(80, *command)
    assert not fits(piped.out + piped.err, 80)
    assert fits(shown.out + shown.err, 80)
    assert words(shown.out) == words(piped.out)
    assert words(shown.err) == words(piped.err)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_80_columns(on_terminal, name):
    assert fits(on_terminal(80, name, "--help").out, 80)


def test_bare_lines_stay_whole(on_terminal, tmp_path):
    place = tmp_path / f"a folder with spaces {'and a long name ' * 5}"
    assert on_terminal(80, "zoo", "-o", place / "zoo.html").out == f"{place}/zoo.html\n"
    card = on_terminal(80, "card", "r101_v2").out
    assert max(map(len, card.splitlines())) > 80


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("short", ["short"]),
        ("", [""]),
        # below the value of a label
        ("title  one two three four five", ["title  one two three", "         four five"]),
        # a word that fits less indentation, and one that fits nowhere
        ("title  one 0123456789abcdef x", ["title  one", "    0123456789abcdef", "         x"]),
        (f"path {LONG} is a file", ["path", LONG, "  is a file"]),
        # a value stays beside its name
        ("facts  a = 1 bcdef = 2345", ["facts  a = 1", "        bcdef = 2345"]),
        # a command can be pasted
        (
            "no file. Try: detrex-hub load x --revision 'a b' or detrex-hub list",
            [
                "no file. Try:",
                "  detrex-hub load \\",
                "  x --revision 'a b'",
                "  or detrex-hub list",
            ],
        ),
        ("名前名前名前 名前名前", ["名前名前名前", "  名前名前"]),
    ],
)
def test_a_line_is_wrapped(line, shown):
    assert [*wrapped(line, 20)] == shown
