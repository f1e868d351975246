"""A config is a program, which may fail in any way."""

from types import SimpleNamespace

import pytest

from detrex_hub.configs import lazy
from detrex_hub.errors import ConfigError


def exits(*_):
    """As detrex's TimmBackbone does."""
    try:
        raise TypeError("unexpected\nkeyword")
    except TypeError:
        raise SystemExit  # noqa: B904


def test_code_of_a_config_that_exits_is_an_error_with_its_reason(monkeypatch, tmp_path):
    fake = SimpleNamespace(instantiate=exits, LazyConfig=SimpleNamespace(load=exits))
    monkeypatch.setattr(lazy, "_detectron2", lambda _: fake)
    with pytest.raises(ConfigError, match="model cannot be built: TypeError: unexpected keyword"):
        lazy.model_keys({})
    path = tmp_path / "config.py"
    path.touch()
    with pytest.raises(ConfigError, match="cannot be loaded: TypeError: unexpected keyword"):
        lazy.load_config(path)
