"""Prefixes, and backbones inside detectors."""

from __future__ import annotations

import torch

from tests.situations import Situation
from tests.situations._models import backbone, below, detector, layers, saved

TITLE = "Names before the keys"


def _fsdp() -> dict[str, torch.Tensor]:
    return {
        "_fsdp_wrapped_module."
        + key.replace("stages.2.", "stages.2._fsdp_wrapped_module.").replace(
            "stages.3.0.", "stages.3.0._checkpoint_wrapped_module."
        ): tensor
        for key, tensor in backbone().items()
    }


def _moco() -> dict[str, torch.Tensor]:
    return {
        **below("module.encoder_q.", backbone()),
        **below("module.encoder_k.", backbone()),
        "module.queue": torch.ones(8, 64),
    }


def _changed() -> dict[str, torch.Tensor]:
    state = below("model.", backbone())
    return {key: tensor for key, tensor in state.items() if "downsample_layers.0." not in key}


SITUATIONS = (
    Situation(
        "A model saved inside `DistributedDataParallel` and `torch.compile`: `module._orig_mod.`",
        "The names of torch's wrappers are removed anywhere in a key.",
        "detrex-hub convert wrapped.pth",
        saved("wrapped.pth", lambda: below("module._orig_mod.", backbone())),
        ("convnext (original)",),
    ),
    Situation(
        "FSDP with activation checkpointing: `_fsdp_wrapped_module.` and "
        "`_checkpoint_wrapped_module.` inside the keys",
        "The names of torch's wrappers are removed anywhere in a key.",
        "detrex-hub convert fsdp.pth",
        saved("fsdp.pth", _fsdp),
        ("convnext (original)",),
    ),
    Situation(
        "Weights averaged by torch's `AveragedModel`: `n_averaged` beside `module.`",
        "The counter is dropped.",
        "detrex-hub convert swa.pth",
        saved("swa.pth", lambda: below("module.", backbone()) | {"n_averaged": torch.tensor(9)}),
        ("convnext (original)",),
    ),
    Situation(
        "A Lightning module: `model.` and keys for the loss",
        "The prefix is found automatically. Keys without it are dropped.",
        "detrex-hub convert lightning.ckpt",
        saved(
            "lightning.ckpt",
            lambda: {"state_dict": below("model.", detector()) | layers("criterion.projection")},
        ),
        ("deformable_detr (original)", "the weights are below the prefix 'model.';"),
    ),
    Situation(
        "A detector of another project: `backbone.bottom_up.` beside its head",
        "The backbone is taken, and the rest is dropped and counted.",
        "detrex-hub convert foreign.pth",
        saved(
            "foreign.pth",
            lambda: {
                "model": below("backbone.bottom_up.", backbone())
                | layers("backbone.fpn_lateral2", "proposal_generator.rpn_head.conv")
            },
        ),
        ("convnext (original)", "below the prefix 'backbone.bottom_up.'; 2 other tensors are"),
    ),
    Situation(
        "MoCo's query and key encoders in one file",
        "Refused: both fit equally well.",
        "detrex-hub convert moco.pth.tar",
        saved("moco.pth.tar", lambda: {"state_dict": _moco()}),
        (
            "holds several sets of weights: convnext below 'encoder_q.', convnext below "
            "'encoder_k.'",
        ),
        refused=True,
    ),
    Situation(
        "MoCo's query and key encoders in one file",
        "The key encoder is taken.",
        "detrex-hub convert moco.pth.tar --prefix encoder_k.",
        saved("moco.pth.tar", lambda: {"state_dict": _moco()}),
        ("below the prefix 'encoder_k.'; 57 other tensors are dropped",),
    ),
    Situation(
        "MoCo's encoders in one file, for a push",
        "Refused: both fit equally well. The suggested commands are complete.",
        "detrex-hub convert-and-push 'my runs/moco.pth' --to hub",
        saved("my runs/moco.pth", lambda: {"state_dict": _moco()}),
        ("holds several sets of weights",),
        refused=True,
    ),
    Situation(
        "A prefix without keys",
        "Refused, with a list of the existing prefixes.",
        "detrex-hub convert moco.pth.tar --prefix encoder.",
        saved("moco.pth.tar", lambda: {"state_dict": _moco()}),
        ("no key of moco.pth.tar begins with 'encoder.'",),
        refused=True,
    ),
    Situation(
        "A known detector with your own additional modules",
        "Refused, because their tensors would be lost. The backbone alone can be taken.",
        "detrex-hub convert extended.pth",
        saved("extended.pth", lambda: {"model": detector() | layers("mask_head.conv")}),
        ("does not fit this state dict: no rule for mask_head.conv.weight",),
        refused=True,
    ),
    Situation(
        "A file with the option of another architecture",
        "Refused, with the right architecture.",
        "detrex-hub convert mine.pth --arch swin",
        saved("mine.pth", lambda: {"model": backbone()}),
        ("does not match the layout",),
        refused=True,
    ),
    Situation(
        "A backbone below `model.` with other layers than the known one",
        "Refused, with the nearest architecture, its prefix, and the differences.",
        "detrex-hub convert changed.pth",
        saved("changed.pth", _changed),
        (
            "changed.pth below the prefix 'model.' matches no known architecture; the nearest is "
            "convnext",
            "but it lacks downsample_layers.0.0.weight",
        ),
        refused=True,
    ),
)
