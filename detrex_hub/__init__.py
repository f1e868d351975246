"""Pretrained weights for detrex: converted, proven equal to the original, shared on the Hub."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# name in the public API -> module that defines it; imported on first use, so that the command
# line starts fast and `import detrex_hub` costs nothing
_EXPORTS = {
    "DetrexHubError": "errors",
    "apply_overrides": "loading",
    "check": "checking",
    "convert": "conversion",
    "from_hub": "loading",
    "load_state_dict": "loading",
    "overrides": "loading",
    "push": "hub",
    "verify": "verification",
}

__all__ = ["__version__", *sorted(_EXPORTS)]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        module = importlib.import_module(f"{__name__}.{_EXPORTS[name]}")
        value = getattr(module, name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_EXPORTS))
