"""`detrex-hub check` works without detectron2 if --target describes the model."""

import json
import shlex
import sys

import pytest
from omegaconf import OmegaConf

from detrex_hub.configs import lazy
from tests.test_checking import config_for


@pytest.fixture
def r18(cli, original, tmp_path):
    assert cli("convert", original, "-o", tmp_path / "r18").code == 0
    return tmp_path / "r18"


@pytest.fixture
def yaml(tmp_path):
    def _yaml(cfg):
        path = tmp_path / "config.yaml"
        path.write_text(OmegaConf.to_yaml(cfg))
        return path

    return _yaml


@pytest.fixture(autouse=True)
def no_detectron2(monkeypatch):
    class Hiding:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "detectron2":
                raise ModuleNotFoundError(name="detectron2")

    for name in list(sys.modules):
        if name.partition(".")[0] == "detectron2":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Hiding(), *sys.meta_path])
    monkeypatch.setattr(lazy, "has_detectron2", lambda: False)
    monkeypatch.setattr("detrex_hub.checking.config_file.has_detectron2", lambda: False)


def test_a_config_that_fits_passes(cli, r18, yaml):
    result = cli("check", yaml(config_for(r18)), "--target", "r18_v1")
    assert result.code == 0, result.err
    assert "backbone.res2\t20\t0\t0\t0\t0" in result.out
    assert "model.pixel_std" in result.out
    assert result.out.splitlines()[-1] == "100 of 100 tensors of backbone.* are loaded (100.0%)"


def test_a_config_below_the_threshold_is_refused_in_one_line(cli, r18, yaml):
    path = yaml(config_for(r18, depth=34))
    result = cli("check", path, "--target", "r34_v1")
    assert result.code == 1
    assert "backbone.res3\t25\t20\t0\t0\t0" in result.out
    (line,) = result.err.splitlines()
    assert line.startswith(f"Error: {path} with {r18}: 100 of 180 tensors of backbone.* are loaded")


def test_json_has_every_result_on_success_and_failure(cli, r18, yaml):
    result = cli("check", yaml(config_for(r18, depth=34)), "--target", "r34_v1", "--json")
    assert result.code == 1
    document = json.loads(result.out)
    assert document["passed"] is False
    assert (document["loaded"], document["of"], document["home"]) == (100, 180, "backbone.")
    assert len(document["missing"]) == 80
    assert cli("check", yaml(config_for(r18)), "--target", "r18_v1", "--json").document["passed"]


def test_only_the_checkpoint_is_read_from_a_python_config(cli, r18, tmp_path):
    path = tmp_path / "config.py"
    path.write_text(f"train = dict()\ntrain.init_checkpoint = {str(r18)!r}\nraise SystemExit\n")
    assert cli("check", path, "--target", "resnet").code == 0
    assert cli("check", path, "--target", "r18_v1").code == 0


def test_without_detectron2_and_target_the_refusal_says_what_to_do(cli, r18, tmp_path):
    path = tmp_path / "config.py"
    path.write_text("train = model = {}\n")
    result = cli("check", path)
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert "detectron2, which is not installed" in line
    assert "--target CHECKPOINT_OR_ARCH" in line


def test_fix_writes_the_line_that_loads_and_keeps_a_copy(cli, original, tmp_path):
    path = tmp_path / "config.py"
    text = f"train = dict()\ntrain.init_checkpoint = {str(original)!r}\n"
    path.write_text(text)
    # the model has torchvision's names, as detrex's dilated models do
    refused = cli("check", path, "--target", original)
    assert refused.code == 0, refused.err
    target = tmp_path / "model.pth"
    import torch

    state = torch.load(original, weights_only=True)
    torch.save({"model": {f"backbone.body.{key}": one for key, one in state.items()}}, target)
    assert cli("check", path, "--target", target).code == 1
    assert path.read_text() == text
    fixed = cli("check", path, "--target", target, "--fix")
    assert fixed.code == 0, fixed.err
    assert f"+train.init_checkpoint = '{original}?matching_heuristics=True'" in fixed.err
    assert path.with_name("config.py.orig").read_text() == text
    assert cli("check", path, "--target", target).code == 0


def test_fix_writes_from_hub_for_a_repository(cli, r18, tmp_path):
    path = tmp_path / "config.py"
    path.write_text("train = model = dataloader = dict()\ntrain.init_checkpoint = 'x.pth'\n")
    result = cli("check", path, "--target", "r34_v1", "--checkpoint", r18, "--fix")
    assert result.code == 1
    last = path.read_text().splitlines()[-2:]
    assert last == [
        "from detrex_hub import from_hub",
        f'train.init_checkpoint = from_hub("{r18}", model=model, dataloader=dataloader)',
    ]


def test_fix_writes_the_checkpoint_that_fits_too_and_once(cli, r18, tmp_path):
    path = tmp_path / "config.py"
    path.write_text("train = model = dataloader = dict()\ntrain.init_checkpoint = 'x.pth'\n")
    arguments = ["check", path, "--target", "r18_v1", "--checkpoint", r18, "--fix"]
    assert cli(*arguments).code == 0
    text = path.read_text()
    assert text.endswith(f'from_hub("{r18}", model=model, dataloader=dataloader)\n')
    assert cli(*arguments).code == 0
    assert path.read_text() == text


