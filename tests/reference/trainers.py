"""Record the checkpoints that training libraries write of a small model, as a table of keys.

Run it with these libraries installed: ``python -m tests.reference.trainers``. It writes
``trainers.json``: for each kind of file its library with the version, and the content, in which a
tensor is ``[type, shape]`` and any other value the name of its class. The tests build files of this
content, and need none of the libraries.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from tests.torchvision_operators import declare

TABLE = Path(__file__).with_name("trainers.json")


def model() -> torch.nn.Module:
    """A small ConvNeXt of timm."""
    import timm

    return timm.create_model(
        "convnext_tiny", depths=(1, 1, 1, 1), dims=(8, 16, 24, 32), num_classes=5
    )


def lightning(folder: Path) -> Any:
    """Lightning's checkpoint after one step."""
    import lightning as pl

    class Module(pl.LightningModule):
        def __init__(self, lr: float = 1e-4) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.model = model()

        def training_step(self, batch: Any, number: int) -> Any:
            return self.model(batch).mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-4)

    trainer = pl.Trainer(
        max_steps=1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(Module(), torch.utils.data.DataLoader(torch.rand(2, 3, 64, 64), batch_size=2))
    trainer.save_checkpoint(folder / "last.ckpt")
    return torch.load(folder / "last.ckpt", weights_only=False)


def mmengine(folder: Path) -> Any:
    """mmengine's checkpoint after one epoch, in a folder with a ``last_checkpoint``."""
    from mmengine.model import BaseModel
    from mmengine.runner import Runner

    class Model(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = model()

        def forward(self, inputs: Any, mode: str = "tensor") -> Any:
            return {"loss": self.backbone(inputs).mean()}

    runner = Runner(
        model=Model(),
        work_dir=str(folder),
        train_dataloader={
            "dataset": [{"inputs": torch.rand(3, 64, 64)}],
            "sampler": {"type": "DefaultSampler", "shuffle": False},
            "collate_fn": {"type": "default_collate"},
            "batch_size": 1,
        },
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}},
        train_cfg={"by_epoch": True, "max_epochs": 1},
    )
    runner.train()
    last = Path((folder / "last_checkpoint").read_text())
    return torch.load(last, weights_only=False)


def accelerate(folder: Path) -> Any:
    """accelerate's `save_model`, in shards."""
    from accelerate import Accelerator
    from safetensors.torch import load_file

    Accelerator().save_model(model(), str(folder), max_shard_size="60KB")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    shards = {name: load_file(folder / name) for name in sorted(set(index["weight_map"].values()))}
    return {"index": index, **shards}


def structure(value: Any, depth: int = 0) -> Any:
    """A value in the form of the table."""
    if isinstance(value, torch.Tensor):
        return [str(value.dtype).removeprefix("torch."), list(value.shape)]
    if isinstance(value, Mapping) and depth < 4:
        return {str(key): structure(item, depth + 1) for key, item in value.items()}
    return type(value).__name__


WRITERS: Mapping[str, Callable[[Path], Any]] = {
    "lightning": lightning,
    "mmengine": mmengine,
    "accelerate": accelerate,
}


def main() -> None:
    declare()
    warnings.simplefilter("ignore")
    found = {}
    for library, write in WRITERS.items():
        with tempfile.TemporaryDirectory() as folder:
            content = structure(write(Path(folder)))
        version = importlib.import_module(library).__version__
        found[library] = {"version": version, "content": content}
        print(library, version, file=sys.stderr)
    TABLE.write_text(json.dumps(found, indent=1, sort_keys=False) + "\n")


if __name__ == "__main__":
    main()
