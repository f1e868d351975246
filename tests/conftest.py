"""Every test uses a Hub on 127.0.0.1 and its own caches."""

import os
import tempfile
from types import SimpleNamespace

import hypothesis
import pytest

from tests.hub_server import LoopbackHub, converted_folder

# no test asserts a time, and the first example may have to import a library
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# huggingface_hub reads most of these once, when it is first imported.
_HUB = LoopbackHub()
_HOME = tempfile.TemporaryDirectory(prefix="detrex-hub-tests-")
os.environ.update(
    HF_ENDPOINT=_HUB.url,
    HF_HOME=_HOME.name,
    HF_HUB_DISABLE_XET="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    HF_HUB_VERBOSITY="error",
    NO_PROXY="127.0.0.1,localhost",
)
for _name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_ASSETS_CACHE"):
    os.environ.pop(_name, None)
for _name in [name for name in os.environ if name.startswith("DETREX_HUB_")]:
    os.environ.pop(_name)


@pytest.fixture(scope="session", autouse=True)
def _running_hub():
    with _HUB:
        yield _HUB


@pytest.fixture
def hub(_running_hub, tmp_path, monkeypatch):
    """An empty Hub for huggingface_hub, and an empty cache. No user is logged in."""
    from huggingface_hub import constants

    home = tmp_path / "hf-home"
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