def test_fix_keeps_links_line_ends_encoding_and_mode(cli, r18, tmp_path):
    path, link = tmp_path / "real" / "config.py", tmp_path / "config.py"
    path.parent.mkdir()
    before = (
        b"\xef\xbb\xbftrain = model = dataloader = dict()\r\n"
        b"train.init_checkpoint = 'x'  # \xc3\xbc\r\n"
    )
    path.write_bytes(before)
    path.chmod(0o600)
    link.symlink_to(path)
    arguments = ["check", link, "--target", "r18_v1", "--checkpoint", r18, "--fix"]
    assert cli(*arguments).code == 0
    assert link.is_symlink()
    assert path.read_bytes().startswith(before)
    assert path.read_bytes().endswith(b"model=model, dataloader=dataloader)\r\n")
    kept = path.with_name("config.py.orig")
    assert kept.read_bytes() == before
    assert [one.stat().st_mode & 0o777 for one in (path, kept)] == [0o600, 0o600]


def test_a_checkpoint_instead_of_a_config_is_refused(cli, original):
    (line,) = cli("check", original, "--target", "r18_v1").err.splitlines()
    assert f"{original} is not the text of a config. Give the config" in line


def test_fix_leaves_unfixable_configs_unchanged(cli, r18, yaml):
    path = yaml(config_for(r18, depth=34))
    before = path.read_text()
    result = cli("check", path, "--target", "r34_v1", "--fix")
    assert result.code == 1
    assert "is not a Python file" in result.err
    assert path.read_text() == before


@pytest.mark.parametrize("suffix", ["py", "yaml"])
def test_the_hint_of_a_value_that_differs_works(cli, r18, tmp_path, monkeypatch, suffix):
    monkeypatch.setattr("detrex_hub.checking.config_file.has_detectron2", lambda: True)
    cfg = config_for("x.pth", depth=34)
    monkeypatch.setattr("detrex_hub.checking.config_file.load_config", lambda *_: cfg)
    path = tmp_path / f"of k=2.{suffix}"
    path.write_text("from my import dataloader, model, train\n")
    result = cli("check", path, "--checkpoint", r18, "--target", "r18_v1")
    command = f"detrex-hub check '{path}' --checkpoint {r18} --target r18_v1 --fix"
    if suffix == "yaml":
        assert result.err.endswith(". Set model.backbone.stages.depth = 18\n")
        return
    assert result.err.endswith(f". Try: {command}\n")
    # the config is not run again, so its value stays
    fixed = cli(*shlex.split(command)[1:])
    assert f'+train.init_checkpoint = from_hub("{r18}", model=model' in fixed.err
    assert fixed.err.endswith(". Set model.backbone.stages.depth = 18\n")


def test_a_file_with_an_equals_sign_in_its_name_is_a_config(cli, r18, yaml, tmp_path):
    good = yaml(config_for(r18)).rename(tmp_path / "good.yaml")
    bad = yaml(config_for(r18, depth=34)).rename(tmp_path / "detr_k=2.yaml")
    done = cli("check", good, bad, "--target", "r18_v1")
    assert done.code == 1
    assert f"Error: {bad} with" in done.err


def test_overrides_need_detectron2(cli, r18, yaml):
    result = cli("check", yaml(config_for(r18)), "model.x=1", "--target", "r18_v1")
    assert result.code == 2
    assert "detectron2" in result.err


def test_several_configs_are_checked_in_one_call(cli, r18, yaml, tmp_path):
    good = yaml(config_for(r18)).rename(tmp_path / "good.yaml")
    bad = yaml(config_for(r18, depth=34)).rename(tmp_path / "bad.yaml")
    other = tmp_path / "other.yaml"
    other.write_text("x: 1\n")
    done = cli("check", good, other, "--target", "r18_v1", "--skip-others", "--json")
    assert done.code == 0, done.err
    assert [one["config"] for one in done.document] == [str(good)]
    done = cli("check", good, other, "--target", "r18_v1", "--skip-others")
    assert f"{other} names no weights and was skipped" in done.err
    done = cli("check", good, other, "--target", "r18_v1")
    assert done.code == 2
    assert "names no checkpoint" in done.err
    done = cli("check", good, bad, other, "--target", "r34_v1")
    assert done.code == 1
    assert f"Error: {bad} with" in done.err
    assert "3 of 3 configs were refused" in done.err


@pytest.mark.parametrize("how", ["--json", "--quiet"])
def test_a_config_that_cannot_be_checked_is_named_among_several(cli, r18, yaml, tmp_path, how):
    good = yaml(config_for(r18)).rename(tmp_path / "good.yaml")
    missing = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    done = cli("check", missing[0], good, missing[1], "--target", "r18_v1", how)
    assert done.code == 1
    for path in missing:
        assert f"Error: there is no config {path}" in done.err
    if how == "--quiet":
        assert done.out == f"{good}\t1.0000\n"
    else:
        found = {one["config"]: one["error"] for one in json.loads(done.out)}
        assert found[str(good)] is None
        assert all("there is no config" in found[str(path)] for path in missing)
