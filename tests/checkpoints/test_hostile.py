"""Hostile files run no code, stay within limits, and are refused in one clear line."""

import json
import re
import subprocess
import sys

import pytest

from detrex_hub import checkpoints
from detrex_hub.cli.failures import run
from detrex_hub.errors import CheckpointError
from tests.checkpoints.crafted import PAIR, name, text
from tests.checkpoints.hostile.attacks import attacks, unrestricted
from tests.checkpoints.hostile.formats import FORMATS, keyed, weight, wrap
from tests.checkpoints.hostile.refused import REFUSED

ATTACKS = [*attacks("")]


@pytest.mark.parametrize("attack", ATTACKS)
def test_each_attack_works_on_an_unprotected_reader(tmp_path, attack):
    mark = tmp_path / "mark"
    unrestricted(attacks(mark)[attack])
    assert mark.exists()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_code_in_a_pickle_runs(tmp_path, attack, format):
    mark = tmp_path / "mark"
    code, good = attacks(mark)[attack], text("w") + weight(format)
    places = {
        "beside the weights": keyed(good, text("args"), code),
        "in place of a weight": keyed(good, text("v"), code),
        "as a key": keyed(good, code, b"N"),
        "before everything": code + b"0" + keyed(good),
        "as the state of a tensor": keyed(good + code + b"b"),
        "in place of all": code,
    }
    read = []
    for number, (place, root) in enumerate(places.items()):
        path = tmp_path / f"{number}.pth"
        wrap(format, root)(path)
        try:
            with checkpoints.open(path) as checkpoint:
                assert checkpoint.read("w") == PAIR
            read.append(place)
        except CheckpointError as error:
            assert "\n" not in str(error)
        assert not mark.exists(), place
    # data beside the weights is no reason to refuse them, unless it is false
    if "tensor" not in attack and "OrderedDict" not in attack and "load" not in attack:
        assert "beside the weights" in read


@pytest.mark.parametrize("format", FORMATS)
def test_no_module_is_imported(tmp_path, format):
    module = "wsgiref.validate"
    assert module not in sys.modules
    wrap(format, keyed(text("w"), weight(format), text("x"), name(module, "validator")))(
        tmp_path / "x.pth"
    )
    with checkpoints.open(tmp_path / "x.pth") as checkpoint:
        assert checkpoint.placeholders == (f"{module}.validator",)
    assert module not in sys.modules


@pytest.mark.parametrize("file", REFUSED, ids=str)
def test_each_is_refused_with_one_clear_line(tmp_path, capfd, file):
    path = tmp_path / "x.pth"
    file.write(path)
    try:
        with checkpoints.open(path) as checkpoint:
            for key in checkpoint.specs:
                checkpoint.read(key)
    except CheckpointError as error:
        said = str(error)
    else:
        pytest.fail("it was read")
    assert re.search(file.says, said), said
    assert str(path) in said
    assert said.isprintable()
    assert len(said) < 1000 + len(str(path))


# errors in a tensor's bytes are found when they are read, and inspect does not read them
LATER = re.compile(r"tensor flipped|in its header|begins elsewhere")
AT_ONCE = [file for file in REFUSED if not LATER.search(file.name)]


@pytest.mark.parametrize("file", AT_ONCE[:: len(AT_ONCE) // 16], ids=str)
@pytest.mark.parametrize("command", ["inspect", "convert"])
def test_a_command_refuses_it_in_one_line_and_writes_nothing(
    tmp_path, capfd, monkeypatch, command, file
):
    monkeypatch.chdir(tmp_path)
    file.write(tmp_path / "x.pth")
    assert run([command, "x.pth"]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("Error: x.pth: ")
    assert err.count("\n") == 1
    assert re.search(file.says, err)
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]


# a file may take 256 MiB; this is the part that the budget of a pickle's objects leaves
MOST_MEMORY = 200 << 20


def test_no_small_file_takes_much_memory_or_time(tmp_path):
    command = [sys.executable, "-m", "tests.checkpoints.hostile.peak", str(tmp_path)]
    # a process ends after a minute of processor time; most files take less than a second
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) > 60
    assert {title: taken for title, _, taken, *_ in found if taken > MOST_MEMORY} == {}
    said = {title: what for title, what, *_ in found}
    assert said["zip: 2**60 lists in 60"] == "read"
    assert "of memory" in said["zip: a million keys"]
    assert "no state dict" in said["zip: a dict of itself"]
    assert "more than 100,000 tensors" in said["zip: a tensor under many names"]
    assert all(what.isprintable() for what in said.values())
