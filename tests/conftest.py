"""Every test uses a Hub on 127.0.0.1 and its own caches.

No test reads the state of the machine: its home, its temporary folder, or variables that change
what the package does.
"""

import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import pytest

from tests.hub_server import LoopbackHub, converted_folder

# no test asserts a time, and the first example may have to import a library
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

_HUB = LoopbackHub()
# pytest's own folders stay where they are, so that they can be read after a failure
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
_MACHINE = tempfile.TemporaryDirectory(prefix="detrex-hub-tests-")
_FOREIGN = (
    "ACTIONS_ID_TOKEN",
    "COLUMNS",
    "DETECTRON2_",
    "DETREX_HUB_",
    "FVCORE_",
    "HF_",
    "HUGGING",
    "TORCH_HOME",
    "XDG_",
)
for _name in [*os.environ]:
    if _name.upper().startswith(_FOREIGN) or _name.lower().endswith("_proxy"):
        del os.environ[_name]
# huggingface_hub reads most of these once, when it is first imported.
os.environ.update(
    HF_ENDPOINT=_HUB.url,
    HF_HOME=f"{_MACHINE.name}/huggingface",
    HF_HUB_DISABLE_XET="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    HF_HUB_VERBOSITY="error",
    HOME=_MACHINE.name,
    NO_PROXY="127.0.0.1,localhost",
    TMPDIR=f"{_MACHINE.name}/tmp",
)
Path(os.environ["TMPDIR"]).mkdir()
tempfile.tempdir = os.environ["TMPDIR"]


@pytest.fixture(scope="session", autouse=True)
def _running_hub():
    with _HUB:
        yield _HUB


@pytest.fixture
def hub(_running_hub, tmp_path, tmp_path_factory, monkeypatch):
    """An empty Hub for huggingface_hub, an empty cache, and an empty temporary folder. No user is
    logged in."""
    from huggingface_hub import constants

    home = tmp_path / "hf-home"
    temporary = str(tmp_path_factory.mktemp("temporary"))
    monkeypatch.setenv("TMPDIR", temporary)
    monkeypatch.setattr(tempfile, "tempdir", temporary)
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.setattr(constants, "HF_HOME", str(home))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(home / "assets"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    _running_hub.clear()
    yield _running_hub
    assert not _running_hub.errors
    assert not _running_hub.storage.errors


@pytest.fixture
def login(hub, monkeypatch):
    """`login("alice", "read", organizations=("detrex",))` logs alice in."""

    def _login(user, role="write", *, organizations=()):
        token = hub.token(user, role, organizations=organizations)
        monkeypatch.setenv("HF_TOKEN", token)
        return token

    return _login


@pytest.fixture
def naps(monkeypatch):
    """The recorded pauses between attempts in seconds, in order. The tests do not wait."""
    import time

    from huggingface_hub import file_download
    from huggingface_hub.utils import _http

    from detrex_hub import retrying
    from detrex_hub.repositories import upload

    waited = []

    class Clock(SimpleNamespace):
        def __getattr__(self, name):
            return getattr(time, name)

    for module in (file_download, _http, retrying, upload):
        monkeypatch.setattr(module, "time", Clock(sleep=waited.append))
    return waited


@pytest.fixture
def folder(tmp_path):
    """A converted folder named r18, with arbitrary bytes."""
    return converted_folder(tmp_path / "r18")
