"""Converted folders as small as can be, for tests that care about transport alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

from detrex_hub.architectures.base import Overrides
from detrex_hub.records import CARD, CONFIG, CONVERSION, WEIGHTS, RepositoryConfig, dump_json

CARD_TEXT = """---
library_name: detrex
license: bsd-3-clause
pipeline_tag: image-classification
tags: [detrex]
---

# NAME

    from_hub("detrex/NAME")
"""


def converted_folder(
    folder: Path,
    weights: bytes = b"weights" * 1000,
    *,
    format: str = "safetensors",
    synthetic: bool = False,
    card: str = CARD_TEXT,
) -> Path:
    """Write a folder as `convert` leaves it; its weights are any bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    file = WEIGHTS[format]
    config = RepositoryConfig(
        architecture="resnet",
        hyper_parameters={"depth": 18},
        preprocessing={"image_format": "RGB"},
        overrides=Overrides(lazy={"model.backbone.stages.depth": 18}),
        base_config=None,
        file=file,
        sha256=hashlib.sha256(weights).hexdigest(),
        author="torchvision",
        matching_heuristics=True,
        synthetic=synthetic,
    )
    (folder / file).write_bytes(weights)
    (folder / CONFIG).write_text(dump_json(config.to_json()))
    (folder / CONVERSION).write_text(dump_json({"name": folder.name}))
    (folder / CARD).write_text(card.replace("NAME", folder.name))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
