"""Dependencies are pinned, and workflows have only the permissions that they need."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import tomli
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PROJECT = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]

PINNED = re.compile(r"uses: ([\w.-]+/[\w./-]+)@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def unpinned(workflow):
    """The lines that use an action without a pinned commit and its version."""
    lines = [line.strip().removeprefix("- ") for line in workflow.splitlines()]
    return [line for line in lines if line.startswith("uses:") and not PINNED.fullmatch(line)]


def jobs():
    return [
        pytest.param(job, id=f"{path.stem}-{name}")
        for path in WORKFLOWS
        for name, job in yaml.safe_load(path.read_text())["jobs"].items()
    ]


def pins(path):
    """{name: requirements} of a requirements file, also for other systems."""
    found = {}
    for line in path.read_text().replace("\\\n", " ").splitlines():
        requirement = line.partition("#")[0].partition("--hash")[0].strip()
        if requirement:
            parsed = Requirement(requirement)
            found.setdefault(canonicalize_name(parsed.name), []).append(parsed)
    return found


def required(requirement):
    """The installed distributions of a requirement and its dependencies, by name."""
    names, waiting = set(), [requirement]
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in names:
            continue
        names.add((name, extras))
        for text in metadata.requires(name) or ():
            needed = Requirement(text)
            if applies(needed, extras):
                waiting.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    return {name for name, _ in names}


def applies(requirement, extras=()):
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def everything(extra):
    """All distributions of an extra of the project that this system needs."""
    texts, names = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra]], set()
    for text in texts:
        needed = Requirement(text)
        if needed.name == PROJECT["name"]:
            names |= set().union(*map(everything, needed.extras))
        elif applies(needed):
            names |= required((canonicalize_name(needed.name), frozenset(needed.extras)))
    return names


def test_actions_are_pinned_to_a_commit():
    assert WORKFLOWS
    for path in WORKFLOWS:
        assert not unpinned(path.read_text()), path.name


@pytest.mark.parametrize(
    "line",
    [
        "- uses: actions/checkout@v7",
        "- uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1",
        "- uses: actions/checkout@3d3c42e # v7.0.1",
        "uses: somebody/workflows/.github/workflows/all.yml@main",
        "- uses: docker://alpine:3.20",
        "- uses: actions/checkout",
    ],
)
def test_an_unpinned_action_would_be_found(line):
    assert unpinned(f"    steps:\n      {line}\n") == [line.removeprefix("- ")]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_grants_permissions_to_jobs_only(path):
    assert yaml.safe_load(path.read_text())["permissions"] == {}


@pytest.mark.parametrize("job", jobs())
def test_jobs_that_sign_or_publish_run_no_other_code(job):
    granted = job["permissions"]
    if granted == {"contents": "read"}:
        return
    assert set(granted) <= {"id-token", "attestations"}
    assert all("run" not in step for step in job["steps"])
    assert all("actions/checkout" not in step["uses"] for step in job["steps"])


@pytest.mark.parametrize("job", jobs())
def test_no_token_is_left_in_a_checkout(job):
    for step in job["steps"]:
        if "actions/checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False


def test_a_release_waits_for_a_reviewer_and_publishes_the_signed_files():
    release = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    publish = release["publish"]
    assert publish["environment"] == "release"
    assert (publish["needs"], release["provenance"]["needs"]) == ("provenance", "build")
    assert release["build"]["needs"] == "test"
    assert "password" not in publish["steps"][-1].get("with", {})
    assert publish["steps"][-1]["with"]["attestations"] is True


def test_every_supported_python_is_tested():
    ci = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    tested = ci["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert f">={tested[0]}" == PROJECT["requires-python"]


def test_every_installed_package_is_pinned():
    pinned = pins(ROOT / "constraints.txt")
    loose = {
        name
        for name in everything("dev")
        if not any(applies(one) and is_exact(one) for one in pinned.get(name, ()))
    }
    assert not loose


def is_exact(requirement):
    return [one.operator for one in requirement.specifier] == ["=="]


def test_packages_that_make_installs_are_pinned():
    for line in (ROOT / "Makefile").read_text().splitlines():
        assert "pip install" not in line or "-c constraints.txt" in line, line


def test_the_tools_of_a_release_are_pinned_with_their_hashes():
    tools = ROOT / ".github/release-tools.txt"
    wanted = (ROOT / ".github/release-tools.in").read_text().split()
    assert set(wanted) <= pins(tools).keys()
    for line in tools.read_text().replace("\\\n", " ").splitlines():
        assert line.startswith("#") or re.search(r"==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line
    release = (ROOT / ".github/workflows/release.yml").read_text()
    assert re.findall(r"pip install .*", release) == [
        "pip install --require-hashes --only-binary :all: -r .github/release-tools.txt"
    ]
    assert "build --no-isolation" in release


def test_hooks_fetch_nothing():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert {repo["repo"] for repo in hooks["repos"]} == {"local"}
    assert {hook["language"] for repo in hooks["repos"] for hook in repo["hooks"]} == {"system"}


@pytest.mark.parametrize(
    "line",
    [
        "token = 'hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH'",
        "-----BEGIN " + "RSA PRIVATE KEY-----",
        "url: https://me:" + "correcthorse@example.org/",
        "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345",
    ],
)
def test_a_secret_would_be_found(line, tmp_path):
    leak = tmp_path / "notes.txt"
    leak.write_text(line + "\n")
    command = ["-m", "detect_secrets.pre_commit_hook", "--no-verify"]
    command += ["--baseline", ".secrets.baseline", str(leak)]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{leak}:1" in done.stdout


def test_each_promise_has_its_test():
    text = (ROOT / "SECURITY.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) > 20
    for path, name in named:
        assert f"\ndef {name}(" in (ROOT / path).read_text(), f"{path}::{name}"
    promised = text.partition("## What is promised")[2].partition("\n## ")[0]
    for row in promised.splitlines():
        assert not row.startswith("| ") or row.startswith("| promise") or "::" in row, row
