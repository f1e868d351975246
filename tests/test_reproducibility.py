"""The same input gives the same bytes for any user, at any place and time."""

import hashlib
import os
import shutil
import subprocess
import sys

from tests import tiny

# every command that writes, on one checkpoint
SCRIPT = """
import os, sys
os.umask(int(sys.argv[1], 8))
from detrex_hub.cli.failures import run
for arguments in (
    ["convert", sys.argv[2], "-o", "made"],
    ["convert", sys.argv[2], "-o", "single.safetensors"],
    ["convert", sys.argv[2], "-o", "single.pth"],
    ["convert", sys.argv[2], "-o", "single.pkl"],
    ["convert", sys.argv[2], "--format", "pth", "-o", "made-pth"],
    ["push", "made", "alice/tiny", "--to", "hub"],
    ["load", "./made"],
    ["export", "./made", "--to", "timm", "-o", "back.pth"],
    ["export", "./made", "--to", "original", "-o", "back.safetensors"],
    ["card", "made"],
    ["inspect", "./made", "--json"],
    ["convert", sys.argv[2], "--dry-run", "--json"],
):
    assert run(arguments) == 0, arguments
"""


def written(place, source, *, umask, **environment):
    """The output and the files of all commands in a new folder: name -> sha256."""
    place.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, umask, str(source)],
        cwd=place,
        env={**os.environ, "HF_HOME": str(place / "home"), "HF_HUB_OFFLINE": "1", **environment},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files = {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in place.rglob("*")
        # a seal belongs to one file on one machine
        if path.is_file() and path.name != ".lock" and path.suffix not in (".lock", ".seal")
    }
    printed = done.stdout.replace(str(place).encode(), b"HERE")
    return {
        name: hashlib.sha256(data).hexdigest()
        for name, data in {**files, "stdout": printed}.items()
    }


MAPPERS = """
import hashlib
from detrex_hub import catalogue
from detrex_hub.catalogue.models import layout_of, model_of
entries = [one for one in catalogue.load_entries().values() if one.hyper_parameters]
known = {(one.architecture, layout_of(one)): one for one in entries}
for (name, layout), entry in sorted(known.items()):
    rules = repr(model_of(entry).rules(layout)).encode()
    print(name, layout, hashlib.sha256(rules).hexdigest())
"""


def mappers(seed):
    done = subprocess.run(
        [sys.executable, "-c", MAPPERS],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_the_digest_of_a_mapper_does_not_depend_on_the_hash_seed():
    one = mappers("1")
    assert len(one) > 20
    assert mappers("2") == one


def test_folder_locale_time_zone_and_hash_seed_do_not_change_the_bytes(tmp_path):
    here = tiny.original(tmp_path / "tiny.pth")
    (tmp_path / "further" / "away").mkdir(parents=True)
    there = shutil.copyfile(here, tmp_path / "further" / "away" / "tiny.pth")
    os.utime(there, (0, 0))
    one = written(tmp_path / "one", here, umask="022", LC_ALL="C", TZ="UTC", PYTHONHASHSEED="0")
    two = written(
        tmp_path / "further" / "two",
        "../away/tiny.pth",
        umask="077",
        LC_ALL="C.UTF-8",
        LANG="de_DE.UTF-8",
        TZ="Asia/Kathmandu",
        PYTHONHASHSEED="4242",
        PYTHONUTF8="1",
    )
    assert {
        *(f"made/{name}" for name in ("model.safetensors", "config.json", "conversion.json")),
        "made/README.md",
        "made-pth/model.pth",
        "single.safetensors",
        "single.pth",
        "single.pkl",
        "back.pth",
        "back.safetensors",
        "hub/alice/tiny/README.md",
    } <= one.keys()
    assert any("materialised" in name for name in one)
    assert one == two
