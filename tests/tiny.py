"""Weights of 150 kB with everything that large ones have: a ConvNeXt of narrow stages."""

from __future__ import annotations

import hashlib
from pathlib import Path

from detrex_hub.architectures import architecture

NAME = "tiny"
HYPER_PARAMETERS = {"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]}

_ENTRY = """
[weights.{name}]
architecture = "convnext"
layout = "original"
title = "A tiny ConvNeXt"
license = "mit"
url = "{url}"
sha256 = "{sha256}"
hyper_parameters = {{ depths = [1, 1, 1, 1], dims = [8, 16, 24, 32] }}
facts = {{ image_format = "RGB" }}
"""


def original(path: Path) -> Path:
    """The checkpoint as its authors would save it."""
    # torch is large, and who forks wants to be small
    from tests.checkpoint_files import save, tensors

    made = architecture("convnext").from_hyper_parameters(HYPER_PARAMETERS)
    specs, _ = made.original()
    return save(path, tensors(specs), "model")


def catalogue(path: Path, url: str = "https://example.org/tiny.pth", content: bytes = b"") -> Path:
    """A catalogue that knows it under `NAME`."""
    sha256 = hashlib.sha256(content).hexdigest()
    path.write_text(_ENTRY.format(name=NAME, url=url, sha256=sha256))
    return path
