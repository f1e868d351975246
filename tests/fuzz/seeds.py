"""Small valid files for each reader, as the start of mutations."""

import argparse
import collections
import json
import pickle
import warnings
import zipfile

import numpy as np
import torch
from torch.distributed import checkpoint

from detrex_hub import checkpoints
from tests.checkpoints import crafted
from tests.checkpoints.hostile.attacks import attacks
from tests.checkpoints.hostile.formats import keyed, weight, wrap


def seeds(reader, folder):
    """Valid files for a reader, as bytes."""
    path = folder / "seed"
    return [*_SEEDS[reader](path)]


def _torch(path, **options):
    base = torch.arange(12.0).reshape(3, 4)
    contents = (
        {"model": {"a": base, "b": base.t(), "c": base[1]}, "epoch": 3, "args": _ARGUMENTS},
        collections.OrderedDict(w=torch.ones(2, dtype=torch.bfloat16), n=torch.tensor(7)),
        {"state_dict": {"e": torch.zeros(0, 3), "x": torch.tensor(2.5).expand(2, 3)}},
    )
    for protocol in (2, 4):
        for content in contents:
            torch.save(content, path, pickle_protocol=protocol, **options)
            yield path.read_bytes()


_ARGUMENTS = argparse.Namespace(lr=1e-4, names=["a", "b"], nested={"x": (1, 2.5, None, True)})


def _archives(path):
    yield from _torch(path)
    tensors = [crafted.tensor("w", np.arange(6.0)), crafted.tensor("v", np.zeros((2, 3), "i4"))]
    checkpoints.write(path, "pth", tensors, ties={"u": "w"}, extra={"epoch": 1})
    yield path.read_bytes()
    crafted.good_archive(path)
    yield path.read_bytes()
    yield from _hostile("zip", path)


def _streams(path):
    yield from _torch(path, _use_new_zipfile_serialization=False)
    yield from _hostile("stream", path)


def _pickles(path):
    arrays = {"w": np.arange(6.0), "f": np.asfortranarray(np.eye(3)), "l": np.zeros(300, ">i2")}
    for protocol in range(6):
        yield pickle.dumps({"model": arrays, "__author__": "a", "set": {1, 2}}, protocol)
        yield pickle.dumps({"w": np.float64(2), "v": arrays["w"], "b": b"x" * 99}, protocol)
    yield pickle.dumps({"model": {"w": torch.ones(2)}}, 4)
    yield from _hostile("pickle", path)


def _hostile(format, path):
    for code in attacks("/dev/null").values():
        wrap(format, keyed(crafted.text("w"), weight(format), crafted.text("x"), code))(path)
        yield path.read_bytes()


def _safetensors(path):
    tensors = [crafted.tensor("w", np.arange(6.0)), crafted.tensor("v", np.zeros((2, 3), "u1"))]
    checkpoints.write(path, "safetensors", tensors, metadata={"format": "pt"}, ties={"u": "w"})
    yield path.read_bytes()
    checkpoints.write(path, "safetensors", [crafted.tensor("e", np.zeros((0, 2)))])
    yield path.read_bytes()


def _zipped(path):
    torch.save({"model": {"w": torch.arange(6.0)}, "epoch": 1}, path)
    content = path.read_bytes()
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("folder/model.pth", content)
            archive.writestr("README.md", "x")
        yield path.read_bytes()


def _index(path):
    placed = {"v": "a.safetensors", "w": "b.safetensors"}
    for key, name in placed.items():
        tensors = [crafted.tensor(key, np.arange(6.0))]
        checkpoints.write(path.with_name(name), "safetensors", tensors)
    yield json.dumps({"metadata": {"total_size": 96}, "weight_map": placed}).encode()


def _distributed(path):
    content = {"model": {"w": torch.arange(6.0), "v": torch.zeros(2, 3).half()}, "epoch": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint.save(content, checkpoint_id=path.parent / "saved", no_dist=True)
    for part in (path.parent / "saved").glob("*.distcp"):
        part.replace(path.with_name(part.name))
    yield (path.parent / "saved" / ".metadata").read_bytes()


_SEEDS = {
    "zip": _archives,
    "stream": _streams,
    "pickle": _pickles,
    "safetensors": _safetensors,
    "zip in zip": _zipped,
    "index": _index,
    "distributed": _distributed,
}
READERS = tuple(_SEEDS)
