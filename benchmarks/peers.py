"""Run one of the jobs that detrex-hub is compared with, in a process of its own.

``python -m benchmarks.peers JOB [ARGUMENTS]`` runs a job in a fresh process, so that its imports
and its peak memory are its own.
"""

from __future__ import annotations

import sys


def tutorial(source: str, target: str) -> None:
    """Convert as the usual tutorial does: load everything, rename keys, pickle numpy arrays."""
    import pickle

    import torch

    state = torch.load(source, map_location="cpu")
    renamed = {}
    for key in list(state):
        name = key if "layer" in key else f"stem.{key}"
        for stage in range(1, 5):
            name = name.replace(f"layer{stage}", f"res{stage + 1}")
        for number in range(1, 4):
            name = name.replace(f"bn{number}", f"conv{number}.norm")
        name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        renamed[name] = state.pop(key).detach().numpy()
    with open(target, "wb") as file:  # noqa: PTH123
        pickle.dump({"model": renamed, "__author__": "torchvision"}, file)


def torch_safetensors(source: str, target: str) -> None:
    """Convert with torch and safetensors alone, without renaming or checking: the fastest way."""
    import argparse

    import torch
    from safetensors.torch import save_file

    torch.serialization.add_safe_globals([argparse.Namespace])
    state = torch.load(source, map_location="cpu", mmap=True, weights_only=True)
    save_file(state.get("model", state), target)


def torch_rewrite(source: str, target: str) -> None:
    """Read a checkpoint and write it again with torch."""
    import torch

    torch.save(torch.load(source, map_location="cpu", weights_only=True), target)


def import_torch(source: str, target: str) -> None:
    """Import torch, and do nothing else."""
    import torch  # noqa: F401


def from_hub(source: str) -> None:
    """Load weights as a training config does."""
    from detrex_hub import from_hub

    print(from_hub(source))


def import_loading() -> None:
    """Import what every load imports."""
    import huggingface_hub.constants  # noqa: F401

    import detrex_hub.loading  # noqa: F401


JOBS = {
    job.__name__: job
    for job in (tutorial, torch_safetensors, torch_rewrite, import_torch, from_hub, import_loading)
}

if __name__ == "__main__":
    JOBS[sys.argv[1]](*sys.argv[2:])
