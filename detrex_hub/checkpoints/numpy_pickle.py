"""Plain pickles of numpy arrays: detectron2's model zoo, Caffe2's, converted backbones.

Also pickles of torch tensors by plain ``pickle.dump``, in which each storage is a separate stream.

Source: detectron2/checkpoint/detection_checkpoint.py, numpy's ``array_reduce``.
"""

from __future__ import annotations

from typing import Any

from detrex_hub.checkpoints import torch_legacy
from detrex_hub.checkpoints.checkpoint import Checkpoint
from detrex_hub.checkpoints.containers import ContainerChoice, checkpoint
from detrex_hub.checkpoints.files import File, Window
from detrex_hub.checkpoints.known_globals import KNOWN, StorageReference
from detrex_hub.checkpoints.pickle_machine import Blob, Machine


def read(file: File, container: ContainerChoice) -> Checkpoint:
    """Open a pickle.

    Raises:
        CheckpointError: the pickle is damaged, or holds no arrays; see `contents.checkpoint`.
    """
    placeholders: dict[str, None] = {}
    streams: dict[int, StorageReference] = {}

    def storage(data: Any) -> StorageReference:
        if not isinstance(data, Blob) or data.encoding != "raw" or data.is_text:
            raise ValueError("holds torch tensors of pickle protocol 2, save them with torch.save")
        # a stream may be named many times, and is read once
        reference = streams.get(data.offset)
        if reference is None:
            end = data.offset + data.length
            reference, machine.left = torch_legacy.read_object(
                file, data.offset, end, placeholders, machine.left
            )
            if not isinstance(reference, StorageReference):
                raise ValueError("an invalid torch storage")
            streams[data.offset] = reference
        return reference

    known = {**KNOWN, "torch.storage._load_from_bytes": storage}
    machine = Machine(Window(file, 0, file.size), known, placeholders)
    root = machine.load()
    return checkpoint(file, "pickle", root, container=container, placeholders=placeholders)
