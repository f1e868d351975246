"""The files that are measured on: real formats written by torch, filled with seeded numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from detrex_hub.architectures import architecture
from detrex_hub.architectures.resnet import ResNet
from detrex_hub.specs import TensorSpec

if TYPE_CHECKING:
    import torch


def resnet(path: Path, depth: int = 152) -> Path:
    """A torchvision ResNet as its authors save it: a bare state dict in a zip archive."""
    if path.exists():
        return path
    import torch

    torch.save(_filled(ResNet(depth=depth).original()[0]), path)
    return path


def detector_with_optimizer(path: Path, weights: int) -> Path:
    """A DETR training checkpoint whose weights hold about so many bytes.

    Beside them lie AdamW's two moments of every parameter and the arguments of the training
    script, which makes the file three times as large as its weights. The width of the feed-forward
    layers is what grows.
    """
    if path.exists():
        return path
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
    return path


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
