"""What detrex's configs load of the files that they name, with the real detectron2 and detrex.

``python -m tests.real.configs docs/configs.md`` writes the table. Files have the originals' names
and shapes and hold zeros: what is loaded is told by the keys that the checkpointer hands to the
model. No official weights are opened.
"""

from __future__ import annotations

import pickle
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detrex_hub import catalogue, from_hub
from detrex_hub.architectures import architecture
from detrex_hub.architectures.base import Architecture
from detrex_hub.backbones import node_of
from detrex_hub.config import class_of
from detrex_hub.conversion import convert
from detrex_hub.errors import ConfigError
from tests.real.checkpointers import built, load

# files that are named otherwise than in the catalogue, or for another backbone
_FILES = {
    ("R-50.pkl", "ResNet", 50): "r50_detectron2",
    ("R-50.pkl", "ResNet", 101): "r101_v1",
    ("R-50.pkl", "SwinTransformer", None): "swin_large_patch4_window12_384_22kto1k",
    ("r50_v1.pkl", "ResNet", 50): "r50_v1",
    ("r101_v1.pkl", "ResNet", 101): "r101_v1",
    ("r101.pkl", "ResNet", 101): "r101_v1",
    ("R-101.pkl", "ResNet", 101): "r101_v1",
}
_FAMILIES = {"swin", "convnext", "focalnet", "internimage", "mae", "eva02", "torchvision_resnet"}


@dataclass(frozen=True, order=True)
class Row:
    """One config: tensors of its backbone that are loaded by what it says, and by `from_hub`.

    ``tensors`` are those of the backbone, ``anew`` those of them that no file holds.
    """

    file: str
    backbone: str
    weights: str
    config: str
    tensors: int
    anew: int
    before: int
    after: int
    refused: bool = False


def named(projects: Path) -> Iterator[tuple[str, str]]:
    """(config, file) of every config that names a file to start from and can be loaded."""
    from detectron2.config import LazyConfig

    for path in sorted(projects.rglob("*.py")):
        if "configs" not in path.parts or "train" not in path.read_text():
            continue
        try:
            cfg = LazyConfig.load(str(path))
        except Exception as error:
            print(f"{path} cannot be loaded: {type(error).__name__}", file=sys.stderr)
            continue
        if "train" in cfg and "model" in cfg and (file := cfg.train.get("init_checkpoint")):
            yield str(path.relative_to(projects)), str(file).rpartition("/")[2]


def rows(projects: Path) -> Iterator[Row]:
    """A row of each config whose file is in the catalogue."""
    by_file = {
        entry.sources[0].file: name
        for name, entry in catalogue.load().items()
        if entry.family in _FAMILIES
    }
    wanted: dict[str, list[tuple[str, str]]] = {}
    for config, file in named(projects):
        node = _backbone(_loaded(projects, config).model)
        depth = node.get("stages", {}).get("depth") if class_of(node) == "ResNet" else None
        name = by_file.get(file) or _FILES.get((file, class_of(node), depth))
        if name is None:
            print(f"{config}: {file} is not in the catalogue", file=sys.stderr)
        else:
            wanted.setdefault(name, []).append((config, file))
    for name, configs in wanted.items():
        with tempfile.TemporaryDirectory() as folder:
            converted = convert(name, Path(folder) / name, synthetic=True).folder
            assert converted is not None
            for config, file in configs:
                row = _row(projects, config, file, name, converted, Path(folder))
                print(row, file=sys.stderr)
                yield row


def _row(projects: Path, config: str, file: str, name: str, converted: Path, folder: Path) -> Row:
    entry = catalogue.load()[name]
    kind = architecture(entry.architecture)
    made = kind.from_hyper_parameters(entry.hyper_parameters)
    cfg = _loaded(projects, config)
    node = node_of(kind, cfg.model, config).removeprefix("model.") + "."
    original = _original(folder / file, name)
    before = load(built(cfg), original).given
    original.unlink()

    cfg = _loaded(projects, config)
    refused = False
    try:
        path = from_hub(converted, model=cfg.model, dataloader=cfg.get("dataloader"))
    except ConfigError as error:
        print(f"{config}: {error}", file=sys.stderr)
        refused = "pixel_mean" in str(error)
        if not refused:
            raise
        path = from_hub(converted)
    model = built(cfg)
    after = load(model, path)
    Path(path).unlink()
    assert not after.unexpected
    assert not after.wrong_shape
    keys = {key for key in model.state_dict() if key.startswith(node)}
    anew = {node + key for key in made.set_by_model()} & keys
    return Row(
        file=file,
        backbone=_said(made, class_of(_backbone(cfg.model))),
        weights=name,
        config=config,
        tensors=len(keys),
        anew=len(anew),
        before=len(before & keys),
        after=len(after.given & keys),
        refused=refused,
    )


