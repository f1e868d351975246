"""The pre-commit hook and the GitHub action for other repositories."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


def test_the_hook_matches_configs_and_not_their_parts():
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert hook["entry"] == "detrex-hub check --skip-others"
    # reading a Python config needs detectron2
    assert hook["language"] == "system"

    def taken(path):
        return re.search(hook["files"], path) and not re.search(hook["exclude"], path)

    assert taken("projects/dino/configs/dino_r50_4scale_12ep.py")
    assert taken("configs/my_dino.py")
    assert taken("projects/dino/configs/dino-swin/dino_swin_tiny.py")
    assert not taken("projects/dino/configs/models/dino_r50.py")
    assert not taken("projects/dino/configs/__init__.py")
    assert not taken("projects/dino/modeling/dino.py")


def script():
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    assert set(action["inputs"]) == {"configs", "version", "args"}
    install, check = action["runs"]["steps"]
    # scripts get inputs only as variables
    assert "${{" not in install["run"] + check["run"]
    return check["run"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_action_checks_files_that_match_its_patterns(tmp_path):
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "detrex-hub"
    command.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    command.chmod(0o755)
    for name in ("a.py", "b.py"):
        (tmp_path / name).touch()
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"

    def run(configs, args=""):
        env = {**os.environ, "PATH": path, "CONFIGS": configs, "ARGS": args}
        return subprocess.run(
            ["bash", "-c", script()],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )

    done = run("*.py $(touch hacked)", "--min-matched 0.9")
    assert done.stdout.split() == [
        *("check", "--skip-others", "--min-matched", "0.9", "a.py", "b.py", "$(touch", "hacked)"),
    ]
    assert not (tmp_path / "hacked").exists()
    assert run("none/*.py").returncode == 1
