"""The main job end to end: from the original's server to a training config in another process."""

import hashlib
import json
import os
import socket
import subprocess
import sys

import pytest
import torch

from tests import reference
from tests.cli.test_commands import one_line
from tests.hub_server import Fault, Mirror

VARIANT = reference.load("resnet18")

ENTRY = """
[weights.r18]
architecture = "resnet"
layout = "torchvision"
title = "ResNet-18"
license = "bsd-3-clause"
url = "{url}"
sha256 = "{sha256}"
hyper_parameters = {{ depth = 18 }}
facts = {{ image_format = "RGB" }}
"""

LOAD = """
import json, sys
from omegaconf import OmegaConf
from detrex_hub import from_hub
cfg = OmegaConf.create(json.loads(sys.argv[1]))
path = from_hub("alice/r18", model=cfg.model, dataloader=cfg.dataloader)
print(json.dumps([path, OmegaConf.to_container(cfg), "torch" in sys.modules]))
"""


@pytest.fixture
def mirror():
    with Mirror() as server:
        yield server


@pytest.fixture
def options(mirror, original, tmp_path):
    """A catalogue whose weights are on a local server."""
    content = original.read_bytes()
    url = mirror.add(original.name, content)
    path = tmp_path / "my.toml"
    path.write_text(ENTRY.format(url=url, sha256=hashlib.sha256(content).hexdigest()))
    return ["--catalogue", str(path), "--quiet"]


def test_convert_and_push_then_load_in_another_process(
    cli, login, hub, options, original, tmp_path
):
    token = login("alice")
    done = cli("convert-and-push", "r18", *options)
    assert (done.code, done.out) == (0, f"{hub.url}/alice/r18\n"), done.err
    again = cli("convert-and-push", "r18", *options)
    assert again.code == 0
    assert len(hub.commits("alice/r18")) == 1
    assert cli("verify", "alice/r18", "-q").code == 0

    model = {
        "backbone": {
            "_target_": "detectron2.modeling.backbone.resnet.ResNet",
            "stages": {"depth": 50, "stride_in_1x1": False, "out_features": ["res5"]},
        },
        "pixel_mean": [103.53, 116.28, 123.675],
        "pixel_std": [1.0, 1.0, 1.0],
    }
    mappers = {
        "train": {"mapper": {"img_format": "BGR"}},
        "test": {"mapper": {"img_format": "RGB"}},
    }
    elsewhere = subprocess.run(
        [sys.executable, "-c", LOAD, json.dumps({"model": model, "dataloader": mappers})],
        env={**os.environ, "HF_HOME": str(tmp_path / "elsewhere")},
        capture_output=True,
        text=True,
        check=True,
    )
    path, cfg, torch_was_imported = json.loads(elsewhere.stdout)
    assert not torch_was_imported
    # ResNet-18 and 34 must not get the argument
    assert cfg["model"]["backbone"]["stages"] == {"depth": 18, "out_features": ["res5"]}
    assert cfg["model"]["pixel_mean"] == [123.675, 116.28, 103.53]
    assert cfg["dataloader"]["train"]["mapper"]["img_format"] == "RGB"
    found = torch.load(path, weights_only=True)["model"]
    source = torch.load(original, weights_only=True)
    assert found.keys() == VARIANT.moves.keys()
    for target, (part,) in VARIANT.moves.items():
        assert torch.equal(found[target], source[part.key])

    commit = hub.repository("alice/r18").find("main")
    for content in (blob.content for blob in commit.files.values()):
        assert token.encode() not in content
        assert str(tmp_path).encode() not in content


def test_a_custom_name_is_published_from_a_mirror(
    cli, login, hub, options, mirror, original, monkeypatch
):
    login("alice", organizations=("lab",))
    mirror.files[f"pub/{original.name}"] = mirror.files.pop(original.name)
    assert "404" in one_line(cli("convert-and-push", "r18", *options))
    done = cli(
        *("convert-and-push", "r18", *options),
        DETREX_HUB_MIRROR=f"{mirror.url}/pub",
        DETREX_HUB_NAMESPACE="lab",
    )
    assert done.out == f"{hub.url}/lab/r18\n", done.err