def _backbone(model: Any) -> Any:
    return model.backbone.net if "net" in model.backbone else model.backbone


def _said(made: Architecture, name: str) -> str:
    depth = getattr(made, "depth", None)
    return f"{name}-{depth}" if name == "ResNet" else name


def _loaded(projects: Path, config: str) -> Any:
    from detectron2.config import LazyConfig

    return LazyConfig.load(str(projects / config))


def _original(path: Path, name: str) -> Path:
    """The file that a config names, of zeros: as its authors write it, or converted by the scripts
    of the tutorials where it ends in ``.pkl``."""
    entry = catalogue.load()["r50_v1" if path.name == "R-50.pkl" else name]
    made = architecture(entry.architecture).from_hyper_parameters(entry.hyper_parameters)
    if path.suffix == ".pkl":
        arrays = {k: np.zeros(s.shape, np.float32) for k, s in made.target().items()}
        whole = {"model": arrays, "__author__": "torchvision", "matching_heuristics": True}
        path.write_bytes(pickle.dumps(whole))
        return path
    # one number stands for each tensor, in the tensor's shape
    state = {k: torch.zeros(()).expand(s.shape) for k, s in made.original()[0].items()}
    bare = entry.family == "torchvision_resnet"
    torch.save(state if bare else {"model": state}, path)
    return path


_PAGE = """# What detrex's configs load of the files that they name

Of the {total} configs of detrex e244e6c that name one of these files to start from, **{none} load
not one tensor of it into their backbone** with the detectron2 that detrex pins (70f45430), and
{part} load a part. With one line,

```python
train.init_checkpoint = from_hub("detrex/<weights>", model=model, dataloader=dataloader)
```

all {total} load all that there is, and say what begins anew.

Why: detectron2 a21a4fa0 (December 2022) made matching by the ends of names something to ask for,
with `?matching_heuristics=True` or a flag in the file; detrex moved its pin across that change in
03e02cb (July 2024) and left its configs as they were. The log shows a warning, and training goes on
from noise.

Measured with the real models and the stock `DetectionCheckpointer` on files with the originals'
names and shapes. "Of" counts the tensors of the backbone that the weights hold; output norms,
relative and rotary positions and the like, which no file holds, are "anew".

| file | backbone | configs | today | with `from_hub` | of | anew | weights |
|---|---|---:|---:|---:|---:|---:|---|
{table}

<details>
<summary>Config by config</summary>

| config | file | today | with `from_hub` | of |
|---|---|---:|---:|---:|
{all}

</details>
{refused}
Left out: `eva_o365.pth` (3 configs), a whole EVA-01 detector that loads by its own names, and the
configs that detectron2's `LazyConfig` cannot load as they are (four of MaskDINO's and one of
Focus-DETR's). Made by `python -m tests.real.configs docs/configs.md`.
"""

_REFUSED = """
`from_hub` refuses the model of these, whose images are normalised elsewhere, and is called without
`model=`: {configs}.
"""


def page(found: list[Row]) -> str:
    """The table as Markdown."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in sorted(found):
        key = (row.file, row.backbone, row.weights, row.tensors - row.anew, row.before, row.after)
        groups.setdefault(key, []).append(row)
    table = [
        f"| `{file}` | {backbone} | {len(group)} | {before} | {after} | {of} | "
        f"{_range(one.anew for one in group)} | `{weights}` |"
        for (file, backbone, weights, of, before, after), group in groups.items()
    ]
    each = [
        f"| `{row.config}` | `{row.file}` | {row.before} | {row.after} | {row.tensors - row.anew} |"
        for row in sorted(found, key=lambda row: row.config)
    ]
    refused = sorted(f"`{row.config}`" for row in found if row.refused)
    return _PAGE.format(
        total=len(found),
        none=sum(row.before == 0 for row in found),
        part=sum(0 < row.before < row.tensors - row.anew for row in found),
        table="\n".join(table),
        all="\n".join(each),
        refused=_REFUSED.format(configs=", ".join(refused)) if refused else "",
    )


def _range(numbers: Iterator[int]) -> str:
    found = sorted(set(numbers))
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


if __name__ == "__main__":
    import os

    import detrex

    root = Path(detrex.__file__).parents[1]
    out = Path(sys.argv[1]).absolute()
    # its configs name each other from there
    os.chdir(root)
    done = list(rows(root / "projects"))
    assert all(row.after == row.tensors - row.anew for row in done), [
        row for row in done if row.after != row.tensors - row.anew
    ]
    out.write_text(page(done), encoding="utf-8")
