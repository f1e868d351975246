"""The facts that `tests/real/survey.py` recorded of the weights that detrex's own configs load.

``python -m tests.detrex_configs`` writes the tables of `docs/what-detrex-configs-load.md`.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from detrex_hub import catalogue
from detrex_hub.architectures import architecture
from detrex_hub.architectures.resnet import ResNet
from detrex_hub.catalogue.models import model_of
from detrex_hub.configs.matching import ModelKeys, Shape

RECORD = Path(__file__).parent / "reference" / "detrex_configs.json.gz"
DOCUMENT = Path(__file__).parents[1] / "docs" / "what-detrex-configs-load.md"

# files that detectron2's or detrex's script converted from torchvision's: depth
CONVERTED = {"R-50": 50, "R-101": 101, "r50_v1": 50, "r101_v1": 101, "r101": 101}
_NAMES = {
    **{stem: f"r{depth}_v1" for stem, depth in CONVERTED.items()},
    "resnet50-0676ba61": "r50_v1",
    "resnet101-63fe2227": "r101_v1",
}


def entry_of(file: str) -> str | None:
    """The catalogue's name for the weights in a config's checkpoint file."""
    name = _NAMES.get(Path(file).stem, Path(file).stem)
    return name if name in catalogue.load_entries() else None


# weights for configs that start from a file of another model
INSTEAD = {
    "deta_swin_large_finetune_24ep": "swin_large_patch4_window12_384_22kto1k",
    "detr_r101_300ep": "r101_v1",
    "conditional_detr_r101_50ep": "r101_v1",
    "pnp_detr_r101_300ep": "r101_v1",
}


def weights_for(config: str, file: str, backbone: str) -> str | None:
    """The catalogue's name for the weights that a config should start from.

    Args:
        config: its path.
        file: its checkpoint file.
        backbone: the class of its backbone.
    """
    name = INSTEAD.get(Path(config).stem) or entry_of(file)
    return f"{name}_torchvision" if name and backbone == "TorchvisionResNet" else name


def weights_of(config: str) -> str | None:
    """`weights_for` a surveyed config."""
    facts = record()["configs"][config]
    return weights_for(config, facts["file"], facts["backbone"])


def shapes_of(file: str) -> dict[str, Shape]:
    """Names and shapes in a config's checkpoint file, as it is published."""
    stem = Path(file).stem
    if stem in CONVERTED:
        target = ResNet(depth=CONVERTED[stem]).target()
        return {"stem.fc.weight": (1000, 2048), **{key: spec.shape for key, spec in target.items()}}
    name = entry_of(file)
    assert name is not None, file
    made = model_of(catalogue.load_entries()[name])
    return {key: spec.shape for key, spec in made.original()[0].items()}


@cache
def record() -> dict[str, Any]:
    """The record: ``configs`` has each config's checkpoint and the outcome of its load, ``parts``
    the keys of models."""
    found: dict[str, Any] = json.loads(gzip.decompress(RECORD.read_bytes()))
    return found


def keys_of(config: str) -> ModelKeys:
    """The keys of a config's model, as the checkpointer sees them."""
    parts = [record()["parts"][name] for name in record()["configs"][config]["keys"]]
    return ModelKeys(
        shapes={key: tuple(shape) for part in parts for key, shape in part["shapes"].items()},
        ties=tuple(tuple(group) for part in parts for group in part["ties"]),
        statistics=frozenset(key for part in parts for key in part["statistics"]),
        swallowed=frozenset(key for part in parts for key in part["swallowed"]),
    )


def loaded_of(config: str, how: str) -> tuple[int, int]:
    """The numbers of loaded tensors and of all tensors of the backbone.

    Args:
        how: ``exact``, ``forced`` or ``after``.
    """
    facts = record()["configs"][config]
    return facts[how]["backbone"], len(record()["parts"][facts["keys"][0]]["shapes"])


