"""One job a process: what is measured, each as a user would run it.

``python -m benchmarks.peers JOB [ARGUMENTS]`` runs a job in a fresh process, so that its imports
and its peak memory are its own.
"""

from __future__ import annotations

import sys


def tutorial(source: str, target: str) -> None:
    """What the usual tutorial does: load everything, rename, pickle numpy arrays."""
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
    """The fastest that torch and safetensors do by themselves, without renaming or checking."""
    import argparse

    import torch
    from safetensors.torch import save_file

    torch.serialization.add_safe_globals([argparse.Namespace])
    state = torch.load(source, map_location="cpu", mmap=True, weights_only=True)
    save_file(state.get("model", state), target)


def torch_rewrite(source: str, target: str) -> None:
    """Reading a checkpoint and writing it again with torch."""
    import torch

    torch.save(torch.load(source, map_location="cpu", weights_only=True), target)


def import_torch(source: str, target: str) -> None:
    """What torch costs before it does anything."""
    import torch  # noqa: F401


def from_hub(source: str) -> None:
    """A load: what stands in a training config."""
    from detrex_hub import from_hub

    print(from_hub(source))


def import_loading() -> None:
    """What a load imports, whatever it finds."""
    import huggingface_hub.constants  # noqa: F401

    import detrex_hub.loading  # noqa: F401


JOBS = {
    job.__name__: job
    for job in (tutorial, torch_safetensors, torch_rewrite, import_torch, from_hub, import_loading)
}

if __name__ == "__main__":
    JOBS[sys.argv[1]](*sys.argv[2:])
