"""Pretrained weights for detrex: converted, proven equal to the original, shared on the Hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

# name in the public API -> module that defines it
_MODULES = {
    "DetrexHubError": "errors",
    "apply_overrides": "loading",
    "check": "checking",
    "convert": "conversion",
    "convert_and_push": "publishing.single",
    "diff": "comparison",
    "export": "exporting",
    "from_hub": "loading",
    "inspect": "inspection",
    "list_weights": "catalogue",
    "load_state_dict": "loading",
    "overrides": "loading",
    "push": "repositories",
    "verify": "verification",
}

__all__ = ["__version__", *_MODULES]

if TYPE_CHECKING:
    from detrex_hub.catalogue import list_weights as list_weights
    from detrex_hub.checking import check as check
    from detrex_hub.comparison import diff as diff
    from detrex_hub.conversion import convert as convert
    from detrex_hub.errors import DetrexHubError as DetrexHubError
    from detrex_hub.exporting import export as export
    from detrex_hub.inspection import inspect as inspect
    from detrex_hub.loading import apply_overrides as apply_overrides
    from detrex_hub.loading import from_hub as from_hub
    from detrex_hub.loading import load_state_dict as load_state_dict
    from detrex_hub.loading import overrides as overrides
    from detrex_hub.publishing.single import convert_and_push as convert_and_push
    from detrex_hub.repositories import push as push
    from detrex_hub.verification import verify as verify
else:

    def __getattr__(name: str) -> object:
        """Import a name of the public API when it is first used, so that
        ``import detrex_hub`` and every command start fast."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_MODULES})