def new_of(config: str) -> int:
    """Tensors of the backbone that are in no file of the kind of ``after``: layers that the
    original lacks, and the pyramid on a ViT."""
    facts = record()["configs"][config]
    backbone = record()["parts"][facts["keys"][0]]["shapes"]
    kind = architecture(catalogue.load_entries()[facts["after"]["name"]].architecture)
    beside = sum(not key.startswith(f"{kind.node.removeprefix('model.')}.") for key in backbone)
    return int(facts["after"]["by_model"]) + beside


def surveyed() -> list[str]:
    """Configs that can be loaded."""
    return [name for name, facts in record()["configs"].items() if "error" not in facts]


def tables() -> dict[str, str]:
    """The tables of the document, by the name of their place in it."""
    return {
        "summary": "\n".join(_summary()),
        "by file": "\n".join(_by_file()),
        "by config": "\n".join(_by_config()),
        "not loadable": "\n".join(_not_loadable()),
    }


def _summary() -> Iterator[str]:
    yield "| checkpointer | all of the backbone | partly | nothing |"
    yield "|---|---:|---:|---:|"
    for how, said in (
        ("exact", "detectron2's, with the file as the config names it"),
        ("forced", "detrex's own copy, or detectron2's with `?matching_heuristics=True`"),
        ("after", "detectron2's, with one line of `from_hub`"),
    ):
        count = Counter(_degree(name, how) for name in surveyed())
        yield f"| {said} | {count['all']} | {count['partly']} | {count['nothing']} |"


def _degree(name: str, how: str) -> str:
    loaded, of = loaded_of(name, how)
    if how == "after":
        # tensors that are in no file of its kind do not count as missing
        of -= new_of(name)
    return "all" if loaded == of else "partly" if loaded else "nothing"


def _by_file() -> Iterator[str]:
    yield "| file | backbone | configs | today | matched by suffix | `from_hub` |"
    yield "|---|---|---:|---:|---:|---:|"
    groups: Counter[tuple[str, ...]] = Counter()
    for name in surveyed():
        facts = record()["configs"][name]
        row = (Path(facts["file"]).name, _backbone(name))
        groups[(*row, *(_share(name, how) for how in ("exact", "forced", "after")))] += 1
    for (file, backbone, *shares), count in sorted(groups.items()):
        yield f"| `{file}` | {backbone} | {count} | {' | '.join(shares)} |"


def _by_config() -> Iterator[str]:
    yield "| config | file | backbone | today | matched by suffix | `from_hub` | weights |"
    yield "|---|---|---|---:|---:|---:|---|"
    for name in surveyed():
        facts = record()["configs"][name]
        shares = " | ".join(_share(name, how) for how in ("exact", "forced", "after"))
        weights = f"`{facts['after']['name']}`" if "after" in facts else ""
        path = name.removeprefix("projects/").replace("/configs/", "/")
        yield (
            f"| `{path}`{' *' if facts.get('replayed') else ''} | `{Path(facts['file']).name}` "
            f"| {_backbone(name)} | {shares} | {weights} |"
        )


def _not_loadable() -> Iterator[str]:
    yield "| config | detectron2 says |"
    yield "|---|---|"
    for name, facts in record()["configs"].items():
        if "error" in facts:
            yield f"| `{name.removeprefix('projects/')}` | {facts['error'].partition('. ')[0]} |"


def _share(name: str, how: str) -> str:
    facts = record()["configs"][name]
    if how not in facts:
        return "—"
    if "refused" in facts[how]:
        return "refused"
    loaded, of = loaded_of(name, how)
    anew = new_of(name) if how == "after" else 0
    return f"{loaded}/{of}" + (f", {anew} new" if anew else "")


def _backbone(name: str) -> str:
    facts = record()["configs"][name]
    if facts["backbone"] != "ResNet":
        return str(facts["backbone"])
    return "ResNet-101" if loaded_of(name, "exact")[1] == 520 else "ResNet-50"


def written(text: str) -> str:
    """The document with its present tables."""
    for place, table in tables().items():
        begin, end = f"<!-- {place} -->\n", f"\n<!-- end of {place} -->"
        head, _, rest = text.partition(begin)
        text = f"{head}{begin}{table}{end}{rest.partition(end)[2]}"
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