def test_a_dry_run_pushes_and_downloads_nothing(cli, login, hub, options, mirror):
    login("alice")
    done = cli("convert-and-push", "r18", *options[:2], "--dry-run", "--json")
    assert done.document[0]["status"] == "new"
    assert not hub.seen("POST")
    # no more than a byte of the original was sent
    assert [one.headers["Range"] for one in mirror.seen()] == ["bytes=0-0"]


def test_the_command_line_is_completed_if_no_original_can_be_downloaded(cli, options, mirror):
    mirror.files.clear()
    refused = one_line(cli("convert", "r18", *options[:2], "--dry-run"))
    line = f"detrex-hub convert r18 {options[0]} {options[1]} --dry-run --source FILE_OR_URL"
    assert refused.endswith(f"Try: {line}")
    # `load` has no such option
    assert "detrex-hub convert r18 --source FILE_OR_URL" in one_line(
        cli("load", "r18", *options[:2])
    )


def test_a_dry_run_plans_the_users_files(cli, original, tmp_path):
    converted = tmp_path / "out"
    assert cli("convert", original, "-o", converted).code == 0
    (tmp_path / "text.pth").write_text("no weights")
    address = "http://u:secret@host/x.pth"  # pragma: allowlist secret
    names = [original, converted, tmp_path / "text.pth", address, "../x/y"]
    done = cli("convert-and-push", *names, "--to", "hub", "--dry-run", "--json")
    first, *refused = json.loads(done.out)
    assert first["status"] == "new"
    assert {one["status"] for one in refused} == {"refused"}
    assert [one["reason"].partition(". ")[0] for one in refused] == [
        f"{converted} is converted already",
        f"{tmp_path / 'text.pth'}: has no known format: it is not a torch checkpoint, a pickle or a"
        " safetensors file",
        "there is no file http://***@host/x.pth",
        "there is no file ../x/y",
    ]
    assert "secret" not in done.out + done.err


def test_an_interrupted_download_is_resumed(cli, options, mirror, original):
    mirror.inject("GET", f"/{original.name}", Fault.cut_during(20_000_000), times=2)
    done = cli("pull", "r18", *options)
    assert done.code == 0, done.err
    ranges = [one.headers.get("Range") for one in mirror.log if one.method == "GET"]
    assert len(ranges) == 3
    assert ranges[2] > ranges[1] > "bytes=0-"


def test_a_wrong_digest_is_refused(cli, options, mirror, original, tmp_path):
    mirror.add(original.name, original.read_bytes()[:-1] + b"x")
    line = one_line(cli("convert", "r18", *options))
    assert "sha256" in line and "--source" in line
    assert list((tmp_path / "here").iterdir()) == []


def test_a_page_instead_of_the_file_is_refused(cli, options, mirror, original):
    mirror.inject("GET", f"/{original.name}", Fault.html(), times=20)
    assert "HTML page" in one_line(cli("pull", "r18", *options))


def test_without_a_login_the_job_is_refused(cli, options):
    assert "hf auth login" in one_line(cli("convert-and-push", "r18", *options))


def test_without_the_right_to_write_the_job_is_refused(cli, login, options):
    login("alice", "read")
    line = one_line(cli("convert-and-push", "r18", *options))
    assert "write" in line
    login("bob")
    assert "alice" in one_line(cli("convert-and-push", "r18", *options, "--namespace", "alice"))


def test_an_unknown_repository_is_refused(cli, hub):
    line = one_line(cli("load", "alice/none"))
    assert "alice/none" in line


def test_without_a_network_the_job_is_refused(cli, hub, naps, monkeypatch):
    def nobody(*_arguments, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    from huggingface_hub import close_session

    close_session()  # this also closes open connections
    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    assert "cannot be reached" in one_line(cli("load", "alice/r18"))
