"""The values that weights set in a training config, and the lines that load them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from detrex_hub.architectures import architecture, coco
from detrex_hub.architectures.base import Architecture
from detrex_hub.architectures.foreign_models import for_transformers
from detrex_hub.card.markdown import Markdown, code, link
from detrex_hub.configs.settings import DECIDED_BY_CONFIG
from detrex_hub.errors import ArchitectureError
from detrex_hub.records import RepositoryConfig

DETREX = "https://github.com/IDEA-Research/detrex"

_BASE_CONFIG = re.compile(r"(?=.{0,200}$)([\w.-]+/)*(?P<module>[A-Za-z_]\w*)\.py", re.ASCII)
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,95}")
IMAGES = ("image_format", "pixel_mean", "pixel_std")


def in_transformers(config: RepositoryConfig, name: str) -> Markdown | None:
    """How transformers opens an export of the weights; None where it has no such model, or too
    little is known."""
    if not config.preprocessing or not _FILE_NAME.fullmatch(name):
        return None
    made = architecture(config.architecture).from_hyper_parameters(config.hyper_parameters)
    try:
        model = for_transformers(made, "transformers", config.preprocessing)
    except ArchitectureError:
        return None
    # where `export` writes if nothing says it
    return Markdown(model.snippet(f"./{name}-transformers"))


def snippet_values(config: RepositoryConfig, name: str) -> dict[str, Any]:
    """The config to write: its name, the config to start from, and the values to set."""
    base_config = config.base_config
    found = _BASE_CONFIG.fullmatch(base_config or "")
    own = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:60].lower().removeprefix("my_")
    own = f"my_{own}.py"
    if found is None or base_config is None or ".." in base_config:
        return {
            "base_module": Markdown("your_config"),
            "base_link": None,
            "own": Markdown(own),
            "decided": [],
            "build": False,
        }
    path = PurePosixPath(base_config)
    lazy = config.overrides.lazy
    return {
        # the dataset decides these, not the weights; detrex's configs are for COCO
        "decided": [
            Markdown(f"{decided} = {lazy[decided]:d}")
            for decided in sorted(DECIDED_BY_CONFIG.intersection(lazy))
            if type(lazy[decided]) is int and lazy[decided] != len(coco.CATEGORIES)
        ],
        "build": replaces_backbone(made_of(config), base_config, lazy),
        "base_module": Markdown(found["module"]),
        "base_link": link(f"{DETREX}/blob/main/{path}", code(path.name)),
        "own": Markdown(str(path.parent / own)),
    }


def made_of(config: RepositoryConfig) -> Architecture | None:
    if not config.hyper_parameters:
        return None
    return architecture(config.architecture).from_hyper_parameters(config.hyper_parameters)


def replaces_backbone(made: Architecture | None, base_config: str, lazy: Mapping[str, Any]) -> bool:
    """Whether the weights need another backbone than the config to start from has.

    Args:
        made: the architecture with its hyper-parameters; None if they are unknown.
        base_config: the path of the config.
        lazy: what the weights set on it.
    """
    # detrex has configs with a dilated backbone for some detectors, and says so in their names
    dilated = lazy.get("model.backbone.dilation") is True and "dc5" not in base_config
    return dilated or (made is not None and made.of_no_config)


def override_values(config: RepositoryConfig) -> dict[str, Any]:
    """Overrides as (path, value, remark)."""
    overrides = config.overrides
    lazy = [
        *(
            (path, as_python(value), "assumed" if path in overrides.assumed else "")
            for path, value in overrides.lazy.items()
        ),
        *(
            (path, as_python(value), "if the config has it")
            for path, value in overrides.lazy_if_present.items()
        ),
        *((path, "", "must not be there") for path in overrides.lazy_remove),
    ]
    return {
        # settings that always apply come first, and the model before the data
        "lazy": sorted(lazy, key=lambda row: (row[2], row[0].startswith("dataloader."), row[0])),
        "yacs": [(key, as_python(value)) for key, value in sorted(overrides.yacs.items())],
        "classic": any(key.startswith("MODEL.RESNETS.") for key in overrides.yacs),
    }


def as_python(value: Any) -> str:
    """A value as a config says it, the same before and after it was JSON."""
    return repr(list(value) if isinstance(value, tuple) else value)
