"""Any value in a field of a record is used, or refused in one line.

Every field gets every value. The schema accepts few of them; the commands then run with those.
"""

import copy
import itertools
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from detrex_hub.card import render_folder
from detrex_hub.checking import check_config
from detrex_hub.comparison import diff
from detrex_hub.conversion import convert
from detrex_hub.errors import DetrexHubError, HubError
from detrex_hub.exporting import export
from detrex_hub.inspection import inspect
from detrex_hub.loading import apply_overrides, from_hub, load_state_dict
from detrex_hub.records import ConversionRecord, RepositoryConfig
from detrex_hub.repositories import push
from detrex_hub.strict_json import parse_json
from detrex_hub.verification import verify
from tests import tiny
from tests.repositories.test_hostile import one_line

RECORDS = {"config.json": RepositoryConfig, "conversion.json": ConversionRecord}
VALUES = (
    None,
    True,
    -1,
    0,
    1,
    2**31,
    2**70,
    10**400,
    0.5,
    -1e-300,
    1e300,
    "",
    "x" * 4000,
    "x" * 5000,
    "\x1b[2J\nError: fake\u202e",
    "\ud800",
    "\0",
    "../../etc/passwd",
    "/etc/passwd",
    "__import__('os').system('touch mark')",
    "${oc.env:HOME}",
    "RGB",
    "resnet",
    "detrex",
    "model.pth",
    "http://[::",
    "file:///etc/passwd",
    [],
    [-1],
    ["x"],
    [0, 0, 0, 0],
    [1] * 900,
    [1] * 2000,
    [[0, 2**52]],
    [[[[[1]]]]],
    [{"fresh": -1}],
    [{"op": "x", "of": [], "args": {}}],
    ["F32", [2**39] * 9],
    ["F4", [1]],
    {},
    {"": ""},
    {"self": 1},
    {"a": "b", "b": "a"},
    {"x" * 5000: 1},
    {"_target_": "os.system", "command": "touch mark"},
)
COMMANDS = (
    ("load", "./r"),
    ("verify", "./r", "--no-source"),
    ("export", "./r", "--to", "original", "-o", "e.pth"),
    ("card", "./r"),
    ("push", "./r", "alice/r", "--to", "hub"),
    ("inspect", "./r"),
    ("check", "config.yaml", "--checkpoint", "./r", "--target", "r18_v1"),
)
# the number of changed records for the commands: enough for each field and each command
MOST = 60


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    place = tmp_path_factory.mktemp("small")
    return convert(tiny.original(place / "tiny.pth"), place / "made").folder


@pytest.fixture(scope="module", params=["backbone", "detector"])
def made(request, small, tmp_path_factory):
    if request.param == "backbone":
        return small
    place = tmp_path_factory.mktemp("made")
    original = tiny.detector(place / "tiny.pth")
    return convert(original, place / "made", architecture="deformable_detr").folder


def places(value, path=()):
    """The path to every value in a record; in long lists and tables only to the first few."""
    if path:
        yield path
    inside = value.items() if isinstance(value, dict) else ()
    inside = enumerate(value) if isinstance(value, list) else inside
    for name, one in itertools.islice(inside, 30 if len(path) < 2 else 3):
        yield from places(one, (*path, name))


def changes(document):
    """The document with one value changed, for every path and every value."""
    for *parents, leaf in places(document):
        for value in (*VALUES, "absent", "renamed"):
            changed = copy.deepcopy(document)
            node = changed
            for name in parents:
                node = node[name]
            if value == "absent":
                del node[leaf]
            elif value == "renamed" and isinstance(node, dict):
                node["\x1b[2Jx"] = node.pop(leaf)
            else:
                node[leaf] = value
            yield changed


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_used_or_refused_in_one_line(made, tmp_path, hub, monkeypatch, capfd, name):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made, "r")
    record = tmp_path / "r" / name
    (tmp_path / "config.yaml").write_text("model: {backbone: {}}\n")
    accepted = []
    for changed in changes(json.loads(record.read_text())):
        text = json.dumps(changed)
        try:
            RECORDS[name].from_json(parse_json(text, where=name), where=name)
        except DetrexHubError as error:
            assert len(str(error)) < 400
            assert "\n" not in str(error)
        else:
            accepted.append(text)
    commands = itertools.cycle(COMMANDS)
    ended = set()
    for text in accepted[:: len(accepted) // MOST + 1]:
        record.write_text(text)
        ended.add(one_line(capfd, next(commands)))
        try:
            load_state_dict("./r")
        except DetrexHubError as error:
            assert "\n" not in str(error)
    assert ended == {0, 1}
    assert not (tmp_path / "mark").exists()


def loop(path):
    path.symlink_to("other")
    path.with_name("other").symlink_to(path.name)


KINDS = {
    "nothing": lambda path: None,
    "nothing in it": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(4096)),
    "UTF-16": lambda path: path.write_text("{}", encoding="utf-16"),
    "a byte order mark": lambda path: path.write_text("{}", encoding="utf-8-sig"),
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a loop of links": loop,
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to endless zeros": lambda path: path.symlink_to("/dev/zero"),
}
JOBS = {
    "from_hub": lambda: from_hub("./r"),
    "load_state_dict": lambda: load_state_dict("./r"),
    "apply_overrides": lambda: apply_overrides(OmegaConf.create({"model": {}}), "./r"),
    "verify": lambda: verify("./r", repeat=False),
    "export": lambda: export("./r", "e.pth"),
    "card": lambda: render_folder(Path("r"), {}),
    "push": lambda: push("./r", "alice/r", to="hub"),
    "inspect": lambda: inspect("./r"),
    "check": lambda: check_config("config.yaml", "./r", target="r18_v1"),
    "diff": lambda: diff("./r", "./r"),
}


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS.keys())
def test_anything_in_place_of_a_file_is_used_or_refused(small, tmp_path, hub, monkeypatch, job):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("model: {backbone: {}}\n")
    for name in (*RECORDS, "README.md", "model.safetensors"):
        for make in KINDS.values():
            shutil.rmtree("r", ignore_errors=True)
            shutil.copytree(small, "r")
            path = tmp_path / "r" / name
            path.unlink()
            make(path)
            with suppress(DetrexHubError):
                job()


def test_a_pipe_at_the_push_target_does_not_block(small, tmp_path, hub):
    push(small, "alice/r", to=tmp_path)
    (tmp_path / "alice" / "r" / "README.md").unlink()
    os.mkfifo(tmp_path / "alice" / "r" / "README.md")
    with pytest.raises(HubError, match="not a regular file"):
        push(small, "alice/r", to=tmp_path)
