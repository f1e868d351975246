"""The output, the files and the refusals of each command."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch

from detrex_hub import __version__, catalogue
from detrex_hub.cli.app import COMMANDS, group
from detrex_hub.records import load_json
from tests import reference
from tests.hub_server import converted_folder

SIDE_FILES = ["README.md", "config.json", "conversion.json"]


def one_line(result, code=1):
    """The single line on stderr of a refused command."""
    assert result.code == code, result.err
    assert result.out == ""
    lines = [line for line in result.err.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    assert result.err.splitlines()[-1] == lines[0]
    assert "Traceback" not in result.err
    return lines[0]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_version_is_printed(cli):
    assert cli("--version").out == f"detrex-hub {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_that_parse(cli, name):
    result = cli(name, "--help")
    assert result.code == 0
    examples = [
        line.strip() for line in result.out.splitlines() if line.strip().startswith("detrex-hub ")
    ]
    assert examples
    commands = group().commands
    for line in examples:
        _, command, *rest = shlex.split(line)
        assert command == name
        commands[command].make_context(command, rest)


def test_all_commands_accept_json_and_quiet(cli):
    for name in COMMANDS:
        text = cli(name, "--help").out
        assert "--json" in text and "--quiet" in text, name


def test_list_shows_every_entry(cli):
    known = catalogue.load_entries()
    assert cli("list", "--quiet").out.split() == list(known)
    assert [one["name"] for one in cli("list", "--json").document] == list(known)
    rows = [line.split("\t") for line in cli("list", "resnet").out.splitlines()]
    assert ["r18_v1", "ResNet-18", "acc@1 69.8"] in [row[:3] for row in rows]
    assert all(row[1].startswith(("ResNet", "ResNeXt", "Wide ResNet")) for row in rows)


def test_info_shows_sources_accuracy_and_overrides(cli):
    text = cli("info", "r101_v2").out
    assert "resnet101-cd907fc2.pth" in text
    assert "81.886" in text
    assert "model.backbone.stages.depth = 101" in text
    document = cli("info", "r101_v2", "--json").document
    assert document["overrides"]["yacs"]["MODEL.RESNETS.DEPTH"] == 101


def test_info_shows_the_facts_that_a_conversion_accepts(cli):
    text = cli("info", "detr_r50").out
    assert "--fact position_temperature=…  temperature of the sine position embedding: " in text
    assert "--fact image_format=…  order of the image's channels: RGB or BGR" in text
    takes = cli("info", "detr_r50", "--json").document["takes"]
    assert takes["num_heads"]["values"] == "an integer from 1 to 65536"
    assert "position_offset" not in cli("info", "r101_v2", "--json").document["takes"]


def test_an_unknown_name_suggests_the_nearest(cli):
    assert "r101_v2" in one_line(cli("info", "r101v2"), 2)


def test_custom_entries_are_added(cli, original, tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(
        '[weights.mine]\narchitecture = "resnet"\nlayout = "torchvision"\ntitle = "Mine"\n'
        f'license = "mit"\nurl = "https://example.org/{original.name}"\n'
    )
    assert "mine" in cli("list", "--catalogue", path, "--quiet").out.split()
    assert "mine" in cli("list", "-q", DETREX_HUB_CATALOGUE=str(path)).out.split()
    done = cli("convert", "mine", "--source", original, "--catalogue", path, "--json")
    assert done.document["folder"] == "mine"


def test_pull_prints_the_path(cli, original, tmp_path):
    done = cli("pull", "r18_v1", "--source", original, "-o", tmp_path / "copy.pth", "--quiet")
    assert done.out == f"{tmp_path / 'copy.pth'}\n"
    assert done.err == ""
    assert (tmp_path / "copy.pth").read_bytes() == original.read_bytes()


def test_inspect_shows_the_architecture_and_the_reason(cli, detector):
    text = cli("inspect", detector).out
    assert "conditional_detr (original)" in text
    assert "argparse.Namespace" in text
    document = cli("inspect", detector, "--json").document
    assert document["architecture"] == "conditional_detr"
    assert document["container"] == "model"
    assert document["hyper_parameters"]["num_queries"] == 300
    assert document["overrides"]["model.num_queries"] == 300
    assert document["assumed"]["image_format"] == "RGB"
    specs = reference.load("conditional_detr_r50").source
    assert document["tensors"].keys() == specs.keys()


def test_inspect_shows_a_file_of_no_known_architecture(cli, tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"conv1.weight": torch.ones(2), "layer1.0.conv1.weight": torch.ones(2)}, path)
    result = cli("inspect", path)
    assert (result.code, result.err) == (0, "")
    assert "layer1.0.conv1.weight" in result.out
    assert "nearest is resnet" in result.out
    document = cli("inspect", path, "--json").document
    assert (document["architecture"], "nearest is resnet" in document["refusal"]) == (None, True)
    assert cli("inspect", path, "--quiet").out == "unknown\n"


def test_convert_writes_a_folder_named_after_the_weights(cli, original, tmp_path):
    done = cli("convert", "r18_v1", "--source", original)
    assert done.code == 0
    folder = tmp_path / "here" / "r18_v1"
    assert names(folder) == [*SIDE_FILES, "filters.png", "model.safetensors"]
    assert cli("verify", folder).code == 0
    assert names(tmp_path / "here") == ["r18_v1"]


@pytest.mark.parametrize("format", ["safetensors", "pth", "pkl"])
def test_convert_writes_each_format(cli, original, tmp_path, format):
    done = cli("convert", original, "-o", "out", "--format", format, "--quiet")
    assert done.out == "out\n"
    assert names(tmp_path / "here" / "out") == [*SIDE_FILES, "filters.png", f"model.{format}"]
    assert cli("verify", "out").code == 0


def test_an_output_name_with_an_ending_writes_only_that_file(cli, original, tmp_path):
    assert cli("convert", original, "-o", "r18_v1.pkl").code == 0
    assert names(tmp_path / "here") == ["r18_v1.pkl"]


def test_a_dry_run_shows_the_plan_and_writes_nothing(cli, original, tmp_path):
    text = cli("convert", original, "--dry-run").out
    assert "layer{1..4}.{0..1}.conv{1..2}.weight -> res{2..5}.{0..1}.conv{1..2}.weight  x16" in text
    assert "ImageNet classifier" in text
    plan = cli("convert", original, "--dry-run", "--json").document["plan"]
    assert plan["moves"].keys() == reference.load("resnet18").moves.keys()
    assert names(tmp_path / "here") == []


def test_assumed_facts_are_printed_with_the_options_that_change_them(cli, original):
    first = cli("convert", original, "-o", "first")
    (line,) = [one for one in first.err.splitlines() if "they are assumed" in one]
    assumed = load_json(Path("first/conversion.json"))["assumed"]
    assert list(assumed) == ["image_format", "pixel_mean", "pixel_std"]
    assert cli("convert", original, "-o", "first", "--json").document["assumed"] == assumed
    said = re.findall(r"--fact (\S+=[^\s]*[^\s.])", line)
    assert [one.split("=")[0] for one in said] == list(assumed)
    # the line has the options that give the same result
    arguments = [part for one in said for part in ("--fact", one)]
    second = cli("convert", original, "-o", "second", *arguments)
    assert "assumed" not in second.err
    assert load_json(Path("second/conversion.json"))["assumed"] == {}
    assert load_json(Path("second/config.json"))["preprocessing"] == assumed
    plan = cli("convert", original, "--dry-run")
    assert f"assumes: {line}" in plan.out
    pushed = cli("push", "first", "me/first", "--to", "hub", "--license", "mit")
    assert "me/first has assumed values that no file shows: --fact image_format=RGB" in pushed.err


def test_options_set_facts_that_shapes_cannot_show(cli, original, detector):
    cli("convert", original, "--keep-classifier", "-o", "kept")
    cli("convert", detector, "--dc5", "--classes", "keep", "--image-format", "bgr", "-o", "dc5")
    assert load_json(Path("kept/config.json"))["hyper_parameters"]["num_classes"] == 1000
    dc5 = load_json(Path("dc5/config.json"))
    assert dc5["hyper_parameters"]["num_classes"] == 91
    assert dc5["preprocessing"]["image_format"] == "BGR"
    assert dc5["overrides"]["lazy"]["model.num_classes"] == 91
    assert load_json(Path("dc5/conversion.json"))["facts"]["dilation"] is True


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert", "SOURCE", "--classes", "all"],
        ["convert", "SOURCE", "--fact", "depth"],
        ["convert", "SOURCE", "--fact", "colour=red"],
        ["convert", "SOURCE", "--fact", "pixel_std=1"],
        ["convert", "SOURCE", "--fact", "pixel_std=1,1,0"],
        ["convert", "SOURCE", "--fact", "pixel_mean=abc"],
        ["convert", "SOURCE", "--fact", "image_format=3"],
        ["convert", "SOURCE", "--fact", "keep_classifier=maybe"],
        ["convert", "SOURCE", "--image-format", "GBR"],
        ["convert", "SOURCE", "-o", "r18.pkl", "--fact", "pixel_std=1"],
        ["convert", "SOURCE", "--dry-run", "--fact", "pixel_std=1"],
        ["convert-and-push", "SOURCE", "--to", "hub", "--fact", "pixel_std=1"],
        ["convert", "SOURCE", "--format", "onnx"],
        ["convert", "SOURCE", "-o", "out.pkl", "--format", "pth"],
        ["convert", "SOURCE", "--layout", "upstream"],
        ["convert", "SOURCE", "--arch", "yolo"],
        ["convert", "SOURCE", "--synthetic"],
        ["convert", "none.pth"],
        ["convert"],
        ["convert", "SOURCE", "--frobnicate"],
        ["convert-and-push"],
        ["convert-and-push", "r18_v1", "--all"],
        ["frobnicate"],
        ["card", "nobody"],
        ["push", "SOURCE", "a/b", "--namespace", "c"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_and_writes_nothing(cli, original, tmp_path, arguments):
    if arguments[0] == "push":
        arguments = ["push", str(converted_folder(tmp_path / "r18")), *arguments[2:]]
    given = [str(original) if one == "SOURCE" else one for one in arguments]
    one_line(cli(*given), 2)
    assert names(tmp_path / "here") == []


def test_refusals_are_one_line_and_write_nothing(cli, original, tmp_path):
    here = tmp_path / "here"
    wrong_depth = one_line(cli("convert", "r101_v1", "--source", original))
    assert "depth 18 instead of 101" in wrong_depth
    cut = tmp_path / "cut.pth"
    cut.write_bytes(original.read_bytes()[:-1000])
    assert "cut.pth" in one_line(cli("convert", cut))
    assert "config.json" in one_line(cli("verify", tmp_path))
    assert "not a folder" in one_line(cli("push", here / "none"))
    (here / "taken").write_text("")
    assert "taken" in one_line(cli("convert", original, "-o", "taken"), 2)
    assert names(here) == ["taken"]


def test_json_is_the_only_output_on_stdout(cli, original):
    done = cli("convert", original, "-o", "out", "--json")
    assert done.err == ""
    assert done.document["folder"] == "out"
    assert json.loads(cli("verify", "out", "--json").out)["repo"] == "out"


def test_card_prints_the_card_of_a_name_and_of_a_folder(cli, original, tmp_path):
    cli("convert", "r18_v1", "--source", original)
    of_name, of_folder = cli("card", "r18_v1").out, cli("card", "./r18_v1").out
    assert of_name.startswith("---\nlibrary_name: detrex\n")
    assert of_folder == (tmp_path / "here" / "r18_v1" / "README.md").read_text()
    named = cli("card", "r18_v1", "--repo", "alice/r18").out
    assert 'from_hub("alice/r18"' in named


def test_weights_pushed_into_a_folder_are_loaded_from_it(cli, original, tmp_path):
    cli("convert", "r18_v1", "--source", original)
    first = cli("push", "r18_v1", "--to", "hub", "--json").document
    assert (first["repo_id"], first["created"]) == ("detrex/r18_v1", True)
    assert names(tmp_path / "here" / "hub" / "detrex" / "r18_v1") == [
        *SIDE_FILES,
        "filters.png",
        "model.safetensors",
    ]
    assert cli("push", "r18_v1", "--to", "hub", "--json").document["changed"] == []
    path = cli("load", "hub/detrex/r18_v1").out.strip()
    assert torch.load(path, weights_only=True)["matching_heuristics"] is True
    told = cli("load", "detrex/r18_v1", "--json", DETREX_HUB_ROOT="hub").document
    assert told["path"] == path
    assert told["overrides"]["model.backbone.stages.depth"] == 18


def test_synthetic_weights_stay_off_the_hub_by_default(cli, login):
    login("alice")
    assert "--allow-synthetic" in one_line(cli("convert-and-push", "r18_v1", "--synthetic", "-q"))
    done = cli("convert-and-push", "r18_v1", "--synthetic", "--allow-synthetic", "--json")
    assert done.document[0]["repo_id"] == "alice/r18_v1"


def test_weights_stay_off_the_hub_until_their_licence_is_stated(cli, login, original, hub):
    login("alice")
    cli("convert", original, "-o", "mine")
    assert "--license" in one_line(cli("push", "mine"))
    assert "is not a licence" in one_line(cli("push", "mine", "--license", "free"), 2)
    assert cli("push", "mine", "--license", "bsd-3-clause").code == 0
    card = hub.repository("alice/mine").find("main").files["README.md"].content.decode()
    assert "\nlicense: bsd-3-clause\n" in card
    assert "| Licence | bsd-3-clause |" in card


def test_one_failure_does_not_stop_the_others(cli, original, tmp_path):
    bad = tmp_path / "my.toml"
    bad.write_text(
        '[weights.bad]\narchitecture = "resnet"\nlayout = "torchvision"\ntitle = "Bad"\n'
        'hyper_parameters = { depth = 17 }\nurl = "https://example.org/x.pth"\n'
    )
    done = cli(
        *("convert-and-push", "bad", "r18_v1", "--synthetic", "--to", "hub"),
        *("--jobs", "2", "--catalogue", bad),
    )
    assert done.code == 1
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert [row[:2] for row in rows] == [["bad", "refused"], ["r18_v1", "new"]]
    assert (tmp_path / "here" / "hub" / "detrex" / "r18_v1" / "config.json").is_file()


def test_debugging_shows_the_traceback_without_tokens(cli, login, tmp_path):
    token = login("alice")
    result = cli("convert", f"{token}.pth", DETREX_HUB_DEBUG="1")
    assert "Traceback" in result.err
    assert token not in result.err
    assert re.search(r"^Error: .*\*\*\*", result.err, re.MULTILINE)
