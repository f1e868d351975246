"""The files that are measured on: real formats written by torch, filled with seeded numbers.

``python -m benchmarks.files KIND PATH NUMBER`` writes one in a process of its own: what a process
held in memory counts as the peak of every process that it starts later.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from detrex_hub.architectures import architecture
from detrex_hub.architectures.resnet import ResNet
from detrex_hub.specs import TensorSpec

if TYPE_CHECKING:
    import torch


def made(kind: str, path: Path, number: int) -> Path:
    """A file of a kind, written unless it is there: a ResNet of so many layers, or a training
    checkpoint of so many bytes of weights."""
    if not path.exists():
        subprocess.run(
            [sys.executable, "-m", "benchmarks.files", kind, str(path), str(number)], check=True
        )
    return path


def resnet(path: Path, depth: int) -> None:
    """A torchvision ResNet as its authors save it: a bare state dict in a zip archive."""
    import torch

    torch.save(_filled(ResNet(depth=depth).original()[0]), path)


def detector(path: Path, weights: int) -> None:
    """A DETR training checkpoint whose weights hold about so many bytes.

    Beside them lie AdamW's two moments of every parameter and the arguments of the training
    script, which makes the file three times as large as its weights. The width of the feed-forward
    layers is what grows.
    """
    import argparse

    import torch

    specs = _detr(feedforward_dim=1)
    fixed = sum(spec.nbytes for spec in specs.values())
    per_unit = sum(spec.nbytes for spec in _detr(feedforward_dim=2).values()) - fixed
    state = _filled(_detr(feedforward_dim=max(1, (weights - fixed) // per_unit)))
    moments = {
        number: {"step": torch.tensor(1.0), "exp_avg": tensor.clone(), "exp_avg_sq": tensor.clone()}
        for number, tensor in enumerate(state.values())
        if tensor.is_floating_point()
    }
    torch.save(
        {
            "model": state,
            "optimizer": {"state": moments, "param_groups": []},
            "epoch": 49,
            "args": argparse.Namespace(lr=1e-4),
        },
        path,
    )


def _detr(feedforward_dim: int) -> dict[str, TensorSpec]:
    made = architecture("detr").from_hyper_parameters(
        {
            "backbone": "resnet",
            "backbone_depth": 50,
            "num_queries": 100,
            "num_classes": 80,
            "encoder_layers": 6,
            "decoder_layers": 6,
            "embed_dim": 256,
            "feedforward_dim": feedforward_dim,
            "classes_cut_from": 92,
        }
    )
    return made.original()[0]


def _filled(specs: dict[str, TensorSpec]) -> dict[str, torch.Tensor]:
    import torch

    generator = torch.Generator().manual_seed(0)
    return {
        key: torch.randn(spec.shape, generator=generator)
        if spec.dtype == "F32"
        else torch.zeros(spec.shape, dtype=torch.int64)
        for key, spec in specs.items()
    }


if __name__ == "__main__":
    {"resnet": resnet, "detector": detector}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
