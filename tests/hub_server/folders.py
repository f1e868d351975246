"""Minimal converted folders, for tests of transport alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from detrex_hub.architectures.base import Overrides
from detrex_hub.records import (
    CARD,
    CONFIG,
    CONVERSION,
    WEIGHTS,
    ConversionRecord,
    Proof,
    RecordedPlan,
    RecordedResult,
    RecordedSource,
    RepositoryConfig,
    StoredCheckpoint,
    Tool,
    to_json,
)
from detrex_hub.strict_json import dump_json

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
    synthetic: bool = False,
    card: str = CARD_TEXT,
) -> Path:
    """Write a folder as `convert` does, with one tensor of arbitrary bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = safetensors_of(weights)
    file, sha256 = WEIGHTS["safetensors"], hashlib.sha256(weights).hexdigest()
    config = RepositoryConfig(
        architecture="resnet",
        hyper_parameters={"depth": 18},
        preprocessing={"image_format": "RGB"},
        overrides=Overrides(lazy={"model.backbone.stages.depth": 18}),
        checkpoint=StoredCheckpoint(
            file=file,
            sha256=sha256,
            author="torchvision",
            matching_heuristics=True,
            ties={},
            set_by_model=(),
        ),
        synthetic=synthetic,
    )
    record = ConversionRecord(
        name=folder.name,
        tool=Tool(name="detrex-hub", version="1"),
        source=RecordedSource(file="resnet18.pth", layout="torchvision"),
        architecture="resnet",
        recognised_by=(),
        facts={},
        assumed={},
        plan=RecordedPlan(mapper="resnet", moves={}, dropped={}, ties={}, source_tensors={}),
        result=RecordedResult(file=file, sha256="0" * 64, size=0, tensors=0, parameters=0),
        proof=Proof(
            tensors_compared=0,
            bytes_compared=0,
            tensors_that_differ=0,
            missing=0,
            unexpected=0,
            mismatched=0,
        ),
        notes=(),
        synthetic=synthetic,
    )
    (folder / file).write_bytes(weights)
    (folder / CONFIG).write_text(dump_json(to_json(config)))
    (folder / CONVERSION).write_text(dump_json(to_json(record)))
    (folder / CARD).write_text(card.replace("NAME", folder.name))
    return folder


def safetensors_of(content: bytes) -> bytes:
    """A file that holds one tensor."""
    entry = {"dtype": "U8", "shape": [len(content)], "data_offsets": [0, len(content)]}
    header = json.dumps({"weights": entry}).encode()
    return len(header).to_bytes(8, "little") + header + content


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
