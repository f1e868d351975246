"""`hf detrex ...` runs detrex-hub through the real `hf`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "extensions" / "hf-detrex" / "hf-detrex"
HF = Path(sys.executable).parent / "hf"
COMMAND = Path(sys.executable).parent / "detrex-hub"


def run(arguments, home, path):
    env = {
        **os.environ,
        "HOME": str(home),
        "PATH": path,
        # no request goes to GitHub
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    }
    return subprocess.run(arguments, env=env, capture_output=True, text=True, check=False)


def test_hf_shows_a_description():
    manifest = json.loads(SCRIPT.with_name("manifest.json").read_text())
    assert manifest["description"].startswith("Pretrained weights for detrex")
    # hf looks for a file with this name in the repository with this name
    assert SCRIPT.name == SCRIPT.parent.name == "hf-detrex"
    assert os.access(SCRIPT, os.X_OK)


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
def test_arguments_output_and_exit_code_are_those_of_detrex_hub(tmp_path):
    pytest.importorskip("huggingface_hub.cli.extensions")
    if not HF.exists() or not COMMAND.exists():
        pytest.skip("hf and detrex-hub are not installed beside this Python")
    installed = tmp_path / ".local" / "share" / "hf" / "extensions" / "hf-detrex"
    installed.mkdir(parents=True)
    (installed / "hf-detrex").write_bytes(SCRIPT.read_bytes())
    (installed / "hf-detrex").chmod(0o755)
    manifest = {
        "owner": "someone",
        "repo": "hf-detrex",
        "repo_id": "someone/hf-detrex",
        "short_name": "detrex",
        "executable_path": str(installed / "hf-detrex"),
        "type": "binary",
        "installed_at": "2026-01-01T00:00:00+00:00",
    }
    (installed / "manifest.json").write_text(json.dumps(manifest))
    path = f"{COMMAND.parent}{os.pathsep}{os.defpath}"
    done = run([HF, "detrex", "--version"], tmp_path, path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("detrex-hub ")
    refused = run([HF, "detrex", "info", "no such name"], tmp_path, path)
    assert refused.returncode != 0
    assert refused.stderr.startswith("Error: ")


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
def test_a_missing_package_is_named(tmp_path):
    done = run([SCRIPT], tmp_path, os.defpath)
    assert done.returncode == 1
    assert "pip install detrex-hub" in done.stderr
