import json
import sys
from types import SimpleNamespace

import pytest

from detrex_hub.cli.failures import run
from tests import reference
from tests.checkpoint_files import save, tensors


@pytest.fixture
def cli(hub, capfd, monkeypatch, tmp_path):
    """`cli("list", "--json")` runs a command in an empty folder, and returns its exit code and
    output."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)

    def _run(*arguments, **environment):
        capfd.readouterr()
        with monkeypatch.context() as patched:
            for name, value in environment.items():
                patched.setenv(name, value)
            try:
                code = run([str(one) for one in arguments])
            except SystemExit as end:
                code = end.code
        sys.stdout.flush()
        out, err = capfd.readouterr()
        document = json.loads(out) if "--json" in arguments and code == 0 else None
        return SimpleNamespace(code=code, out=out, err=err, document=document)

    return _run


@pytest.fixture
def on_terminal(cli, monkeypatch):
    """`on_terminal(100, "list")` runs a command on a terminal of 100 columns."""

    def run(columns, *arguments):
        with monkeypatch.context() as patched:
            patched.setattr(type(sys.stdout), "isatty", lambda _: True, raising=False)
            return cli(*arguments, COLUMNS=str(columns))

    return run


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    """A ResNet-18 as its authors save it."""
    state = tensors(reference.load("resnet18").source)
    return save(tmp_path_factory.mktemp("original") / "resnet18-f37072fd.pth", state)


@pytest.fixture(scope="session")
def detector(tmp_path_factory):
    """A detector's training checkpoint as its authors save it."""
    variant = reference.load("conditional_detr_r50")
    state = tensors(variant.source, variant.tied_sources)
    return save(tmp_path_factory.mktemp("detector") / "checkpoint.pth", state, "model")
