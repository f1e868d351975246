"""Hostile repositories run no code, and impossible content is refused in one line."""

import json
import os
import re
import shutil

import pytest
import torch
import yaml

from detrex_hub import repositories as hubs
from detrex_hub.architectures import architecture
from detrex_hub.cli.failures import run
from detrex_hub.conversion import convert
from detrex_hub.errors import (
    ArchitectureError,
    ConfigError,
    DetrexHubError,
    HubError,
    UsageError,
)
from detrex_hub.loading import from_hub, load_state_dict
from detrex_hub.records import load_json
from detrex_hub.verification import verify
from tests import reference, tiny
from tests.checkpoint_files import tensors


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A converted folder of a tiny ConvNeXt."""
    place = tmp_path_factory.mktemp("made")
    return convert(tiny.original(place / "tiny.pth"), place / "tiny").folder


@pytest.fixture
def copy(made, tmp_path, hub, monkeypatch):
    """A copy of the folder in the working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made, tmp_path / "r")
    return tmp_path / "r"


def one_line(capfd, arguments):
    """Run a command. It succeeds, or fails with one line."""
    capfd.readouterr()
    code = run(arguments)
    err = capfd.readouterr().err
    assert code in (0, 1, 2)
    if code:
        assert err.startswith("Error: "), err
        assert err.count("\n") == 1, err
        assert err[:-1].isprintable()
        assert "internal error" not in err, err
    return code


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not valid JSON"),
        (b"\xff\xfe{}", "not valid Unicode"),
        (b'{"a": "\\ud800"}', "not valid Unicode"),
        (b'{"a": 1e999}', "1e999 is not a finite number"),
        (b"[" + b"0," * 200_001 + b"0]", "more than 200000 values"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"a": 1, "a": 2}', "'a' occurs twice"),
        (b'{"a": {"b": 1, "c": 2, "b": 1}}', "'b' occurs twice"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not valid JSON|digits"),
        (b"[]", "should be an object"),
        (b" " * (2**20 + 1), "larger than 1 MiB"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_a_malformed_json_record_is_refused(copy, content, says):
    (copy / "config.json").write_bytes(content)
    with pytest.raises(ConfigError, match=says) as caught:
        from_hub("./r")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


# --- ties ----------------------------------------------------------------------------------------

STORED, OTHER = "class_embed.0.bias", "class_embed.1.weight"


@pytest.fixture(scope="module", params=["safetensors", "pth"])
def detector(request, tmp_path_factory):
    """A converted folder of a tiny detector with tied keys."""
    place = tmp_path_factory.mktemp("detector")
    original = tiny.detector(place / "detector.pth")
    return convert(
        original, place / "made", architecture="deformable_detr", format=request.param
    ).folder


@pytest.fixture
def tied(detector, tmp_path, hub, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(detector, tmp_path / "r")
    return tmp_path / "r"


def test_tied_keys_share_a_tensor_when_they_are_loaded(tied):
    ties = load_json(tied / "config.json")["checkpoint"]["ties"]
    assert len(ties) == 24
    for state in (load_state_dict("./r"), torch.load(from_hub("./r"))["model"]):
        for alias, stored in ties.items():
            assert state[alias].data_ptr() == state[stored].data_ptr()


@pytest.mark.parametrize(
    ("ties", "says"),
    [
        ({STORED: STORED}, "itself an alias"),
        ({"a": STORED, STORED: OTHER}, "itself an alias"),
        ({OTHER: STORED}, "a tensor of its own"),
        (
            {"class_embed.1.bias": STORED, "bbox_embed.0.layers.0.bias": STORED},
            "a tensor of its own",
        ),
        ({"a": "no.such.key"}, "the tied key 'no.such.key' is not in"),
        ({"a": "no\nkey\x1b[2J"}, "the tied key"),
    ],
    ids=str,
)
def test_ties_that_contradict_the_file_are_refused(tied, capfd, ties, says):
    document = load_json(tied / "config.json")
    document["checkpoint"]["ties"] = ties
    (tied / "config.json").write_text(json.dumps(document))
    (tied.parent / "config.yaml").write_text("model: {backbone: {}}\n")
    for job in (from_hub, load_state_dict, verify):
        with pytest.raises(DetrexHubError, match=says):
            job("./r")
    arguments = ["check", "config.yaml", "--checkpoint", "./r", "--target", "r18_v1"]
    assert one_line(capfd, arguments) == 1


NAMES = (
    "../evil/r",
    "a/../b",
    "a/..",
    "a/b/c",
    "a//b",
    "a\\b/c",
    "a/b\0c",
    "a/b\n",
    "a/b@../../x",
    "a/b@x..y",
    "a/b@",
    "-a/b",
    "a/.b",
    "a/b.git",
    "a/b--c",
    "https://evil.example/a/b",
    "file:///etc/passwd",
    "hf://../x",
    "%2e%2e/b",
    "ä/b",
    "a/" + "b" * 200,
)


@pytest.mark.parametrize("name", NAMES)
def test_an_unsafe_name_is_refused_without_a_request(hub, copy, name):
    with pytest.raises((UsageError, HubError)) as caught:
        from_hub(name)
    assert str(caught.value).isprintable() or "\n" in name or "\0" in name
    with pytest.raises((UsageError, HubError)):
        hubs.push(copy, name, to="hub")
    assert not (copy.parent / "hub").exists()
    assert not hub.seen()


@pytest.mark.parametrize(
    "file", ["../x", "/etc/passwd", "a/../../b", "a\\..\\b", ".git/config", ""]
)
def test_no_file_outside_the_repository_is_fetched(hub, copy, file):
    with pytest.raises(UsageError, match="not the name of a file"):
        hubs.fetch("./r", [file])


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_links_out_of_a_folder_are_not_followed(copy, tmp_path, file):
    shutil.move(copy / file, tmp_path / "outside")
    (copy / file).symlink_to(tmp_path / "outside")
    with pytest.raises(HubError, match="symbolic link"):
        from_hub("./r")
    with pytest.raises(HubError, match="symbolic link"):
        hubs.push(copy, "alice/r", to="hub")


@pytest.mark.parametrize("name", ["alice", "alice/r"])
def test_a_push_follows_no_link_out_of_its_folder(copy, tmp_path, name):
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "hub"
    elsewhere.mkdir()
    (root / name).parent.mkdir(parents=True)
    (root / name).symlink_to(elsewhere, target_is_directory=True)
    with pytest.raises(HubError, match="symbolic link"):
        hubs.push(copy, "alice/r", to=root)
    assert [*elsewhere.iterdir()] == []


def test_a_special_file_does_not_block(copy):
    (copy / "config.json").unlink()
    os.mkfifo(copy / "config.json")
    with pytest.raises(HubError):
        from_hub("./r")
    with pytest.raises(HubError, match="not a regular file"):
        hubs.push(copy, "alice/r", to="hub")


def test_hyper_parameters_of_huge_models_are_refused():
    convnext, dino = architecture("convnext"), architecture("dino")
    for values in (
        {"depths": [10**6] * 4, "dims": [8, 16, 24, 32]},
        {"depths": [1, 1, 1, 1], "dims": [2**40] * 4},
        {"depths": [-(10**9), 10**9, 1, 1], "dims": [8, 16, 24, 32]},
        {"depths": [1] * 1000, "dims": [8] * 1000},
    ):
        with pytest.raises(ArchitectureError, match="invalid hyper-parameters of convnext"):
            convnext.from_hyper_parameters(values)
    released = reference_parameters(dino)
    assert dino.from_hyper_parameters(released).encoder_layers == released["encoder_layers"]
    with pytest.raises(ArchitectureError, match="invalid hyper-parameters of dino"):
        dino.from_hyper_parameters(released | {"encoder_layers": 2**31})


def reference_parameters(kind):
    specs = reference.load("dino_r50_4scale").source
    return kind.read(specs, "original", {}).hyper_parameters()


# --- cards ---------------------------------------------------------------------------------------

EVIL = "\n---\nlicense: mit\n---\n# <script>alert(1)</script> [x](javascript:alert(1)) | `a`\x1b[J"


def test_text_in_a_checkpoint_never_becomes_markup_or_metadata(tmp_path):
    kind = architecture("convnext").from_hyper_parameters(tiny.HYPER_PARAMETERS)
    specs, _ = kind.original()
    state = tensors(specs)
    state[f"head.{EVIL}"] = torch.ones(3)
    source = tmp_path / f"{EVIL.replace('/', '')}.pth"
    torch.save({"model": state, "args": {"name": EVIL}, EVIL: EVIL}, source)
    text = (convert(source, tmp_path / "made").folder / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    assert "license" not in yaml.safe_load(head)
    assert "\n---\n" not in body
    assert "<script>" not in body
    assert not re.search(r"(?<!\\)\]\(javascript", body)
    assert "\x1b" not in text
    # the key was dropped, and the card shows it as code
    assert "script" in body


def test_a_card_of_another_licence_is_not_pushed(hub, login, tmp_path, monkeypatch):
    login("alice")
    content = tiny.original(tmp_path / "tiny.pth").read_bytes()
    url = "https://example.org/tiny.pth"
    monkeypatch.setenv("DETREX_HUB_CATALOGUE", str(tmp_path / "mine.toml"))
    tiny.catalogue(tmp_path / "mine.toml", url, content)
    folder = convert(tiny.NAME, tmp_path / "r", source=str(tmp_path / "tiny.pth")).folder
    record = load_json(folder / "conversion.json")
    record["source"]["url"] = url
    (folder / "conversion.json").write_text(json.dumps(record))
    card = (folder / "README.md").read_text()
    assert "\nlicense: mit\n" in card
    hubs.push(folder, "alice/good")
    for line in ("license: apache-2.0\n", ""):
        (folder / "README.md").write_text(card.replace("license: mit\n", line, 1))
        for to in (None, tmp_path / "hub"):
            with pytest.raises(HubError, match="that of tiny is mit"):
                hubs.push(folder, "alice/r", to=to)
    assert [*hub.repositories] == ["alice/good"]
    assert not (tmp_path / "hub").exists()


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("dab_detr", {"pe_temperatureH": float("inf"), "pe_temperatureW": float("inf")}),
        ("dab_detr", {"pe_temperatureH": 2**2000, "pe_temperatureW": 2**2000}),
        ("dab_detr", {"pe_temperatureH": -20, "pe_temperatureW": -20}),
        *(
            ("dab_detr", {"pe_temperatureH": value, "pe_temperatureW": value})
            for value in ("20", True, [20], {"_target_": "os.system"}, 20j, float("nan"))
        ),
        ("dab_detr", {"pe_temperatureH": 20, "pe_temperatureW": 10}),
        ("dab_detr", {"dilation": "true"}),
        ("dino", {"nheads": 0}),
        ("dino", {"nheads": 10**300}),
        ("h_deformable_detr", {"num_queries_one2one": -300}),
    ],
)
def test_impossible_arguments_beside_weights_are_ignored(kind, arguments):
    assert architecture(kind).facts_in({"args": arguments}) == {}


@pytest.mark.parametrize("described", ["{", "[]", "{}", '{"a": 1, "a": 2}', "[" * 100_000, "NaN"])
def test_a_checkpoint_with_an_invalid_description_is_refused(tmp_path, capfd, described):
    checkpoint, config = tmp_path / "x.pth", tmp_path / "config.yaml"
    torch.save({"model": {"w": torch.ones(1)}, "detrex_hub": described}, checkpoint)
    config.write_text("model: {backbone: {}}\n")
    arguments = ["check", str(config), "--checkpoint", str(checkpoint), "--target", "r18_v1"]
    assert one_line(capfd, arguments) == 1
