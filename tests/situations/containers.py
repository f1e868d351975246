"""Dicts of a checkpoint that hold weights."""

from __future__ import annotations

from tests.situations import Situation
from tests.situations._models import backbone, below, saved

TITLE = "Weights somewhere in a file"

SITUATIONS = (
    Situation(
        "DINO's and DINOv2's trainer: `student` and `teacher`, with `module.backbone.` in the keys",
        "Refused: both fit equally well.",
        "detrex-hub convert dino.pth",
        saved(
            "dino.pth",
            lambda: {
                name: below("module.backbone.", backbone()) for name in ("student", "teacher")
            },
        ),
        ("holds several dicts of tensors: 'student' (56 tensors), 'teacher' (56 tensors)",),
        refused=True,
    ),
    Situation(
        "DINO's and DINOv2's trainer: `student` and `teacher`",
        "The teacher is taken, without the wrapper and without the prefix.",
        "detrex-hub convert dino.pth --container teacher",
        saved(
            "dino.pth",
            lambda: {
                name: below("module.backbone.", backbone()) for name in ("student", "teacher")
            },
        ),
        ("below the prefix 'backbone.'; all keys have it",),
    ),
    Situation(
        "A list of state dicts",
        "Refused, with the number of state dicts.",
        "detrex-hub convert ensemble.pth",
        saved("ensemble.pth", lambda: {"state_dict": [backbone(), backbone(), backbone()]}),
        ("holds a list of 3 state dicts at 'state_dict'",),
        refused=True,
    ),
    Situation(
        "A list of state dicts",
        "The first is taken.",
        "detrex-hub convert ensemble.pth --container state_dict.0",
        saved("ensemble.pth", lambda: {"state_dict": [backbone(), backbone(), backbone()]}),
        ("convnext (original)",),
    ),
    Situation(
        "Weights in deeply nested dicts, under names with spaces and quotes",
        "They are found. Names in commands are quoted for the shell.",
        "detrex-hub inspect deep.pth",
        saved(
            "deep.pth",
            lambda: {
                "run 1": {"best": {"it's": {"here": [{"net": backbone()}]}}},
                "run 2": {"best": {"epoch": 3}},
            },
        ),
        ("convnext (original)",),
    ),
    Situation(
        "A name of a dict that does not exist",
        "Refused, with a list of the existing dicts.",
        'detrex-hub convert named.pth --container "ema model"',
        saved("named.pth", lambda: {"model": backbone(), "my ema": backbone()}),
        ("holds no dict of tensors at 'ema model'; it has 'model' (56 tensors)",),
        refused=True,
    ),
)
