"""Small weights with all parts of large ones: a ConvNeXt of 150 kB with narrow stages, and a
detector of 800 kB."""

from __future__ import annotations

import hashlib
from pathlib import Path

from detrex_hub.architectures import architecture

NAME = "tiny"
HYPER_PARAMETERS = {"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]}
DETECTOR = {
    "backbone": "swin",
    "backbone_embed_dim": 8,
    "backbone_depths": [1, 1, 1, 1],
    "backbone_num_heads": [1, 1, 1, 1],
    "backbone_window_size": 3,
    "backbone_pretrain_img_size": 96,
    "backbone_output_norms": [1, 2, 3],
    "num_queries": 300,
    "num_classes": 80,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "embed_dim": 32,
    "feedforward_dim": 16,
    "classes_cut_from": 91,
    "neck_inputs": 3,
    "feature_levels": 4,
    "with_box_refine": True,
    "as_two_stage": True,
}

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
    # torch is large, and a process that forks should stay small
    from tests.checkpoint_files import save, tensors

    made = architecture("convnext").from_hyper_parameters(HYPER_PARAMETERS)
    specs, _ = made.original()
    return save(path, tensors(specs), "model")


def detector(path: Path) -> Path:
    """The checkpoint of a two-stage Deformable-DETR on Swin, of 800 kB, with tied heads."""
    from tests.checkpoint_files import save, tensors

    made = architecture("deformable_detr").from_hyper_parameters(DETECTOR)
    specs, _ = made.original()
    state = tensors(specs)
    for key in state:
        if "_embed." in key:
            # tied tensors have the same content
            state[key].fill_(0.5)
    return save(path, state, "model")


def catalogue(path: Path, url: str = "https://example.org/tiny.pth", content: bytes = b"") -> Path:
    """A catalogue with an entry `NAME`."""
    sha256 = hashlib.sha256(content).hexdigest()
    path.write_text(_ENTRY.format(name=NAME, url=url, sha256=sha256))
    return path
