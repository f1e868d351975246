"""The files of the measurements: real formats written by torch, filled with seeded numbers.

``python -m benchmarks.files KIND PATH NUMBER`` writes one in a separate process, because a process
inherits the peak memory of the one that starts it.
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
    """A file of a kind, written if it is missing; see the functions below for the number."""
    if not path.exists():
        subprocess.run(
            [sys.executable, "-m", "benchmarks.files", kind, str(path), str(number)], check=True
        )
    return path


def resnet(path: Path, depth: int) -> None:
    """A torchvision ResNet as its authors save it: a bare state dict in a zip archive."""
    import torch

    torch.save(_filled(ResNet(depth=depth).original()[0]), path)


def detector(path: Path, layers: int) -> None:
    """A small DETR training checkpoint with the given number of encoder and decoder layers."""
    made = architecture("detr").from_hyper_parameters(
        {
            "backbone": "resnet",
            "backbone_depth": 18,
            "num_queries": 100,
            "num_classes": 80,
            "encoder_layers": layers,
            "decoder_layers": layers,
            "embed_dim": 256,
            "feedforward_dim": 2048,
            "classes_cut_from": 92,
        }
    )
    _save_training(path, made.original()[0])


def backbone(path: Path, weights: int) -> None:
    """A ConvNeXt training checkpoint whose weights have about the given size in bytes. Its channels
    grow with the size."""

    def specs(width: int) -> dict[str, TensorSpec]:
        dims = [width, 2 * width, 4 * width, 8 * width]
        parameters = {"depths": [3, 3, 9, 3], "dims": dims}
        return architecture("convnext").from_hyper_parameters(parameters).original()[0]

    def held(width: int) -> int:
        return sum(spec.nbytes for spec in specs(width).values())

    width = max(8, int(96 * (weights / held(96)) ** 0.5))
    while held(width) < weights:
        width += 1
    _save_training(path, specs(width))


def _save_training(path: Path, specs: dict[str, TensorSpec]) -> None:
    """Save the weights with AdamW's two moments of every parameter and the arguments of the
    training script, which makes the file three times as large as its weights."""
    import argparse

    import torch

    state = _filled(specs)
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
    kinds = {"resnet": resnet, "detector": detector, "backbone": backbone}
    kinds[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
